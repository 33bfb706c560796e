"""Vectors of past steps, first in, first out, for queues and support sets."""

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["KeyMemory", "Memory"]


class Memory(nn.Module):
    """The last `size` vectors that were pushed, in persistent buffers, so that a checkpoint holds them.

    Args:
        size: Number of vectors that are kept, at least 1.

    Examples:
        >>> memory = Memory(size=3)
        >>> for step in range(4):
        ...     _ = memory.push(torch.full((1, 2), float(step)))
        >>> memory.held()[:, 0].sort().values  # the first vector has gone
        tensor([1., 2., 3.])
    """

    vectors: Tensor
    position: Tensor
    count: Tensor

    def __init__(self, size: int):
        super().__init__()
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        self.size = size
        self.register_buffer("vectors", torch.empty(0, 0))  # (size, D) from the first push on, which determines D
        self.register_buffer("position", torch.tensor(0))
        self.register_buffer("count", torch.tensor(0))
        self._position = self._count = 0  # copies on the CPU, which are read without waiting for a device

    def held(self) -> Tensor:
        """Return the vectors in memory (n, D), n <= size, in no particular order; (0, 0) at first."""
        return self.vectors[: self._count]

    def oldest_places(self, count: int) -> Tensor:
        """Return the places (n,) of the `count` oldest vectors, or of all if there are fewer."""
        first = self._position if self._count == self.size else 0
        return (first + torch.arange(min(count, self._count), device=self.vectors.device)) % self.size

    @torch.no_grad()
    def push(self, vectors: Tensor) -> Tensor:
        """Store vectors (n, D), the last ones if n > size, in place of the oldest. Return their places (n,)."""
        vectors = vectors.detach()[-self.size :]
        if not len(self.vectors):
            self.vectors = vectors.new_zeros(self.size, vectors.shape[1])
        places = (self._position + torch.arange(len(vectors), device=vectors.device)) % self.size
        self.vectors[places] = vectors.to(self.vectors.dtype)
        self._position = (self._position + len(vectors)) % self.size
        self._count = min(self._count + len(vectors), self.size)
        self.position.fill_(self._position)
        self.count.fill_(self._count)
        return places

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        saved = state_dict.get(f"{prefix}vectors")
        if saved is not None:
            self.vectors = torch.empty_like(saved, device=self.vectors.device)
        super()._load_from_state_dict(state_dict, prefix, *rest)
        self._position, self._count = int(self.position), int(self.count)


class KeyMemory(Memory):
    """The last `size` keys, and the ids of their images.

    The keys of a step are stored after it, in `after_step`, so that no step finds its own keys here.

    Args:
        size: Number of keys that are kept, at least 1.

    Examples:
        >>> memory = KeyMemory(size=4)
        >>> memory.remember(torch.eye(2), torch.tensor([7, 9]))
        >>> memory.recall()[1].tolist()
        [7, 9]
    """

    samples: Tensor

    def __init__(self, size: int):
        super().__init__(size)
        self.register_buffer("samples", torch.zeros(size, dtype=torch.int64))

    def recall(self) -> tuple[Tensor, Tensor]:
        """Return the keys in memory (n, D), none at first, and the ids of their images (n,) int64."""
        keys = self.held()
        return keys, self.samples[: len(keys)]

    def recall_oldest(self, count: int) -> tuple[Tensor, Tensor]:
        """Return the `count` oldest keys, or all if there are fewer, and the ids of their images."""
        places = self.oldest_places(count)
        return self.vectors[places], self.samples[places]

    def remember(self, keys: Tensor, samples: Tensor) -> None:
        """Store keys (n, D) and the ids of their images (n,) int64, in place of the oldest."""
        self.samples[self.push(keys)] = samples[-self.size :]
