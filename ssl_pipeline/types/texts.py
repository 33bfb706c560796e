"""Texts of images: what a task that reads captions receives, and the tower that embeds them."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from ssl_pipeline.tokenizer import LEAST_CONTEXT, LEAST_VOCABULARY

__all__ = ["CAPTIONS", "TOKENS", "TextNeeds", "TextTower"]

TOKENS = "task/tokens"
"""Key under which a task finds a caption of each image among its views, (N, L) int64 tokens; no kind of view can have
this name. If an image has several captions, hashed numbers choose one in each epoch."""

CAPTIONS = "task/captions"
"""Key under which a task finds the ids of all captions of each image, (N, M) int64: first the caption in `TOKENS`, then
the others, then the first one again if an image has fewer than M. Equal captions have equal ids, in all steps."""


@dataclass(frozen=True)
class TextNeeds:
    """Size of the vocabulary and length of the texts for the tokenizer of captions.

    Attributes:
        vocabulary: Largest number of entries of the tokenizer's vocabulary, at least 259.
        context: Largest number of tokens of a caption, including its start and its end, L, at least 3; longer captions
            are cut off.

    Raises:
        ValueError: A number is too small.

    Examples:
        >>> TextNeeds(vocabulary=4096, context=32).context
        32
    """

    vocabulary: int
    context: int

    def __post_init__(self) -> None:
        for name, least in (("vocabulary", LEAST_VOCABULARY), ("context", LEAST_CONTEXT)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")


class TextTower(nn.Module, ABC):
    """A network that maps texts to embeddings (N, `embedding_dim`) in the space in which the encoder embeds images.

    Attributes:
        needs: Settings of the tokenizer, whose tokens the tower reads.
        embedding_dim: Length of an embedding, P.

    Examples:
        >>> import torch
        >>> class BagOfWords(TextTower):
        ...     def __init__(self, needs, embedding_dim):
        ...         super().__init__()
        ...         self.needs, self.embedding_dim = needs, embedding_dim
        ...         self.words = nn.Embedding(needs.vocabulary, embedding_dim)
        ...     def forward(self, tokens, mask):
        ...         return (self.words(tokens) * mask[..., None]).sum(dim=1)
        >>> tower = BagOfWords(TextNeeds(vocabulary=300, context=8), embedding_dim=4)
        >>> tower(torch.tensor([[1, 70, 2, 0]]), torch.tensor([[1, 1, 1, 0]])).shape
        torch.Size([1, 4])
    """

    needs: TextNeeds
    embedding_dim: int

    @abstractmethod
    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return embeddings of texts (N, P), not of unit length. Padding must not change an embedding.

        Args:
            tokens: Ids of tokens (N, L) int64, with L from 1 to the context: a start, a text, an end, padding.
            mask: Mask (N, L) int64: 1 for a token, and 0 for padding.
        """
