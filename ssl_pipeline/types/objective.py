"""What shapes energies: losses, in a family for each kind of thing that is held against another."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ssl_pipeline.types.contrast import Negatives, Trait
from ssl_pipeline.types.finding import Diagnosed
from ssl_pipeline.types.step import Kept, Step, StepOutput

__all__ = ["Loss", "Objective", "TaughtLoss", "ViewLoss"]


class Objective(Diagnosed, nn.Module, ABC):
    """What losses of all families have in common; a family is a subclass that says what its `forward` is given.

    A pretext task names the family whose losses it takes as `objective`.

    Examples:
        >>> class TextLoss(Objective):  # a family of losses that hold images against texts
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
    """What tells losses of this family from others, such as "with negatives"; for messages: "a loss <family>"."""

    energy_name: str
    """Which energy it shapes, for the metadata of `energy.onnx`."""

    remedy: str = "Lower pretrain.optimizer.learning_rate, or raise pretrain.batch_size."
    """What to change where projections collapse."""

    dim: int
    """D, the length of projections, from `fit_to` on."""

    def fit_to(self, dim: int) -> None:
        """Make what depends on the length D of projections. A task calls it once, when it is built."""
        self.dim = dim

    @abstractmethod
    def energy(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the energy of pairs (N,) of projections (N, D) and (N, D), both unit-norm."""

    def after_step(self, step: Step, kept: Kept) -> None:
        """Follow an optimizer step: `kept` is what `forward` kept of this step, such as means of scores.

        What `forward` needs later is returned as `kept`, not noted in the loss. Where a task asks a loss more than once
        in a step, it is given what the last answer kept.
        """
        del step, kept  # most losses hold no state


class Loss(Objective):
    """Pulls an anchor towards its positives, and pushes it away from negatives.

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
    """Whether it learns little from hardly any negatives per anchor; its metric `negatives` says how many there are."""

    refuses: Mapping[Trait, str] = {}
    """Trait of a strategy -> why this loss makes no sense with it; such a pair is refused before training."""

    @abstractmethod
    def forward(self, anchors: Tensor, positives: Tensor, negatives: Negatives, step: Step) -> StepOutput:
        """Return the mean loss over anchors (A, D) with M positives each (A, M, D), all unit-norm."""


class ViewLoss(Objective):
    """Holds views of one image together, and keeps a batch from collapsing without negatives.

    Examples:
        >>> from ssl_pipeline.testing.material import make_step
        >>> class Together(ViewLoss):  # holds views together, and does nothing against collapse
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
    """Least standard deviation of unit projections, times sqrt(D), in a healthy run; what has less has collapsed."""

    @abstractmethod
    def forward(self, predictions: Tensor, targets: Tensor, step: Step) -> StepOutput:
        """Return the loss of V views of N images (V, N, D) and of the targets (T, N, D) of the first T of them.

        None has unit length. Where there is neither a predictor nor a teacher, targets are those views themselves, with
        their gradients.
        """

    def energy(self, first: Tensor, second: Tensor) -> Tensor:
        """Return minus the cosine of each pair, which is the energy of a loss of views that says nothing else."""
        cosine: Tensor = torch.linalg.vecdot(first, second)
        return -cosine


class TaughtLoss(Objective):
    """Holds what a student predicts against what its teacher says, both in the space of the teacher's embeddings.

    Unlike the targets of a `ViewLoss`, which come from other views of an image and move with what is trained, those of
    a teacher are given: each view has a target of its own, and nothing but these keeps predictions from collapsing.

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

    remedy: str = "Lower pretrain.optimizer.learning_rate, or take another loss of a teacher's embeddings."

    @abstractmethod
    def forward(self, predictions: Tensor, targets: Tensor, step: Step) -> StepOutput:
        """Return the mean loss over views and images.

        Args:
            predictions: (V, N, D) predictions of V views of N images, of any length.
            targets: (T, N, D) embeddings by the teacher, of any length, without gradient: of each view, so that T is V,
                or of the whole images, so that T is 1.
            step: The step.
        """

    def energy(self, first: Tensor, second: Tensor) -> Tensor:
        """Return minus the cosine of each pair, which is the energy of a loss that says nothing else."""
        cosine: Tensor = torch.linalg.vecdot(first, second)
        return -cosine
