"""A transformer that embeds texts as in CLIP: each token sees those before it, and the end token represents the text.

As no token sees what follows it, padding never changes an embedding.

Source: CLIP (2103.00020), section 2.4, and its authors' code (openai/CLIP, model.py) for the initial weights.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_pipeline.types import TextNeeds, TextTower

__all__ = ["TextTransformer"]


class TextTransformer(TextTower):
    """Embeddings of tokens and positions, blocks of causal attention, and a projection of the end token.

    Args:
        needs: Settings of the tokenizer, whose tokens the transformer reads.
        embedding_dim: Length of an embedding, P.
        width: Width of the blocks, at least 1; a multiple of `heads`.
        depth: Number of blocks, at least 1.
        heads: Number of attention heads, at least 1.

    Raises:
        ValueError: A number is too small, or `heads` does not divide `width`.

    Examples:
        >>> tower = TextTransformer(TextNeeds(vocabulary=300, context=8), 4, width=16, depth=1, heads=2)
        >>> tower(torch.tensor([[1, 70, 2, 0]]), torch.tensor([[1, 1, 1, 0]])).shape
        torch.Size([1, 4])
    """

    def __init__(self, needs: TextNeeds, embedding_dim: int, *, width: int, depth: int, heads: int):
        super().__init__()
        for name, value in (("width", width), ("depth", depth), ("heads", heads)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if width % heads:
            raise ValueError(f"heads must divide width, {width}, got {heads}")
        self.needs, self.embedding_dim = needs, embedding_dim
        self.tokens = nn.Embedding(needs.vocabulary, width)
        self.places = nn.Parameter(torch.empty(needs.context, width))
        self.blocks = nn.Sequential(*(_Block(width, heads, depth) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.projection = nn.Linear(width, embedding_dim, bias=False)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.places, std=0.01)
        nn.init.normal_(self.projection.weight, std=width**-0.5)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return embeddings of texts (N, P), from tokens (N, L) and their mask (N, L)."""
        states = self.norm(self.blocks(self.tokens(tokens) + self.places[: tokens.shape[1]]))  # (N, L, width)
        end = (mask.long().sum(dim=1) - 1).clamp(min=0)  # (N,): the place of the last token
        # a gather, as len() of a batch would make its number of texts a constant of the exported graph
        embeddings: Tensor = self.projection(states.gather(1, end[:, None, None].expand(-1, 1, states.shape[2]))[:, 0])
        return embeddings


class _Block(nn.Module):
    """Attention of each token to itself and those before it, and a perceptron, each added to its input."""

    def __init__(self, width: int, heads: int, depth: int):
        super().__init__()
        self.heads = heads
        self.norm, self.attention, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.second_norm, self.inner, self.outer = (
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.Linear(4 * width, width),
        )
        into, back = width**-0.5, width**-0.5 * (2 * depth) ** -0.5  # so that a sum over blocks keeps its size
        for layer, std in (
            (self.attention, into),
            (self.out, back),
            (self.inner, (2 * width) ** -0.5),
            (self.outer, back),
        ):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(self, states: Tensor) -> Tensor:
        """Return states (N, L, width)."""
        queries, keys, values = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (N, heads, L, width / heads)
            for part in self.attention(self.norm(states)).chunk(3, dim=2)
        )
        seen = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        states = states + self.out(seen.transpose(1, 2).flatten(2))
        changed: Tensor = states + self.outer(F.gelu(self.inner(self.second_norm(states))))
        return changed
