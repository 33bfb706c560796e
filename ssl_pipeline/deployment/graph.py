"""From pixels to what ships: the modules whose graphs are exported."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.augment.geometry import fit
from ssl_pipeline.types import EnergyHead, ImageEnergyHead

__all__ = ["PixelsToEmbedding", "PixelsToEnergy", "PixelsToProbabilities"]


class PixelsToEmbedding(nn.Module):
    """Raw images of any size to embeddings: resize to the trained size, normalise, encode.

    Args:
        encoder: The trained encoder, (N, 3, S, S) in [0, 1] -> (N, D).
        card: Says to which size, and how, images are resized.
        l2_normalize: Whether embeddings get unit length.
    """

    def __init__(self, encoder: nn.Module, card: ModelCard, l2_normalize: bool):
        super().__init__()
        self.encoder = encoder
        self.size, self.resize, self.background = card.size, card.resize, card.background
        self.l2_normalize = l2_normalize

    def forward(self, images: Tensor) -> Tensor:
        """Embed uint8 RGB images (N, H, W, 3): (N, D) float32."""
        embedding: Tensor = self.encoder(fit(images, self.size, self.resize, self.background))
        return F.normalize(embedding, dim=1) if self.l2_normalize else embedding


class PixelsToEnergy(nn.Module):
    """Raw images to energies: of pairs, low where the two are compatible, or of single images.

    Args:
        encoder: The trained encoder, (N, 3, S, S) in [0, 1] -> (N, D).
        card: Says to which size, and how, images are resized.
        energy_head: The energy of a pair of embeddings, as the encoder returns them, or of an image.
    """

    def __init__(self, encoder: nn.Module, card: ModelCard, energy_head: EnergyHead | ImageEnergyHead):
        super().__init__()
        self.encoder = encoder
        self.energy_head = energy_head
        self.size, self.resize, self.background = card.size, card.resize, card.background

    def forward(self, first: Tensor, second: Tensor | None = None) -> Tensor:
        """Energies (N,) of uint8 RGB images (N, H, W, 3) and, pair by pair, (N, H', W', 3)."""
        given = [first] if second is None else [first, second]
        fitted = [fit(images, self.size, self.resize, self.background) for images in given]
        if isinstance(self.energy_head, ImageEnergyHead):
            energies: Tensor = self.energy_head(self.encoder, *fitted)
        else:
            embeddings = self.encoder(torch.cat(fitted))  # (2N, D): one pass halves the graph
            energies = self.energy_head(*embeddings.unflatten(0, (2, -1)).unbind(0))
        return energies


class PixelsToProbabilities(nn.Module):
    """Raw images to probabilities of classes: a linear head on what `PixelsToEmbedding` returns.

    Args:
        embed: The backbone, from pixels to embeddings.
        weight: (C, D) float32.
        bias: (C,) float32.
    """

    def __init__(self, embed: PixelsToEmbedding, weight: Tensor, bias: Tensor):
        super().__init__()
        self.embed = embed
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities (N, C) of uint8 RGB images (N, H, W, 3)."""
        return F.linear(self.embed(images), self.get_buffer("weight"), self.get_buffer("bias")).softmax(dim=1)
