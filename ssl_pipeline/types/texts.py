"""Texts beside images: what a task that reads captions is given, and the tower that embeds them."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from ssl_pipeline.tokenizer import LEAST_CONTEXT, LEAST_VOCABULARY

__all__ = ["CAPTIONS", "TOKENS", "TextNeeds", "TextTower"]

TOKENS = "task/tokens"
"""Where a task finds a caption of each image among its views, (N, L) int64 tokens; no kind of view can have this name.
Of several captions of an image, the hashed numbers choose one in each epoch."""

CAPTIONS = "task/captions"
"""Where it finds the ids of all captions of each image, (N, M) int64: first that of the caption in `TOKENS`, then the
others, and that one again where an image has fewer than M. Equal captions have equal ids, in all steps."""


@dataclass(frozen=True)
class TextNeeds:
    """How captions become tokens.

    Attributes:
        vocabulary: The most entries of the tokenizer's vocabulary, at least 259.
        context: L, the number of tokens of a caption with its start and its end, at least 3; the rest is cut off.

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
    """Maps texts to embeddings (N, `embedding_dim`) in the space in which the encoder embeds images.

    Attributes:
        needs: How texts become the tokens that it reads.
        embedding_dim: P, the length of an embedding.

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
        """Embed texts: (N, P), not of unit length. Padding never changes an embedding.

        Args:
            tokens: (N, L) int64 ids of tokens, with L from 1 to the context: a start, a text, an end, padding.
            mask: (N, L) int64, 1 where there is a token and 0 where there is padding.
        """
