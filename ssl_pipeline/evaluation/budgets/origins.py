"""Starting points of the arms of the label-budget study: encoders that differ only in their weights."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.data.labelled import Labelled
from ssl_pipeline.data.store import Split
from ssl_pipeline.deployment.from_pixels import FromPixels
from ssl_pipeline.evaluation.calibration import calibrate_on
from ssl_pipeline.evaluation.features import embedder, extract
from ssl_pipeline.evaluation.linear_probe import Probe
from ssl_pipeline.types import Encoder

__all__ = ["Frozen", "Origin"]

Array = npt.NDArray[np.int64]
Features = npt.NDArray[np.float32]

_MAX_KEPT_EMBEDDINGS = (
    4  # embeddings of training and validation images in two draws, which a grid of strengths needs repeatedly
)


class Origin:
    """The encoders of one kind of weights: one encoder for all draws of labels, or a new one for each draw.

    The statistics of batch norms are not weights, because they come from images. Pretraining leaves those of its own
    augmented views, and random weights come with 0 and 1. Here, all encoders get the statistics of the unaugmented
    images of the training split.

    Args:
        make: Draw -> encoder, which is copied.
        same: Whether all draws have the same encoder.
        pool: Training split, including its unlabelled images.
        card: Card that describes how images are brought to the encoder's size.
        device: Device to compute on.

    Attributes:
        same: Whether all draws have the same encoder.
        probes: Draw -> probe that heads start from, once it has been fitted.
    """

    probes: dict[int, Probe]

    def __init__(
        self, make: Callable[[int], Encoder], *, same: bool, pool: Split, card: ModelCard, device: torch.device
    ):
        self.same, self.probes = same, {}
        self._make, self._pool, self._card, self._device = make, pool, card, device
        self._encoders: dict[int, Encoder] = {}
        self._embedded: dict[tuple[int, str, bytes], Features] = {}

    def encoder(self, draw: int) -> Encoder:
        """Return a copy of the draw's encoder, in eval mode."""
        draw = 0 if self.same else draw
        if draw not in self._encoders:
            encoder = deepcopy(self._make(draw)).to(self._device)
            if any(isinstance(module, _BatchNorm) for module in encoder.modules()):
                calibrate_on(FromPixels(self._card, encoder), self._pool)
            # channels last, as in fine-tuning, which makes convolutions faster
            self._encoders[draw] = encoder.to("cpu", memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        return deepcopy(self._encoders[draw])

    def features(self, draw: int, part: Labelled, positions: Array) -> Features:
        """Return embeddings (m, D) of a part's images at positions (m,) in [0, n)."""
        if self.same:
            return self._embed(0, part, np.arange(len(part)))[positions]
        while len(self._embedded) >= _MAX_KEPT_EMBEDDINGS:
            self._embedded.pop(next(iter(self._embedded)))
        return self._embed(draw, part, positions)

    def _embed(self, draw: int, part: Labelled, positions: Array) -> Features:
        key = draw, part.split.name, positions.tobytes()
        if key not in self._embedded:
            self._embedded[key] = extract(
                embedder(FromPixels(self._card, self.encoder(draw)), self._device), part, positions
            )
        return self._embedded[key]


@dataclass(frozen=True)
class Frozen:
    """A probe on the features of a draw's encoder."""

    origin: Origin
    draw: int
    probe: Probe
