"""Losses for your own training loops: a registered loss with its negatives, and the bookkeeping between steps."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_pipeline.artifacts.assembly import check_pair
from ssl_pipeline.config import Choice
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.loading import load_registry
from ssl_pipeline.types import (
    Candidates,
    Kept,
    Loss,
    Negatives,
    NegativeStrategy,
    Step,
    StepOutput,
    ViewLoss,
)

__all__ = ["Criterion", "loss"]

Part = str | Mapping[str, Any]
"""A name, or a mapping with `name` and options, as in params.yaml."""


def loss(
    name: str,
    *,
    negatives: Part | None = None,
    dim: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    **options: Any,
) -> "Criterion":
    """Return a registered loss as a module to call on the projections of two views.

    Args:
        name: The name of the loss, as in `pretrain.loss`.
        negatives: The negative-sampling strategy of a loss with negatives, as a name or as a mapping with options:
            `{"name": "queue", "queue_size": 4096}`. None: the other images of the batch are the negatives.
        dim: D, the length of projections. Pass it for a loss that has weights, such as prototypes, so that
            `criterion.parameters()` includes them from the start. None: it is taken from the first batch.
        steps: The number of training steps, for losses and negatives that change during training; None: unknown.
        seed: The seed of the loss's weights and random numbers.
        **options: Options of the loss, as in params.yaml.

    Raises:
        ConfigError: The loss, the strategy or an option does not exist; a value is refused; or the loss takes no
            negatives, or not those of this strategy.

    Examples:
        >>> import ssl_pipeline
        >>> criterion = ssl_pipeline.loss("info_nce", temperature=0.2)
        >>> first, second = torch.eye(8, requires_grad=True), torch.eye(8)  # projections of two views of 8 images
        >>> value = criterion(first, second)
        >>> print(f"{value.item():.4f}")  # log(exp(5) + 14) - 5
        0.0901
    """
    if (dim is not None and dim < 1) or (steps is not None and steps < 1):
        raise ConfigError(f"dim and steps must be at least 1, got {dim} and {steps}.")
    registry, choice = load_registry(), Choice(name=name, **options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        objective, strategy = registry.build("loss", choice, "loss"), None
        if not isinstance(objective, Loss | ViewLoss):
            raise ConfigError(
                f"loss '{name}' is a loss {getattr(objective, 'family', 'of another kind')}, which works only with its "
                "own pretext task. Choose a loss that compares the projections of two views."
            )
        if negatives is not None:
            if not isinstance(objective, Loss):
                raise ConfigError(f"loss '{name}' takes no negatives. Leave out `negatives`.")
            chosen = Choice.model_validate(negatives if isinstance(negatives, str) else dict(negatives))
            strategy = registry.build("negatives", chosen, "negatives")
            check_pair(name, objective, chosen.name, strategy)
        criterion = Criterion(objective, strategy or _OtherImages(), steps=steps, seed=seed)
        if dim is not None:
            criterion.fit_to(dim)
    return criterion


class _OtherImages(NegativeStrategy):
    """The views of the other images of the batch."""

    def select(self, candidates: Candidates) -> Negatives:
        """Return every key of the batch except those of the anchor's image."""
        return candidates.negatives()


class _OpenEnded(Step):
    """A step of a run of unknown length."""

    @property
    def progress(self) -> float:
        """Raise a ConfigError: progress is unknown without the number of steps."""
        raise ConfigError(
            "this loss, or its negative-sampling strategy, changes during training. Pass the number of steps: "
            "ssl_pipeline.loss(..., steps=10_000)."
        )

    done = progress


class Criterion(nn.Module):
    """A loss of views, with its negatives and its memory of past steps; create one with `ssl_pipeline.loss`.

    Each call in training mode is a step. Work that follows the optimizer's step, such as filling a queue, is done at
    the next call, by `after_step`, or before a `state_dict` is taken. A training step is therefore just:

        value = criterion(first, second)
        value.backward()
        optimizer.step()

    Args:
        objective: The loss, with or without negatives.
        negatives: The strategy that selects the keys of a loss with negatives.
        steps: The number of training steps; None: unknown.
        seed: The seed of the random numbers drawn for each image.

    Attributes:
        objective: The loss itself.
        figures: Measurements of the last call, such as the number of negatives: name -> a detached scalar.
    """

    step_count: Tensor
    images_seen: Tensor

    def __init__(
        self, objective: Loss | ViewLoss, negatives: NegativeStrategy, *, steps: int | None = None, seed: int = 0
    ):
        super().__init__()
        self.objective, self.negatives, self.steps, self.seed = objective, negatives, steps, seed
        self.dim: int | None = None
        self.figures: dict[str, Tensor] = {}
        self._pending: tuple[Step, Kept] | None = None
        self.register_buffer("step_count", torch.tensor(0))
        self.register_buffer("images_seen", torch.tensor(0))
        self._own_weights = sum(1 for _ in objective.parameters())  # those that do not depend on D
        self.register_state_dict_pre_hook(lambda module, *_: module.after_step())  # type: ignore[no-untyped-call]

    def fit_to(self, dim: int) -> None:
        """Create the weights that depend on the length D of projections; otherwise, the first call does this."""
        self.objective.fit_to(dim)
        self.dim = dim

    def forward(self, *views: Tensor, targets: Sequence[Tensor] | None = None, ids: Tensor | None = None) -> Tensor:
        """Return the loss of views of N images.

        Args:
            *views: Projections (N, D) of each view, as they leave the network. A loss with negatives takes two views,
                any other takes two or more.
            targets: Projections (N, D) that the views are compared with: a teacher's (momentum encoder), or those
                before the predictor. They belong to the same views, or, without negatives, to the first of them.
                None: the views themselves.
            ids: Ids (N,) int64 of the images, equal in all epochs, so that an image's own past keys are never its
                negatives. None: every batch counts as new images.

        Returns:
            The loss, a scalar.

        Raises:
            ValueError: The number, shape or type of the projections is wrong.
            ConfigError: The loss needs `dim` or `steps`.
        """
        self._check(views, targets, ids)
        self.after_step()
        self._prepare(views[0])
        with torch.autocast(views[0].device.type, enabled=False):  # as in training: only networks use half precision
            own = _in_float32(views)
            against = own if targets is None else _in_float32(targets)
            step = self._step(len(views[0]), ids)
            value, figures, kept = self._compared(own, against, step)
        self.figures = dict(figures)
        if self.training and value.requires_grad:
            self.step_count += 1
            self.images_seen += len(views[0])
            self._pending = step, kept
        return value

    def after_step(self) -> None:
        """Do the work that follows the optimizer's step, unless it has been done already."""
        if self._pending is None:
            return
        (step, kept), self._pending = self._pending, None
        with torch.no_grad():
            self.objective.after_step(step, kept["loss"])
            self.negatives.after_step(step, kept["negatives"])

    def _compared(self, views: Sequence[Tensor], targets: Sequence[Tensor], step: Step) -> StepOutput:
        if isinstance(self.objective, ViewLoss):
            value, figures, kept = self.objective(torch.stack(list(views)), torch.stack(list(targets)), step)
            return StepOutput(value, figures, {"loss": kept, "negatives": {}})
        anchors = F.normalize(torch.cat(list(views)), dim=1)
        keys = anchors if targets is views else F.normalize(torch.cat(list(targets)), dim=1)
        samples = step.ids.repeat(2)
        positives = keys.roll(len(step.ids), dims=0)  # the other view of the same image
        negatives = self.negatives.select(Candidates(anchors, positives, samples, keys, samples, step))
        value, figures, kept = self.objective(anchors, negatives.compatible(positives), negatives, step)
        return StepOutput(value, {**figures, **negatives.figures}, {"loss": kept, "negatives": negatives.kept})

    def _step(self, count: int, ids: Tensor | None) -> Step:
        number, device = int(self.step_count), self.step_count.device
        known = torch.arange(count, device=device) + self.images_seen if ids is None else ids.to(device)
        if self.steps is None:
            return _OpenEnded(number, 0, number, self.seed, known)
        return Step(min(number, self.steps - 1), self.steps, number, self.seed, known)

    def _prepare(self, view: Tensor) -> None:
        if self.dim is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)
                self.fit_to(view.shape[1])
            if sum(1 for _ in self.objective.parameters()) > self._own_weights:
                self.dim = None
                raise ConfigError(
                    f"this loss has weights that must be trained. Pass dim={view.shape[1]}, the length of projections, "
                    "to ssl_pipeline.loss, and criterion.parameters() to the optimizer."
                )
        if self.step_count.device != view.device:
            self.to(view.device)

    def _check(self, views: Sequence[Tensor], targets: Sequence[Tensor] | None, ids: Tensor | None) -> None:
        pairs = not isinstance(self.objective, ViewLoss)
        if len(views) < 2 or (pairs and len(views) > 2):
            more = "" if pairs else " or more"
            raise ValueError(f"a loss {self.objective.family} takes two views{more}, got {len(views)}")
        if targets is not None and not (2 if pairs else 1) <= len(targets) <= len(views):
            first = "" if pairs else " or the first of them"
            raise ValueError(f"targets must match the {len(views)} views{first}, got {len(targets)}")
        given = (*views, *(targets or ()))
        shapes = {tuple(view.shape) for view in given}
        if len(shapes) > 1 or views[0].ndim != 2 or not all(view.is_floating_point() for view in given):
            raise ValueError(f"projections must be floats of one shape (N, D), got {sorted(shapes)}")
        ((count, dim),) = shapes
        if self.dim not in (None, dim):
            raise ValueError(f"projections have length {dim}, but this loss was set up for length {self.dim}")
        if ids is not None and tuple(ids.shape) != (count,):
            raise ValueError(f"ids must have shape ({count},), one per image, got {tuple(ids.shape)}")


def _in_float32(views: Sequence[Tensor]) -> Sequence[Tensor]:
    narrow = (torch.float16, torch.bfloat16)
    return views if all(view.dtype not in narrow for view in views) else [view.float() for view in views]
