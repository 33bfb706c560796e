"""In which order the values of images and maps lie in memory while a network is trained."""

import torch
from torch import nn

__all__ = ["memory_format"]

_NARROW_CHANNELS = 8
"""Input channels below which the convolutions in question are not safe."""


def memory_format(network: nn.Module, device: torch.device) -> torch.memory_format:
    """Return the order in which a network trains fastest: channels last, but where that is not safe.

    In torch 2.14.1 the backward pass of a strided 1x1 convolution of 2 to 7 channels writes past its buffer, where
    tensors have their channels last and the CPU is used as one with AVX2 (oneDNN 3.12): the process ends sooner or
    later with "free(): invalid next size". The same convolution of contiguous tensors, of 8 channels or more, or of
    stride 1 does no such thing.

    Args:
        network: The network that is trained, of any origin.
        device: The device on which it is trained.
    """
    narrow = any(
        isinstance(module, nn.Conv2d)
        and module.in_channels < _NARROW_CHANNELS
        and set(module.kernel_size) == {1}
        and set(module.stride) != {1}
        for module in network.modules()
    )
    return torch.contiguous_format if narrow and device.type == "cpu" else torch.channels_last
