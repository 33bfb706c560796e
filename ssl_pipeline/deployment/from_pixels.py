"""Modules from pixels to outputs: one wrapper, and the networks besides an encoder that it can wrap."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.augment.geometry import fit
from ssl_pipeline.types import Encoder, EnergyHead, ImageEnergyHead, PretextTask

__all__ = [
    "Energies",
    "FromPixels",
    "OfBatches",
    "Prediction",
    "Probabilities",
    "WithMaps",
    "WithNormalised",
    "embedding",
]


class FromPixels(nn.Module):
    """A network of images at the trained size, as a function of raw images of any size.

    Args:
        card: Description of the model, with the meaning of the images' values and the way to resize them.
        network: Module that takes one batch of images (N, C, S, S) in [0, 1], or two; an encoder, for example.
    """

    def __init__(self, card: ModelCard, network: nn.Module):
        super().__init__()
        self.size, self.resize, self.background = card.size, card.resize, card.background
        self.images, self.network = card.images, network

    def forward(self, *images: Tensor) -> Tensor:
        """Bring each batch of images (N, H, W, C) to the trained size, and pass them to the network.

        Args:
            *images: Batches of images, as many as the network takes, of the type that the card names and of any height
                and width.

        Returns:
            The output (N, ...) float32 of the network.
        """
        fitted = (fit(batch, self.size, self.resize, self.background, self.images) for batch in images)
        result: Tensor = self.network(*fitted)
        return result


class OfBatches(nn.Module):
    """A network as a function of a variable number of batches, which `dynamic_shapes` of the exporter refer to.

    Args:
        network: Module that takes one batch of images (N, C, S, S) in [0, 1], or two.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, *images: Tensor) -> Tensor:
        """Return the output (N, ...) for as many batches of images (N, C, S, S) as the network takes."""
        result: Tensor = self.network(*images)
        return result


class WithNormalised(nn.Module):
    """An encoder that also returns the normalised images, the input of its backbone, so that a graph can be cut there.

    Args:
        encoder: Trained encoder.
        l2_normalize: Whether embeddings are scaled to unit length.
    """

    def __init__(self, encoder: Encoder, l2_normalize: bool):
        super().__init__()
        self.encoder, self.finish = encoder, _UnitLength() if l2_normalize else nn.Identity()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return embeddings (N, D) of images (N, C, S, S) in [0, 1], and the images normalised."""
        normalised = self.encoder.normalised(images)
        return self.finish(self.encoder.embed_normalised(normalised)), normalised


class WithMaps(nn.Module):
    """An encoder that also returns feature maps of its backbone's layers.

    Args:
        encoder: Trained encoder, whose backbone has maps.
        layers: Numbers of the layers, counted from 1.
        l2_normalize: Whether embeddings are scaled to unit length; maps never are.
    """

    def __init__(self, encoder: Encoder, layers: Sequence[int], l2_normalize: bool):
        super().__init__()
        self.encoder, self.layers = encoder, layers
        self.finish = _UnitLength() if l2_normalize else nn.Identity()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return embeddings (N, D) of images (N, C, S, S) in [0, 1], and a map (N, C', h, w) of each layer."""
        normalised = self.encoder.normalised(images)
        maps = self.encoder.backbone.maps(normalised)
        return self.finish(self.encoder.embed_normalised(normalised)), *(maps[layer - 1] for layer in self.layers)


def embedding(encoder: nn.Module, l2_normalize: bool) -> nn.Module:
    """Return an encoder, (N, C, S, S) -> (N, D), whose embeddings have unit length if `l2_normalize` is true."""
    return nn.Sequential(encoder, _UnitLength()) if l2_normalize else encoder


class _UnitLength(nn.Module):
    def forward(self, embeddings: Tensor) -> Tensor:
        return F.normalize(embeddings, dim=1)


class Energies(nn.Module):
    """Energies of pairs of images, low where the two are compatible, or of single images.

    Args:
        encoder: Trained encoder, (N, C, S, S) in [0, 1] -> (N, D).
        energy_head: Energy of a pair of embeddings, as the encoder returns them, or of an image.
    """

    def __init__(self, encoder: Encoder, energy_head: EnergyHead | ImageEnergyHead):
        super().__init__()
        self.encoder, self.energy_head = encoder, energy_head

    def forward(self, *images: Tensor) -> Tensor:
        """Return energies (N,) of images (N, C, S, S) in [0, 1], or of pairs of images from two batches."""
        energies: Tensor
        if isinstance(self.energy_head, ImageEnergyHead):
            energies = self.energy_head(self.encoder, *images)
        else:
            embeddings = self.encoder(torch.cat(images))  # (2N, D): one pass halves the graph
            energies = self.energy_head(*embeddings.unflatten(0, (2, -1)).unbind(0))
        return energies


class Probabilities(nn.Module):
    """Class probabilities from a linear head on embeddings.

    Args:
        embed: Encoder, (N, C, S, S) in [0, 1] -> (N, D), whose embeddings have the length that the head expects.
        weight: Weights (K, D) float32 of K classes.
        bias: Biases (K,) float32.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, embed: nn.Module, weight: Tensor, bias: Tensor):
        super().__init__()
        self.embed = embed
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return probabilities (N, K) of images (N, C, S, S) in [0, 1]."""
        return F.linear(self.embed(images), self.weight, self.bias).softmax(dim=1)


class Prediction(nn.Module):
    """The predictions or projections of a pretext task.

    Args:
        task: Trained task.
    """

    def __init__(self, task: PretextTask):
        super().__init__()
        self.task = task

    def forward(self, images: Tensor) -> Tensor:
        """Return predictions (N, ...) for images (N, C, S, S) in [0, 1]."""
        return self.task.predict(images)
