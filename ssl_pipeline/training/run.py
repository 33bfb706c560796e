"""The state of a run that changes from step to step, and how it is saved and resumed."""

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn, optim

from ssl_pipeline import progress
from ssl_pipeline.remedies import again
from ssl_pipeline.training.average import WeightAverage
from ssl_pipeline.training.checkpoint import Checkpoints
from ssl_pipeline.training.curves import History
from ssl_pipeline.training.held_out_watch import HeldOutWatch
from ssl_pipeline.training.together import ALONE, Ranks

__all__ = ["Run", "deterministic", "metered", "seed_torch"]


class Run:
    """The state of a run: weights and buffers, optimizer, gradient scaler, curves.

    Args:
        module: The module to train.
        optimizer: The optimizer of its parameters.
        scaler: The scaler of its gradients, which may be disabled.
        checkpoints: The checkpoints of the run.
        save_every: Seconds between checkpoints; 0: a checkpoint after every step.
        ranks: The processes that train together.
        average: The moving average of the weights, which ships; None: the weights themselves ship.
        held_out: The monitoring on held-out images, whose state belongs in the checkpoint; None: there is none.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: optim.Optimizer,
        scaler: torch.amp.GradScaler,
        checkpoints: Checkpoints,
        save_every: float,
        ranks: Ranks = ALONE,
        average: WeightAverage | None = None,
        held_out: HeldOutWatch | None = None,
    ):
        self._ranks, self._average = ranks, average
        self.module, self.optimizer, self.scaler = module, optimizer, scaler
        self.history = History(fp16=scaler.is_enabled())
        self._checkpoints, self._save_every = checkpoints, save_every
        self._saved_at = time.monotonic()
        self._held_out = held_out
        self._parameters = list(module.parameters())  # listed once: for a small network, this takes as long as clipping

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes files."""
        return self._ranks.leads

    @property
    def folder(self) -> Path:
        """The folder of the run's checkpoints, which is removed when the run has finished."""
        return self._checkpoints.folder

    def resume(self) -> int:
        """Restore the state of the newest checkpoint, if there is one, and return the number of completed steps."""
        state = self._checkpoints.load()
        if state is None:
            return 0
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.history.load_state_dict(state["history"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        if self._held_out is not None:
            self._held_out.load_state_dict(state.get("held_out", {}))
        return int(state["steps"])

    def save(self, steps: int) -> None:
        """Write a checkpoint after `steps` completed steps; only the first rank writes it."""
        parts: dict[str, Any] = {
            "module": self.module,
            "optimizer": self.optimizer,
            "scaler": self.scaler,
            "history": self.history,
        }
        if self._average is not None:
            parts["average"] = self._average
        state = {name: part.state_dict() for name, part in parts.items()}  # on all ranks: it raises after divergence
        if self._held_out is not None and (seen := self._held_out.state_dict()):
            state["held_out"] = seen
        if self.leads:
            self._checkpoints.save({"steps": steps} | state)
        self._saved_at = time.monotonic()

    def backward(self, loss: Tensor, clip_norm: float) -> Tensor:
        """Compute gradients, average them over ranks, clip their norm (0: not at all), and return the original norm."""
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._ranks.average_gradients(self._parameters)
        self.scaler.unscale_(self.optimizer)
        return nn.utils.clip_grad_norm_(self._parameters, clip_norm or math.inf)

    def step(self, learning_rate: float, measured: bool = False) -> dict[str, float]:
        """Take an optimizer step, and measure its size if asked to.

        Args:
            learning_rate: The learning rate of the step, before the scale of each parameter group.
            measured: Whether to measure the step.

        Returns:
            `update_ratio`: the norm of the step divided by the norm of the weights, without biases and the parameters
            of norms, as these have no natural scale; NaN if the gradient scaler skipped the step. An empty mapping if
            the step is not measured.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group.get("lr_scale", 1.0)
        weights = [weight for weight in self._parameters if measured and weight.grad is not None and weight.ndim > 1]
        before = [weight.detach().clone() for weight in weights]
        scale = self.scaler.get_scale() if measured else 0.0
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if not measured:
            return {}
        skipped = self.scaler.get_scale() < scale
        return {"update_ratio": math.nan if skipped else _moved(before, weights)}

    def follow(self, step: int) -> None:
        """Update the moving average, if there is one, after step number `step`; see `WeightAverage.follow`."""
        if self._average is not None:
            self._average.follow(step)

    def shipping(self) -> AbstractContextManager[None]:
        """Return a context in which the module has the weights that would ship now; afterwards, they are restored."""
        return nullcontext() if self._average is None else self._average.in_place()

    def ship(self) -> None:
        """Give the module the weights that ship."""
        if self._average is not None:
            self._average.restore()

    def save_if_due(self, steps: int, total: int, stop: bool) -> None:
        """Write a checkpoint if one is due, at the end of the run, or if a stop was requested at any rank.

        Raises:
            KeyboardInterrupt: A stop was requested.
        """
        stop, due = self._ranks.any_of(stop, time.monotonic() - self._saved_at >= self._save_every)
        if stop or due or steps == total:
            self.save(steps)
        if stop:
            raise KeyboardInterrupt(
                f"stopped after step {steps} of {total}, with a checkpoint in {self.folder}. {again()} to resume."
            )


@torch.no_grad()
def _moved(before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    """Return the norm of the difference, divided by the norm before."""
    pairs = zip(before, after, strict=True)
    squares = [part for old, new in pairs for part in ((new - old).square().sum(), old.square().sum())]
    if not squares:
        return 0.0
    moved, length = torch.stack(squares).double().reshape(-1, 2).sum(dim=0).sqrt().tolist()
    return float(moved / max(length, 1e-12))


@contextmanager
def metered(start: int, total: int, batch_size: int) -> Iterator[Callable[[float], None]]:
    """Show the progress of a run in a bar, and print a line when it resumes and when it ends.

    Args:
        start: Number of steps completed before.
        total: Number of steps of the run.
        batch_size: Number of images per step.

    Yields:
        A function to call after each step with the last known loss.
    """
    done, began = start, time.monotonic()
    if start:
        progress.say(f"pretrain: resuming from a checkpoint after step {start} of {total}")

    def rate() -> str:
        return f"{(done - start) * batch_size / (time.monotonic() - began):,.0f} images/s"

    with progress.bar() as bars:
        task = bars.add_task("pretrain", total=total, completed=start, info="")

        def advance(loss: float) -> None:
            nonlocal done
            done += 1
            bars.update(task, completed=done, info=rate() if math.isnan(loss) else f"loss {loss:.3f}, {rate()}")

        yield advance
    if done > start:
        progress.say(f"pretrain: {done - start} steps, {rate()}")


@contextmanager
def deterministic() -> Iterator[None]:
    """Make torch use only deterministic algorithms within the block, and restore its settings afterwards.

    By default, torch then fills all newly allocated memory with NaN, to expose reads of uninitialised memory. This
    takes 10% of the time of small networks. It is switched off, as no code here reads such memory.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic with a fixed workspace
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    memory: Any = torch.utils.deterministic  # its type does not declare the attribute
    filled = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
        memory.fill_uninitialized_memory = filled


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed torch's generators of the CPU and of the device in use, with the same result as `torch.manual_seed`.

    `torch.manual_seed` also handles all other types of device, and formats the whole call stack for each one that is
    not in use. This takes 5% of the time of a small network's step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed_all(seed)
