"""Memory format of images and feature maps during training."""

import torch
from torch import nn

__all__ = ["memory_format"]

_NARROW_CHANNELS = 8
"""Number of input channels below which strided 1x1 convolutions are not safe."""


def memory_format(network: nn.Module, device: torch.device) -> torch.memory_format:
    """Return the memory format in which a network trains fastest: channels last, unless that is unsafe.

    In torch 2.14.1, the backward pass of a strided 1x1 convolution with 2 to 7 channels writes past its buffer if
    tensors are channels-last and the CPU code for AVX2 is used (oneDNN 3.12). Sooner or later, the process ends with
    "free(): invalid next size". The same convolution is safe with contiguous tensors, with 8 or more channels, or with
    stride 1.

    Args:
        network: The network to train, of any origin.
        device: The device to train on.
    """
    narrow = any(
        isinstance(module, nn.Conv2d)
        and module.in_channels < _NARROW_CHANNELS
        and set(module.kernel_size) == {1}
        and set(module.stride) != {1}
        for module in network.modules()
    )
    return torch.contiguous_format if narrow and device.type == "cpu" else torch.channels_last
