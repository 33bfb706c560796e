"""A run in motion: what changes from step to step, and how it outlives its process."""

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
        module: The module that is trained.
        optimizer: The optimizer of its parameters.
        scaler: The scaler of its gradients; it may be disabled.
        checkpoints: The place where the state is kept.
        save_every: Seconds between checkpoints; 0: after every step.
        ranks: The processes that train together.
        average: The moving average of the weights that ships; None: the weights themselves do.
        held_out: What was seen on held-out images, with `state_dict` and `load_state_dict`; None: none are watched.
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

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes."""
        return self._ranks.leads

    @property
    def folder(self) -> Path:
        """Where its checkpoints are; removed once it is done."""
        return self._checkpoints.folder

    def resume(self) -> int:
        """Take up the state of the newest checkpoint, if there is one; return how many steps it has behind it."""
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
        """Write a checkpoint with that many steps behind it; of several ranks, the first one alone does."""
        parts: dict[str, Any] = {
            "module": self.module,
            "optimizer": self.optimizer,
            "scaler": self.scaler,
            "history": self.history,
        }
        if self._average is not None:
            parts["average"] = self._average
        state = {name: part.state_dict() for name, part in parts.items()}  # on all ranks, as a run may have diverged
        if self._held_out is not None and (seen := self._held_out.state_dict()):
            state["held_out"] = seen
        if self.leads:
            self._checkpoints.save({"steps": steps} | state)
        self._saved_at = time.monotonic()

    def backward(self, loss: Tensor, clip_norm: float) -> Tensor:
        """Compute gradients, of all ranks, and clip them to a norm (0: not at all); return the norm that they had."""
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._ranks.average_gradients(self.module)
        self.scaler.unscale_(self.optimizer)
        return nn.utils.clip_grad_norm_(self.module.parameters(), clip_norm or math.inf)

    def step(self, learning_rate: float, measured: bool = False) -> dict[str, float]:
        """Move the weights; where that is to be measured, return how far.

        Returns:
            `update_ratio`: the length of the step as a share of the length of the weights, biases and norms left aside,
            as they do not scale with anything; NaN where a gradient scaler skipped the step.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group.get("lr_scale", 1.0)
        weights = [
            weight for weight in self.module.parameters() if measured and weight.grad is not None and weight.ndim > 1
        ]
        before = [weight.detach().clone() for weight in weights]
        scale = self.scaler.get_scale() if measured else 0.0
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if not measured:
            return {}
        skipped = self.scaler.get_scale() < scale
        return {"update_ratio": math.nan if skipped else _moved(before, weights)}

    def follow(self, step: int) -> None:
        """Let the average, if there is one, follow a step of that number, from 0; see `WeightAverage.follow`."""
        if self._average is not None:
            self._average.follow(step)

    def shipping(self) -> AbstractContextManager[None]:
        """Return the context in which the weights that would ship are in place; afterwards all are as they were."""
        return nullcontext() if self._average is None else self._average.in_place()

    def ship(self) -> None:
        """Put the weights that ship in place, for good."""
        if self._average is not None:
            self._average.restore()

    def save_if_due(self, steps: int, total: int, stop: bool) -> None:
        """Write a checkpoint if the time has come, at the end, and where a stop was requested of any rank.

        Raises:
            KeyboardInterrupt: A stop was requested.
        """
        stop, due = self._ranks.any_of(stop, time.monotonic() - self._saved_at >= self._save_every)
        if stop or due or steps == total:
            self.save(steps)
        if stop:
            raise KeyboardInterrupt(
                f"stopped after step {steps} of {total}, with a checkpoint in {self.folder}. "
                f"{again()} to go on from there."
            )


@torch.no_grad()
def _moved(before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    """Return the length of the difference, as a share of the length before."""
    pairs = zip(before, after, strict=True)
    squares = [part for old, new in pairs for part in ((new - old).square().sum(), old.square().sum())]
    if not squares:
        return 0.0
    moved, length = torch.stack(squares).double().reshape(-1, 2).sum(dim=0).sqrt().tolist()
    return float(moved / max(length, 1e-12))


@contextmanager
def metered(start: int, total: int, batch_size: int) -> Iterator[Callable[[float], None]]:
    """Show how far a run is, as `progress.bar` does, and say so in a line where it goes on and at its end.

    Args:
        start: Number of steps done before.
        total: Number of steps in all.
        batch_size: Number of images per step.

    Yields:
        A function to call after each step, with the last loss that is known.
    """
    done, began = start, time.monotonic()
    if start:
        progress.say(f"pretrain: going on from a checkpoint, after step {start} of {total}")

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
    """Let torch use deterministic algorithms only, and put it back as it was afterwards.

    torch then fills all memory that it takes with NaN, for the sake of those who read what they never wrote: a tenth
    of the time of small networks. Nothing here does so, and that is left out.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic with a fixed workspace
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    memory: Any = torch.utils.deterministic  # its type does not name what it has
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
    """Seed torch's generators of the CPU and of a device that is in use, as `torch.manual_seed` seeds them.

    That one sees to all other kinds of devices too, and formats the whole call stack for each that is not in use: a
    twentieth of the time of a small network's step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed_all(seed)
