"""What is learned from: the pretext task, its views and its steps."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from ssl_pipeline.types.encoder import Encoder
from ssl_pipeline.types.energy import EnergyHead, ImageEnergyHead
from ssl_pipeline.types.finding import Diagnosed
from ssl_pipeline.types.networks import Need
from ssl_pipeline.types.objective import Loss, Objective
from ssl_pipeline.types.step import Kept, Step, StepOutput
from ssl_pipeline.types.teaching import Teaching
from ssl_pipeline.types.texts import TextTower

__all__ = ["UNIFORMS", "Encoded", "Frames", "PretextTask", "ViewNeeds", "Views"]

UNIFORMS = "task/uniforms"
"""Where a task finds its random numbers among its views; no kind of view can have this name."""

Views = Mapping[str, Tensor]
"""Kind of view -> (N, V, C, S, S) float32 in [0, 1]: V views of each of N samples, in the C channels of the images.
`UNIFORMS` -> (N, P) float32 in [0, 1), for a task that asks for some. `TOKENS` -> (N, L) int64 and `CAPTIONS` ->
(N, M) int64, for a task that has a text tower. `TEACHER` -> (N, T, D) float32, for a task that has a teacher."""

Encoded = dict[str, Tensor]
"""What a task's forward returns: tensors whose first dimension is the sample, so that chunks can be concatenated."""


class Frames(NamedTuple):
    """Views of several frames of one clip, in the order of time: how far one is from the next.

    The sample's own image is one of these frames, and which one is drawn, as are the distances, among what there is.
    All views of a sample are made with the same random numbers: a crop or a tint of its own would give a frame away.

    Attributes:
        least: The least time from one frame to the next, s, greater than 0.
        most: The longest time from one frame to the next, s.

    Examples:
        >>> ViewNeeds("plain", 3, frames=Frames(least=0.2, most=1.0)).frames
        Frames(least=0.2, most=1.0)
    """

    least: float
    most: float


@dataclass(frozen=True)
class ViewNeeds:
    """Which views of each sample a task learns from: `ViewNeeds("global", 2, {"local": 4})`.

    Attributes:
        main: The main kind of view: the backbone is built, watched and exported at its size.
        count: The number of views of the main kind, at least 1.
        others: Further kind of view -> the number of views of it, at least 1.
        frames: None: the main views are of the sample's own image, or of what `pretrain.positives` says; otherwise they
            are of as many frames of a clip, at these distances.

    Raises:
        ValueError: A number is less than 1, the main kind is among the others, or distances are out of range.

    Examples:
        >>> ViewNeeds("global", 2, {"local": 4}).counts
        {'global': 2, 'local': 4}
    """

    main: str
    count: int = 1
    others: Mapping[str, int] = field(default_factory=dict)
    frames: Frames | None = None

    def __post_init__(self) -> None:
        if self.main in self.others:
            raise ValueError(f"'{self.main}' is the main kind of view already, and cannot be another one as well")
        for kind, count in self.counts.items():
            if count < 1:
                raise ValueError(f"the number of views of kind '{kind}' must be at least 1, got {count}")
        if self.frames and self.count < 2:
            raise ValueError("views of several frames must be at least 2")
        if self.frames and not 0 < self.frames.least <= self.frames.most:
            raise ValueError(
                "the times from one frame to the next must satisfy 0 < least <= most, got "
                f"{self.frames.least:g} and {self.frames.most:g} s"
            )

    @property
    def counts(self) -> dict[str, int]:
        """Kind of view -> the number of views of it; the main kind is the first."""
        return {self.main: self.count, **self.others}


class PretextTask(Diagnosed, nn.Module, ABC):
    """What is learned from: three verbs, `forward`, `compare`, `after_step`, and what leaves training.

    Augmentation is never inside a task: it receives views, and declares which it needs. What is hidden, corrupted or
    shuffled, so that it can be asked for, is the task's own; the numbers that decide it are given to it with the views,
    so that they do not depend on the batch.

    Examples:
        >>> import torch
        >>> from ssl_pipeline.parts.answers import graded
        >>> from ssl_pipeline.testing.material import make_step, make_views, small_encoder
        >>> class Mirrored(PretextTask):  # was the image mirrored?
        ...     forbidden = frozenset({"horizontal_flip"})
        ...     def __init__(self, encoder):
        ...         super().__init__()
        ...         self.views, self.encoder = self.views_for({}), encoder
        ...         self.head = nn.Linear(encoder.embedding_dim, 2)
        ...     def forward(self, views):
        ...         images = views["global"][:, 0]  # (N, C, S, S)
        ...         both = torch.stack([images, images.flip(3)], dim=1)  # (N, 2, C, S, S)
        ...         return {"logits": self.head(self.encoder(both.flatten(0, 1))).unflatten(0, both.shape[:2])}
        ...     def compare(self, encoded, step):
        ...         return graded(encoded["logits"], torch.arange(2).expand(len(encoded["logits"]), 2))
        ...     def predict(self, images):
        ...         return self.head(self.encoder(images)).softmax(dim=1)
        >>> task = Mirrored(small_encoder(seed=0))
        >>> output = task.compare(task(make_views(task, count=8, size=16)), make_step(count=8))
        >>> output.loss.requires_grad, sorted(output.metrics)
        (True, ['pretext_accuracy'])
    """

    encoder: Encoder
    """The part that is exported: (N, C, S, S) in [0, 1] -> (N, D); the one a task is given, or it `in_grayscale()`."""

    energy_head: EnergyHead | ImageEnergyHead | None
    """The trained energy, of pairs or of images; None, unless a task sets it: the cosine of backbone embeddings."""

    text_tower: TextTower | None
    """What embeds captions, for a task that learns from them; None, unless a task sets it. It leaves training, too."""

    teaching: Teaching | None = None
    """By whom it is taught, for a task that learns from another encoder: what `taught_by` says of its options."""

    views: ViewNeeds
    """The views of a sample that it learns from: what `views_for` says of its options."""

    uniforms: int = 0
    """P, how many random numbers of its own a sample needs."""

    parts: Mapping[str, int] = {}
    """What the encoder is given beside whole views -> its side in px, such as {"tile": 10}."""

    forbidden: frozenset[str] = frozenset()
    """Operations of the augmentation policy that would give the answer away or make it undecidable."""

    needs: frozenset[Need] = frozenset()
    """What it asks of a backbone beyond embeddings, or of the images; others are refused before training."""

    objective: type[Objective] = Loss  # type: ignore[type-abstract]  # no loss is built from it
    """The family of losses that its parameter `loss` takes, if it has one; losses of others are refused."""

    ships_average: bool = False
    """Whether `finish` puts a moving average of its own, a teacher's weights, in the encoder's place."""

    def __init__(self) -> None:
        super().__init__()
        self.energy_head = None
        self.text_tower = None

    @classmethod
    def views_for(cls, options: Mapping[str, Any]) -> ViewNeeds:
        """Say which views a task with these options will learn from, before anything is built.

        A task of one view per sample can leave this as it is: the view is of the kind that the option `view` names, or
        of the kind `global` where there is no such option.

        Args:
            options: All options by name, checked by their types, with the defaults of those that were left out.

        Raises:
            ValueError: An option is out of range.
        """
        return ViewNeeds(options.get("view", "global"))

    @classmethod
    def taught_by(cls, options: Mapping[str, Any]) -> Teaching | None:
        """Say which other encoder teaches a task with these options, before anything is built; None: nobody does.

        A task that has a teacher takes the options `teacher`, a `Teacher` or None, and `teacher_dim`.

        Args:
            options: All options by name, as `views_for` is given them.

        Raises:
            ValueError: An option is out of range.
        """
        del options
        return None

    @abstractmethod
    def forward(self, views: Views) -> Encoded:
        """Encode per sample, so that a batch can be cut into chunks: no sample's row depends on other samples.

        BatchNorms of a backbone are the exception: in training they mix the samples that they are given.
        """

    @abstractmethod
    def compare(self, encoded: Encoded, step: Step) -> StepOutput:
        """Compare samples of the whole batch: heads that mix samples, negatives, the loss.

        What `after_step` needs of the batch is returned as `kept`, not noted in the task. A metric called
        `pretext_accuracy`, the share of right answers, is watched: a task that is solved at once teaches nothing.
        """

    def after_step(self, step: Step, kept: Kept) -> None:
        """Do what follows an optimizer step, such as moving a teacher: `kept` is what `compare` kept of this step."""
        del step, kept  # most tasks hold no such state

    def finish(self) -> None:
        """Do what follows the last step: make `encoder`, `energy_head` and `text_tower` what should leave training.

        It is called at the end of a run that was resumed, too, and changes nothing where it has been called before.
        """

    @abstractmethod
    def predict(self, images: Tensor) -> Tensor:
        """Return what the task predicts or projects, for `pretext.onnx`: (N, C, S, S) in [0, 1] -> (N, ...)."""

    def draw(self, views: Views, folder: Path) -> None:
        """Write pictures of what was learned into a folder, from the views of some images, in eval mode."""
        del views, folder  # most tasks have nothing to show
