"""What an operation of a plugin promises; `ssl_pipeline.types` exports it."""

from abc import ABC, abstractmethod
from typing import Literal

from torch import Tensor, nn

__all__ = ["ViewOperation"]


class ViewOperation(nn.Module, ABC):
    """An operation on views: a pure function of images and random numbers, without weights, that exports to ONNX.

    A policy names it beside the built-in operations, with its options and with `p`, the probability that a view
    receives it. It is applied after the built-in ones; several such operations follow each other by name.

    Attributes:
        uniforms: P, the number of random numbers that a view needs.
        needs: The word "rgb" if the operation takes red, green and blue alone, and is refused where images have none;
            without it, all C channels are given.

    Examples:
        >>> import torch
        >>> class Fade(ViewOperation):
        ...     uniforms = 1
        ...     def forward(self, images, uniforms):
        ...         return images * (1 - 0.5 * uniforms[:, :, None, None])
        >>> Fade()(torch.ones(2, 3, 4, 4), torch.tensor([[0.0], [1.0]])).mean(dim=(1, 2, 3))
        tensor([1.0000, 0.5000])
    """

    uniforms: int = 0
    needs: frozenset[Literal["rgb"]] = frozenset()

    @abstractmethod
    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        """Change each image by its own numbers alone.

        Args:
            images: (N, C, S, S) float32 views with values in [0, 1].
            uniforms: (N, P) float32 numbers in [0, 1), hashed from seed, epoch, sample, view and name of the operation.

        Returns:
            (N, C, S, S) float32 in [0, 1].
        """
