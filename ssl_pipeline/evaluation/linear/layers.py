"""Find the layer of a pretrained encoder on which a linear probe works best.

The last layers of a network may be specific to its pretext task, so that earlier layers serve other tasks better
(Kolesnikov et al. 2019, 1901.09005). A probe on each layer is fitted on training images and judged on the validation
images that chose its strength, like the probes of the contest. Test images are not used.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.data.labelled import Labelled
from ssl_pipeline.deployment.from_pixels import FromPixels
from ssl_pipeline.evaluation.features import Embed, embedder, extract, sample
from ssl_pipeline.evaluation.linear_probe import Probe, fit
from ssl_pipeline.evaluation.statistics.paired import flip_test
from ssl_pipeline.evaluation.statistics.proportions import LEVEL
from ssl_pipeline.types import Encoder

__all__ = ["EveryLayer", "LayerReport", "compare_layers", "study_layers"]

Layer = int | None
"""Number of a layer, from 1; None for the backbone's own embedding."""

_MAX_IMAGES_PER_SPLIT = 10_000  # bounds memory and time, because the features of all layers are in memory together


class LayerReport(NamedTuple):
    """Results of the comparison of layers.

    Attributes:
        figures: Figures for details.json.
        lines: Results as sentences.
    """

    figures: dict[str, Any]
    lines: list[str]


class EveryLayer(nn.Module):
    """The embeddings of all layers of an encoder side by side, its own embedding last; images are read only once.

    Args:
        encoder: Encoder with a backbone that offers maps.
        l2_normalize: Whether the embeddings of each layer are scaled to unit length.
        known: Layers to leave out. Without the last one, images pass through the network once instead of twice.

    Attributes:
        layers: Numbers of the layers, in order.
        dims: Embedding dimension of each layer.
    """

    def __init__(self, encoder: Encoder, l2_normalize: bool, known: Collection[Layer] = ()):
        super().__init__()
        self.encoder, self.l2_normalize = encoder.at(None), l2_normalize
        channels = encoder.backbone.map_channels
        dims: dict[Layer, int] = {**dict(enumerate(channels, 1)), None: self.encoder.embedding_dim}
        self.layers = [layer for layer in dims if layer not in known]
        self.dims = [dims[layer] for layer in self.layers]

    def forward(self, images: Tensor) -> Tensor:
        """Return embeddings (N, sum of `dims`) of images (N, C, S, S) in [0, 1]."""
        maps = self.encoder.maps(images) if self.layers != [None] else []
        embeddings = [self.encoder(images) if layer is None else maps[layer - 1].mean((2, 3)) for layer in self.layers]
        return torch.cat([F.normalize(one, dim=1) if self.l2_normalize else one for one in embeddings], dim=1)


def study_layers(
    encoder: Encoder,
    card: ModelCard,
    embed: Embed,
    exported: Layer,
    l2_normalize: bool,
    train: Labelled,
    val: Labelled,
    strengths: Sequence[float],
    classes: int,
    fitted: Probe | None = None,
) -> LayerReport:
    """Fit a probe on each layer, and report the best layer and whether its lead exceeds noise.

    Args:
        encoder: Pretrained encoder; it is moved to the fastest device.
        card: Card of the encoder.
        embed: Embedder that runs the exported file, whose embeddings are those of the layer that ships.
        exported: Layer that ships.
        l2_normalize: Whether the exported embeddings have unit length.
        train: Labelled training images, of which at most 10,000, spread evenly, are used.
        val: Labelled validation images, of which at most 10,000, spread evenly, are used.
        strengths: Path of the probes' inverse penalties.
        classes: Number of classes.
        fitted: Probe of all these images on the layer that ships, if it has already been fitted.

    Returns:
        Figures `layers` and `best_layer`, and a line; empty if the backbone offers no maps, or if there are no labels
        to compare on.
    """
    known = {exported: fitted} if fitted and max(len(train), len(val)) <= _MAX_IMAGES_PER_SPLIT else {}
    train, val = (part.subset(sample(part, _MAX_IMAGES_PER_SPLIT)) for part in (train, val))
    if not encoder.backbone.has("maps") or not len(val) or len(np.unique(train.labels)) < 2:
        return LayerReport({}, [])
    learned, judged = (_by_layer(encoder, card, embed, exported, l2_normalize, part) for part in (train, val))
    right: dict[Layer, npt.NDArray[np.bool_]] = {}
    for layer, features in learned.items():
        probe = known.get(layer) or fit(
            features, train.labels, strengths, judged[layer], val.labels, class_count=classes
        )
        right[layer] = probe.predict(judged[layer]) == val.labels
    return compare_layers(right, val.groups, {layer: one.shape[1] for layer, one in learned.items()}, exported)


def _by_layer(
    encoder: Encoder, card: ModelCard, embed: Embed, exported: Layer, l2_normalize: bool, part: Labelled
) -> dict[Layer, npt.NDArray[np.float32]]:
    """Return the features (n, D) of each layer; those of the layer that ships come from the exported file."""
    network = EveryLayer(encoder, l2_normalize, {exported})
    others = np.split(extract(embedder(FromPixels(card, network)), part), np.cumsum(network.dims)[:-1], axis=1)
    found = dict(zip(network.layers, others, strict=True)) | {exported: extract(embed, part)}
    return {layer: found[layer] for layer in [*range(1, len(found)), None]}


def compare_layers(
    right: dict[Layer, npt.NDArray[np.bool_]], groups: npt.NDArray[np.int64], dims: dict[Layer, int], exported: Layer
) -> LayerReport:
    """Report the layer that does best on validation, and whether its lead exceeds luck.

    Args:
        right: Layer -> whether its probe is right, for each validation image (N,), bool; None is the last layer.
        groups: Group numbers of these images (N,); images of one group count as one.
        dims: Layer -> embedding dimension.
        exported: Layer that ships, a key of `right`.
    """
    accuracies = {layer: float(answers.mean()) for layer, answers in right.items()}
    best = max(right, key=lambda layer: (accuracies[layer], layer == exported, layer is None))
    figures = {
        "layers": [
            {"layer": layer or "last", "dim": dims[layer], "validation_accuracy": accuracy}
            for layer, accuracy in accuracies.items()
        ],
        "best_layer": best or "last",
    }
    names = {layer: f"layer {layer} of {len(right) - 1}" if layer else "last" for layer in right}
    shares = {layer: f"{100 * accuracy:.1f}%" for layer, accuracy in accuracies.items()}
    # corrected for the number of layers, each of which may look better by luck (Bonferroni)
    if flip_test(right[best], right[exported], groups) * (len(right) - 1) < 1 - LEVEL:
        line = (
            f"{names[best]} is the best on validation ({shares[best]}; the exported one, {names[exported]}, "
            f"{shares[exported]}); to ship it, set export.layer: {best or 'last'}"
        )
    else:
        better = "" if best == exported else f"; {names[best]}, {shares[best]}, is not better by more than noise"
        line = f"the exported layer, {names[exported]}, is as good as any on validation ({shares[exported]}{better})"
    return LayerReport(figures, [f"linear_eval: {line}"])
