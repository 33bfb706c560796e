"""Losses, which shape energies, in one family for each kind of comparison."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ssl_pipeline.types.contrast import Negatives, Trait
from ssl_pipeline.types.finding import Diagnosed
from ssl_pipeline.types.step import Kept, Step, StepOutput

__all__ = ["Loss", "Objective", "TaughtLoss", "ViewLoss"]


class Objective(Diagnosed, nn.Module, ABC):
    """The base of the losses of all families; a family is a subclass that states what its `forward` receives.

    A pretext task names the family whose losses it accepts as its `objective`.

    Examples:
        >>> class TextLoss(Objective):  # a family of losses that compare images with texts
        ...     family = "of images and texts"
        ...     @abstractmethod
        ...     def forward(self, images, texts, step):
        ...         ...
        >>> class Softmax(TextLoss):
        ...     energy_name = "negative_cosine"
        ...     def forward(self, images, texts, step):
        ...         cosines = images @ texts.T  # (N, N)
        ...         return StepOutput(-cosines.log_softmax(dim=1).diagonal().mean(), {})
        ...     def energy(self, first, second):
        ...         return -(first * second).sum(dim=1)
        >>> from ssl_pipeline.testing.material import make_step
        >>> print(f"{Softmax()(torch.eye(2), torch.eye(2), make_step(count=2)).loss:.4f}")  # log(e + 1) - 1
        0.3133
    """

    family: str
    """Description of the family, such as "with negatives", for messages of the form "a loss <family>"."""

    energy_name: str
    """Name of the energy that the loss shapes, for the metadata of `energy.onnx`."""

    remedy: str = "Lower pretrain.optimizer.learning_rate, or raise pretrain.batch_size."
    """What to change if projections collapse."""

    dim: int
    """Length of projections, D, which `fit_to` sets."""

    def fit_to(self, dim: int) -> None:
        """Build what depends on the length of projections, D. A task calls this once, when it is built."""
        self.dim = dim

    @abstractmethod
    def energy(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the energies (N,) of pairs of projections (N, D) and (N, D), both unit-norm."""

    def after_step(self, step: Step, kept: Kept) -> None:
        """Update the loss after an optimizer step; `kept` is what `forward` kept of this step, such as mean scores.

        `forward` returns what is needed later as `kept`, instead of storing it in the loss. If a task calls a loss more
        than once in a step, `kept` is from the last call.
        """
        del step, kept  # most losses hold no state


class Loss(Objective):
    """A loss that pulls an anchor towards its positives, and pushes it away from negatives.

    Examples:
        >>> from ssl_pipeline.contrast.similarity import cosines, log_mass
        >>> from ssl_pipeline.testing.material import make_step
        >>> class Softmax(Loss):
        ...     energy_name = "negative_cosine"
        ...     def forward(self, anchors, positives, negatives, step):
        ...         positive = cosines(anchors, positives)  # (A, M)
        ...         mass = log_mass(anchors, negatives, 1.0, positives=positive)  # (A,)
        ...         return StepOutput((torch.logaddexp(positive, mass[:, None]) - positive).mean(), {})
        ...     def energy(self, first, second):
        ...         return -(first * second).sum(dim=1)
        >>> keys, ids = torch.eye(4), torch.tensor([7, 9, 7, 9])
        >>> loss = Softmax()(keys, keys[:, None], Negatives(keys, ids, ids), make_step(count=2)).loss
        >>> print(f"{loss:.4f}")  # log(e + 2) - 1
        0.5514
    """

    family = "with negatives"

    remedy: str = (
        "Raise pretrain.batch_size, give incompatible pairs more weight in pretrain.loss, or lower "
        "pretrain.optimizer.learning_rate."
    )

    needs_many_negatives: bool = True
    """Whether the loss learns little if anchors have few negatives; its metric `negatives` gives their number."""

    refuses: Mapping[Trait, str] = {}
    """Trait of a strategy -> why this loss cannot be used with it; such a combination is refused before training."""

    @abstractmethod
    def forward(self, anchors: Tensor, positives: Tensor, negatives: Negatives, step: Step) -> StepOutput:
        """Return the mean loss over anchors (A, D) with M positives each (A, M, D), all unit-norm."""


class ViewLoss(Objective):
    """A loss that makes views of one image agree, and prevents collapse without negatives.

    Examples:
        >>> from ssl_pipeline.testing.material import make_step
        >>> class Together(ViewLoss):  # makes views agree, and does nothing against collapse
        ...     def forward(self, predictions, targets, step):
        ...         apart = (predictions[:, None] - targets[None]).square().sum(dim=-1)  # (V, T, N)
        ...         return StepOutput(apart.mean(), {})
        >>> views = torch.tensor([[[0.0, 1.0]], [[0.0, 3.0]]])  # (2, 1, 2): two views of one image
        >>> Together()(views, views, make_step(count=1)).loss.item()
        2.0
    """

    family = "without negatives"

    energy_name: str = "negative_cosine"

    least_std: float = 0.1
    """Smallest standard deviation of unit-norm projections, times sqrt(D), in healthy runs; below it is collapse."""

    @abstractmethod
    def forward(self, predictions: Tensor, targets: Tensor, step: Step) -> StepOutput:
        """Return the loss of V views of N images (V, N, D), given the targets (T, N, D) of the first T views.

        The vectors do not have unit length. With neither a predictor nor a teacher, the targets are these views
        themselves, with their gradients.
        """

    def energy(self, first: Tensor, second: Tensor) -> Tensor:
        """Return minus the cosine (N,) of each pair, which is the energy unless a loss overrides it."""
        cosine: Tensor = torch.linalg.vecdot(first, second)
        return -cosine


class TaughtLoss(Objective):
    """A loss that compares a student's predictions with its teacher's embeddings, in the space of the latter.

    The targets of a `ViewLoss` come from other views of an image, and change during training. Those of a teacher are
    fixed: a view has the embedding of itself, or of its whole image, and only these keep predictions from collapsing.

    Examples:
        >>> from ssl_pipeline.testing.material import make_step
        >>> class Apart(TaughtLoss):
        ...     def forward(self, predictions, targets, step):
        ...         return StepOutput((predictions - targets).square().sum(dim=-1).mean(), {})
        >>> predictions, targets = torch.tensor([[[0.0, 1.0]], [[0.0, 3.0]]]), torch.zeros(2, 1, 2)  # two views
        >>> Apart()(predictions, targets, make_step(count=1)).loss.item()
        5.0
    """

    family = "of a teacher's embeddings"

    energy_name: str = "negative_cosine"

    remedy: str = "Lower pretrain.optimizer.learning_rate, or use another loss of a teacher's embeddings."

    @abstractmethod
    def forward(self, predictions: Tensor, targets: Tensor, step: Step) -> StepOutput:
        """Return the mean loss over views and images.

        Args:
            predictions: Predictions (V, N, D) from V views of N images, of any length.
            targets: Embeddings (T, N, D) of the teacher, of any length, without gradient: of each view (T is V) or of
                the whole images (T is 1).
            step: The step.
        """

    def energy(self, first: Tensor, second: Tensor) -> Tensor:
        """Return minus the cosine (N,) of each pair, which is the energy unless a loss overrides it."""
        cosine: Tensor = torch.linalg.vecdot(first, second)
        return -cosine
