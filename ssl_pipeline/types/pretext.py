"""The pretext task, its views and its steps."""

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
"""Key under which a task finds its random numbers among its views; no kind of view can have this name."""

Views = Mapping[str, Tensor]
"""Kind of view -> (N, V, C, S, S) float32 in [0, 1]: V views of each of N samples, in the C channels of the images.
`UNIFORMS` -> (N, P) float32 in [0, 1), for a task that needs some. `TOKENS` -> (N, L) int64 and `CAPTIONS` ->
(N, M) int64, for a task that has a text tower. `TEACHER` -> (N, T, D) float32, for a task that has a teacher."""

Encoded = dict[str, Tensor]
"""The output of a task's `forward`: tensors whose first dimension is the sample, so that chunks can be concatenated."""


class Frames(NamedTuple):
    """Times between several frames of one clip that are the views of a sample, in the order of time.

    The sample's own image is one of these frames. Its position among them and the times between frames are drawn from
    what the clip offers. All views of a sample are made with the same random numbers: a different crop or tint would
    give a frame away.

    Attributes:
        least: Shortest time from one frame to the next, in s, greater than 0.
        most: Longest time from one frame to the next, in s.

    Examples:
        >>> ViewNeeds("plain", 3, frames=Frames(least=0.2, most=1.0)).frames
        Frames(least=0.2, most=1.0)
    """

    least: float
    most: float


@dataclass(frozen=True)
class ViewNeeds:
    """The views of each sample that a task learns from, such as `ViewNeeds("global", 2, {"local": 4})`.

    Attributes:
        main: Main kind of view: the backbone is built, watched and exported at its size.
        count: Number of views of the main kind, at least 1.
        others: Further kind of view -> the number of views of it, at least 1.
        frames: Times between frames, if the main views show different frames of a clip. None: the main views show the
            sample's own image, or what `pretrain.positives` says.

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
            raise ValueError(f"'{self.main}' is already the main kind of view, and cannot be one of the others")
        for kind, count in self.counts.items():
            if count < 1:
                raise ValueError(f"the number of views of kind '{kind}' must be at least 1, got {count}")
        if self.frames and self.count < 2:
            raise ValueError("the number of views must be at least 2 if they show several frames")
        if self.frames and not 0 < self.frames.least <= self.frames.most:
            raise ValueError(
                "the times from one frame to the next must satisfy 0 < least <= most, got "
                f"{self.frames.least:g} and {self.frames.most:g} s"
            )

    @property
    def counts(self) -> dict[str, int]:
        """Kind of view -> the number of views of it; the main kind comes first."""
        return {self.main: self.count, **self.others}


class PretextTask(Diagnosed, nn.Module, ABC):
    """A pretext task: three steps, `forward`, `compare` and `after_step`, and what is exported.

    Augmentation never happens inside a task: a task receives views, and declares which ones it needs. Hiding,
    corrupting or shuffling what has to be predicted belongs to the task. The random numbers for it come with the views,
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
    """The exported part: (N, C, S, S) in [0, 1] -> (N, D); the encoder that a task receives, or one made from it."""

    energy_head: EnergyHead | ImageEnergyHead | None
    """The trained energy of pairs or of images; None, the default: minus the cosine of backbone embeddings."""

    text_tower: TextTower | None
    """The network that embeds captions, for a task that learns from them; None by default. It is exported, too."""

    teaching: Teaching | None = None
    """The teacher of a task that learns from another encoder: what `taught_by` returns for its options."""

    views: ViewNeeds
    """The views of a sample that the task learns from: what `views_for` returns for its options."""

    uniforms: int = 0
    """Number of random numbers that the task needs for each sample, P."""

    parts: Mapping[str, int] = {}
    """Name of a part of a view that the encoder embeds -> its side in px, such as {"tile": 10}."""

    forbidden: frozenset[str] = frozenset()
    """Operations of the augmentation policy that would give the answer away or make it undecidable."""

    needs: frozenset[Need] = frozenset()
    """What the task requires of a backbone beyond embeddings, or of the images; others are refused before training."""

    objective: type[Objective] = Loss  # type: ignore[type-abstract]  # no loss is built from it
    """The family of losses that the parameter `loss` accepts, if there is one; losses of other families are refused."""

    ships_average: bool = False
    """Whether `finish` replaces the weights of the encoder by a moving average, the teacher's."""

    def __init__(self) -> None:
        super().__init__()
        self.energy_head = None
        self.text_tower = None

    @classmethod
    def views_for(cls, options: Mapping[str, Any]) -> ViewNeeds:
        """Return the views that a task with these options learns from, before anything is built.

        A task of one view per sample need not override this: the view is of the kind that the option `view` names, or
        of the kind `global` if there is no such option.

        Args:
            options: All options by name, with their types checked and their defaults filled in.

        Raises:
            ValueError: An option is out of range.
        """
        return ViewNeeds(options.get("view", "global"))

    @classmethod
    def taught_by(cls, options: Mapping[str, Any]) -> Teaching | None:
        """Return which encoder teaches a task with these options, before anything is built; None if none does.

        A task that has a teacher takes the options `teacher`, a `Teacher` or None, and `teacher_dim`.

        Args:
            options: All options by name, as `views_for` receives them.

        Raises:
            ValueError: An option is out of range.
        """
        del options
        return None

    @abstractmethod
    def forward(self, views: Views) -> Encoded:
        """Encode each sample separately, so that a batch can be cut into chunks: no row depends on other samples.

        The batch norms of a backbone are the exception: in training, they mix the samples that they receive.
        """

    @abstractmethod
    def compare(self, encoded: Encoded, step: Step) -> StepOutput:
        """Compare the samples of the whole batch: with heads that mix samples, negatives and the loss.

        Return what `after_step` needs of the batch as `kept`, instead of storing it in the task. A metric named
        `pretext_accuracy`, the share of right answers, is watched: a task that is solved at once teaches nothing.
        """

    def after_step(self, step: Step, kept: Kept) -> None:
        """Update the task after an optimizer step, such as its teacher; `kept` is what `compare` kept of this step."""
        del step, kept  # most tasks hold no such state

    def finish(self) -> None:
        """Bring `encoder`, `energy_head` and `text_tower` into the state that is exported, after the last step.

        It is also called at the end of a run that was resumed, and changes nothing if it has been called before.
        """

    @abstractmethod
    def predict(self, images: Tensor) -> Tensor:
        """Return the predictions or projections (N, ...) of images (N, C, S, S) in [0, 1], for `pretext.onnx`."""

    def draw(self, views: Views, folder: Path) -> None:
        """Write pictures of what was learned into a folder, from the views of some images, in eval mode."""
        del views, folder  # most tasks have nothing to show
