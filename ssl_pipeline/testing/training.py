"""Checks of training, which apply to several kinds of plugins.

Each tests a plugin inside a pretext task: the plugin itself, or the simplest task around a loss, a strategy or a
backbone.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from ssl_pipeline.testing.material import drawn_from, make_step, make_views
from ssl_pipeline.testing.subject import Subject
from ssl_pipeline.training.batch_encoder import in_float32
from ssl_pipeline.types import Encoded, PretextTask, Step, StepOutput, Views

__all__ = [
    "Trial",
    "does_not_depend_on_the_order_of_samples",
    "forward_is_per_sample",
    "gradients_reach_what_is_trained",
    "is_deterministic",
    "learns_in_twenty_steps",
    "notes_nothing_in_itself",
    "state_survives_save_and_load",
    "steps_are_finite_scalars",
    "survives_half_precision",
    "survives_half_precision_embeddings",
]


@dataclass(frozen=True)
class Trial:
    """A plugin, and the pretext task that it is tested in.

    Attributes:
        subject: The plugin under test.
        task: Function from a seed to a new task around a new plugin.
        images: Number of images per batch.
        rate: The learning rate.
    """

    subject: Subject
    task: Callable[[int], PretextTask]
    images: int = 24
    rate: float = 5e-3

    def views(self, task: PretextTask, seed: int = 0) -> Views:
        """Return a batch for a task."""
        return make_views(task, self.images, self.subject.size, seed)

    def step(self, seed: int = 0, number: int = 0, total: int = 1) -> Step:
        """Return the step of a batch."""
        return make_step(self.images, seed, number, total)

    def output(self, task: PretextTask, step: Step, seed: int = 0) -> StepOutput:
        """Return the output of a training step, with random numbers drawn from the seed."""
        with drawn_from(seed):
            return task.compare(task(self.views(task, seed)), step)


class _Course:
    """A training run that can be saved and resumed."""

    def __init__(self, trial: Trial, seed: int):
        self.trial, self.task = trial, trial.task(seed).train()
        self.optimizer = torch.optim.AdamW(self.task.parameters(), lr=trial.rate)

    def step(self, number: int, total: int, seed: int) -> StepOutput:
        step = self.trial.step(seed, number, total)
        output = self.trial.output(self.task, step, seed)
        self.optimizer.zero_grad()
        output.loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.task.after_step(step, output.kept)
        return output

    def saved(self) -> bytes:
        file = io.BytesIO()
        torch.save({"task": self.task.state_dict(), "optimizer": self.optimizer.state_dict()}, file)
        return file.getvalue()

    def load(self, content: bytes) -> None:
        state = torch.load(io.BytesIO(content), weights_only=True)
        self.task.load_state_dict(state["task"])
        self.optimizer.load_state_dict(state["optimizer"])


def steps_are_finite_scalars(trial: Trial) -> None:
    """Check the loss (a finite scalar with a graph), metrics (scalars with constant names) and `kept` (no graph)."""
    require, task = trial.subject.require, trial.task(0).train()
    names = None
    for number in range(3):
        step = trial.step(number, number, 3)
        loss, metrics, kept = trial.output(task, step, number)
        require(loss.shape == (), f"the loss has shape {tuple(loss.shape)}; return a scalar, such as its mean.")
        require(bool(loss.isfinite()), f"the loss is {loss.item()} on ordinary images. Look for log(0), 0/0, overflow.")
        require(loss.requires_grad, "the loss has no graph. Look for detach, and for code under no_grad.")
        for name, value in metrics.items():
            require(value.shape == () and not value.requires_grad, f"metric '{name}' must be a detached scalar.")
        require(
            names in (None, set(metrics)),
            f"the names of metrics change between steps, to {sorted(metrics)}; curves need equal names in each step.",
        )
        names = set(metrics)
        graphs = [leaf for leaf in tree_leaves(dict(kept)) if isinstance(leaf, Tensor) and leaf.requires_grad]
        require(not graphs, f"{len(graphs)} tensors in `kept` have a graph. Detach what you pass to `after_step`.")
        task.after_step(step, kept)


def gradients_reach_what_is_trained(trial: Trial) -> None:
    """Check that every parameter gets a finite gradient other than 0 within three steps."""
    course = _Course(trial, 0)
    left_out = ("encoder.backbone.",) * bool(course.task.needs)  # layers after the maps may serve only the embedding
    missing = {
        name for name, value in course.task.named_parameters() if value.requires_grad and not name.startswith(left_out)
    }
    for number in range(3):  # a layer that starts at 0 passes on no gradient in the first step
        course.step(number, 3, number)
        for name, value in course.task.named_parameters():
            if value.grad is not None:
                trial.subject.require(bool(value.grad.isfinite().all()), f"the gradient of {name} is not finite.")
                missing -= {name} if value.grad.any() else set()
    trial.subject.require(
        not missing,
        f"no gradient reaches {', '.join(sorted(missing)[:3])} ({len(missing)} in all). Look for detach, no_grad, "
        "argmax, or an unused parameter; call requires_grad_(False) on one that is not to be trained.",
    )


def forward_is_per_sample(trial: Trial) -> None:
    """Check that, in eval mode, what forward returns for a sample does not depend on the others of its batch."""
    task = trial.task(0).eval()
    views = make_views(task, 6, trial.subject.size)
    with torch.no_grad():
        whole = task(views)
        chunks = [task({kind: part[span] for kind, part in views.items()}) for span in (slice(0, 1), slice(1, 6))]
    for name, value in whole.items():
        trial.subject.require(
            len(value) == 6,
            f"the first dimension of encoded '{name}' has length {len(value)} for 6 samples; it must be the samples.",
        )
        alone = torch.cat([chunk[name] for chunk in chunks])
        trial.subject.require(
            torch.allclose(alone, value, rtol=1e-3, atol=1e-4),
            "what forward returns for a sample depends on the other samples of the batch, even in eval mode. Move "
            "operations that mix samples into `compare` (in a task), or remove them (in a backbone).",
        )


def does_not_depend_on_the_order_of_samples(trial: Trial) -> None:
    """Check that shuffling a batch does not change the loss; in eval mode, as dropout depends on positions."""
    views, step = trial.views(trial.task(0)), trial.step()
    order = torch.randperm(trial.images, generator=torch.Generator().manual_seed(0))
    losses = []
    shuffled = {kind: value[order] for kind, value in views.items()}, replace(step, ids=step.ids[order])
    for batch, its_step in ((views, step), shuffled):
        task = trial.task(0).eval()
        losses.append(task.compare(task(batch), its_step).loss.item())
    trial.subject.require(
        abs(losses[0] - losses[1]) <= 1e-4 * max(1.0, abs(losses[0])),
        f"the loss depends on the order of the samples in a batch: {losses[0]:.6g}, shuffled {losses[1]:.6g}. Look for "
        "an index that mixes up samples, or for code that compares neighbours by position.",
    )


def survives_half_precision(trial: Trial) -> None:
    """Check that, with forward under autocast as in training, the loss is near its float32 value; in eval mode."""

    def loss(dtype: torch.dtype | None) -> Tensor:
        task = trial.task(0).eval()
        with torch.autocast("cpu", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
            encoded = task(trial.views(task))
        return task.compare(in_float32(encoded), trial.step()).loss

    for dtype in (torch.bfloat16, torch.float16):
        _near(trial, loss(dtype), loss(None), dtype, "Compute in float32 where numbers overflow or cancel.")


def survives_half_precision_embeddings(trial: Trial) -> None:
    """Check that the loss of embeddings in half precision has finite gradients, and is near that in float32."""
    task = trial.task(0)
    with torch.no_grad():
        embeddings = task(trial.views(task))
    for dtype in (torch.bfloat16, torch.float16):
        rounded = {
            name: value.to(dtype).requires_grad_() if value.is_floating_point() else value
            for name, value in embeddings.items()
        }
        leaves = {name: value.detach() for name, value in rounded.items()}
        actual = trial.task(0).compare(rounded, trial.step()).loss
        wanted = trial.task(0).compare(in_float32(leaves), trial.step()).loss
        advice = "Use ssl_pipeline.contrast, which sums in float32, or convert embeddings to float32 first."
        _near(trial, actual, wanted, dtype, advice)
        actual.backward()  # type: ignore[no-untyped-call]
        finite = all(value.grad is None or bool(value.grad.isfinite().all()) for value in rounded.values())
        trial.subject.require(finite, f"gradients of {dtype} embeddings are not finite. {advice}")


def _near(trial: Trial, actual: Tensor, wanted: Tensor, dtype: torch.dtype, advice: str) -> None:
    trial.subject.require(
        abs(actual.item() - wanted.item()) <= 0.03 * max(0.3, abs(wanted.item())),
        f"the loss is {actual.item():.4g} in {dtype}, but {wanted.item():.4g} in float32: half precision is not safe. "
        + advice,
    )


def is_deterministic(trial: Trial) -> None:
    """Check that two runs with the same seed have the same bits."""
    runs: list[list[float]] = []
    for _ in range(2):
        course = _Course(trial, 0)
        runs.append([course.step(number, 4, number).loss.item() for number in range(4)])
    trial.subject.require(
        runs[0] == runs[1],
        "two runs with the same seed differ. Draw random numbers from torch's default generator, which the pipeline "
        "seeds at every step, and keep no state outside of the object.",
    )


def state_survives_save_and_load(trial: Trial) -> None:
    """Check that a run that is saved and resumed in a new object has the bits of an uninterrupted one."""
    steady = _Course(trial, 0)
    for number in range(3):
        steady.step(number, 6, number)
    resumed = _Course(trial, 1)
    advice = "Keep everything that changes during training in parameters or persistent buffers (register_buffer)."
    try:
        resumed.load(steady.saved())
    except (RuntimeError, ValueError, KeyError) as error:
        raise trial.subject.fault(f"its state cannot be loaded into a new object ({error}). {advice}") from error
    for number in range(3, 6):
        wanted, actual = (course.step(number, 6, number).loss.item() for course in (steady, resumed))
        trial.subject.require(
            wanted == actual,
            f"after saving and loading during training, the loss is {actual!r} instead of {wanted!r}: state_dict does "
            f"not hold the whole state. {advice}",
        )


def notes_nothing_in_itself(trial: Trial) -> None:
    """Check that `after_step` depends only on the state, the step and `kept`, not on attributes that `compare` sets."""
    course, other = _Course(trial, 0), trial.task(0).train()
    course.step(0, 6, 0)
    step = trial.step(1, 1, 6)
    output = trial.output(course.task, step, 1)
    other.load_state_dict(course.task.state_dict())
    for task in (course.task, other):
        task.after_step(step, output.kept)
    actual, wanted = other.state_dict(), course.task.state_dict()
    different = [name for name in wanted if not torch.equal(actual[name], wanted[name])]
    trial.subject.require(
        not different,
        f"after_step gives another state if another object compared the batch ({', '.join(different[:3])}). Return "
        "what after_step needs as `kept` in StepOutput or Negatives, instead of storing it in an attribute.",
    )


def learns_in_twenty_steps(trial: Trial, judge: Callable[[Encoded, Step], Tensor] | None = None) -> None:
    """Check that twenty steps on a few images lower the loss.

    Args:
        trial: The plugin under test, and its task.
        judge: Function from the task's encoded batch and a step to the loss to judge by, in place of the trial's loss.
            Training then sees new images in each step, so that a memory does not meet the same images again.
    """
    course = _Course(trial, 0)

    def measured() -> float:
        encoded, step = course.task(trial.views(course.task)), trial.step()
        return (judge(encoded, step) if judge else course.task.compare(encoded, step).loss).item()

    before = measured()
    for number in range(20):
        course.step(number, 20, number if judge else 0)
    after = measured()
    trial.subject.require(
        after < before - 0.05 * abs(before),
        f"nothing is learned in 20 steps: the loss goes from {before:.4g} to {after:.4g}. Inspect its gradients: with "
        "the options of this check, it should fall on a few easy images.",
    )
