"""The contract of a plugin's operation on views; `ssl_pipeline.types` exports it."""

from abc import ABC, abstractmethod
from typing import Literal

from torch import Tensor, nn

__all__ = ["ViewOperation"]


class ViewOperation(nn.Module, ABC):
    """An operation on views: a pure function of images and random numbers, without weights, that exports to ONNX.

    A policy lists it among the built-in operations, with its options and `p`, the probability that a view receives it.
    It is applied after the built-in ones; several such operations are applied in the order of their names.

    Attributes:
        uniforms: Number of random numbers that a view needs, P.
        needs: The word "rgb" if the operation works on red, green and blue only, and is refused for images without
            them. If it is missing, the operation receives all C channels.

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
        """Change each image, depending on its own numbers only.

        Args:
            images: Views (N, C, S, S) float32, with values in [0, 1].
            uniforms: Random numbers (N, P) float32 in [0, 1), hashed from the seed, the epoch, the sample, the view and
                the name of the operation.

        Returns:
            Views (N, C, S, S) float32, with values in [0, 1].
        """
