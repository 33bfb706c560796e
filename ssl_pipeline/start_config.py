"""The keys of section `pretrain` that say what a run starts from, and what keeps a given start from being ruined."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ssl_pipeline.validation import Checked, OrWord
from ssl_pipeline.value_types import Positive

__all__ = ["Normalisation", "StartSection"]


class Normalisation(Checked):
    """What images are normalised by: the mean and the standard deviation of each channel, of the full scale."""

    mean: Annotated[tuple[float, ...], Field(min_length=1)]
    std: Annotated[tuple[Positive, ...], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _is_no_other_word(cls, value: Any) -> Any:
        if not isinstance(value, dict | Normalisation):
            raise ValueError("must be start, pool, or {mean: [...], std: [...]}")
        return value

    @model_validator(mode="after")
    def _each_channel_has_both(self) -> "Normalisation":
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} values and std {len(self.std)}: give one of each per channel")
        return self


class StartSection(Checked):
    """Where the weights come from. Defaults are left out of what is written, as files of earlier versions lack them.

    Attributes:
        init_licence: The licence of the weights of a file; None: not stated.
        normalisation: How images are normalised where weights are given: `start`, as they were trained; `pool`, by the
            statistics of the images that are learned from; or by values.
        settle_norms: Whether running statistics of batch norms are computed anew before the first step, where weights
            are given.
        freeze_norms: Whether batch norms of given weights normalise by the statistics that were given, in training too.
        freeze_epochs: Number of epochs at the beginning in which the backbone does not learn, and its heads do.
        layer_decay: Learning rate of each of the backbone's layers as a share of that of the layer after it, in (0, 1].
        ema: Decay per step of the moving average of the weights that ships, in [0, 1); 0: the weights themselves do.
        ship: Whose weights ship: those of the `last` step, or of the `best` one on held-out images.
    """

    init_licence: Annotated[str | None, Field(min_length=1, max_length=200, exclude_if=lambda value: value is None)] = (
        None
    )
    normalisation: Annotated[
        Annotated[Normalisation | Literal["pool"], OrWord("pool")] | Literal["start"],
        OrWord("start"),
        Field(exclude_if=lambda value: value == "start"),
    ] = "start"
    settle_norms: Annotated[bool, Field(exclude_if=bool)] = True
    freeze_norms: Annotated[bool, Field(exclude_if=bool)] = True
    freeze_epochs: Annotated[int, Field(ge=0, exclude_if=lambda value: value == 0)] = 0
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0, exclude_if=lambda value: value == 1)] = 1.0
    ema: Annotated[float, Field(ge=0.0, lt=1.0, exclude_if=lambda value: value == 0)] = 0.0
    ship: Annotated[Literal["last", "best"], Field(exclude_if=lambda value: value == "last")] = "last"
