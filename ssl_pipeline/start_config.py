"""Keys of the section `pretrain` that choose the initial weights and protect pretrained weights."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ssl_pipeline.validation import Checked, OrWord
from ssl_pipeline.value_types import Positive

__all__ = ["Normalisation", "StartSection"]


class Normalisation(Checked):
    """Mean and standard deviation by which each channel is normalised, as shares of the full scale."""

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
            raise ValueError(f"mean has {len(self.mean)} values and std {len(self.std)}: write one of each per channel")
        return self


class StartSection(Checked):
    """Settings of the initial weights. Defaults are not serialised, because files of earlier versions lack them.

    Attributes:
        init_licence: Licence of the weights in a file; None if not stated.
        normalisation: Normalisation of images with pretrained weights: `start`, as the weights were trained; `pool`, by
            the statistics of the pool; or by values.
        settle_norms: Whether to recompute the running statistics of pretrained batch norms before the first step.
        freeze_norms: Whether pretrained batch norms normalise by the statistics stored with their weights, in training
            as well.
        freeze_epochs: Number of epochs at the beginning in which only the heads learn and the backbone is frozen.
        layer_decay: Learning rate of each layer of the backbone as a share of that of the next layer, in (0, 1].
        ema: Decay per step, in [0, 1), of a moving average of the weights, which ships; 0 to ship the weights
            themselves.
        ship: Step whose weights ship: `last`, or the `best` one on held-out images.
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
