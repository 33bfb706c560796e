"""Vectors of past steps, first in, first out: what queues and support sets are made of."""

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Memory"]


class Memory(nn.Module):
    """The last `size` vectors that were pushed, in persistent buffers, so that a checkpoint holds them.

    Args:
        size: How many are kept, at least 1.
    """

    vectors: Tensor
    position: Tensor
    count: Tensor

    def __init__(self, size: int):
        super().__init__()
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        self.size = size
        self.register_buffer("vectors", torch.empty(0, 0))  # (size, D) from the first push on, which says what D is
        self.register_buffer("position", torch.tensor(0))
        self.register_buffer("count", torch.tensor(0))

    def held(self) -> Tensor:
        """What is held (n, D), n <= size, in no particular order; (0, 0) at first."""
        return self.vectors[: int(self.count)]

    def oldest(self, count: int) -> Tensor:
        """The `count` vectors that were pushed first among those held, or all where there are fewer: (n, D)."""
        held = self.held()
        first = self.position if len(held) == self.size else 0
        places = first + torch.arange(min(count, len(held)), device=held.device)
        return held[places % self.size]

    @torch.no_grad()
    def push(self, vectors: Tensor) -> None:
        """Take in vectors (n, D), in place of the oldest; of more than `size`, the last."""
        vectors = vectors.detach()[-self.size :]
        if not self.count:
            self.vectors = vectors.new_zeros(self.size, vectors.shape[1])
        places = (self.position + torch.arange(len(vectors), device=vectors.device)) % self.size
        self.vectors[places] = vectors.to(self.vectors.dtype)
        self.position = (self.position + len(vectors)) % self.size
        self.count = (self.count + len(vectors)).clamp(max=self.size)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        saved = state_dict.get(f"{prefix}vectors")
        if saved is not None:
            self.vectors = torch.empty_like(saved, device=self.vectors.device)
        super()._load_from_state_dict(state_dict, prefix, *rest)
