"""Adapting ImageNet networks to small images, without an early loss of resolution.

Source: SimCLR (2002.05709), appendix B.9: the first 7x7 convolution of stride 2 becomes a 3x3 one of stride 1, and the
first max pooling is removed.
"""

from typing import Literal

from torch import nn

Stem = Literal["imagenet", "small"]


def apply(network: nn.Module, stem: Stem) -> None:
    """Change the network's stem in place.

    Raises:
        ValueError: The network has no overlapping, strided first convolution; vision transformers have none.
    """
    if stem == "imagenet":
        return
    found = _first_convolution(network)
    if found is None or found[1].stride == (1, 1) or found[1].kernel_size == found[1].stride:
        raise ValueError(
            "stem: small needs a network that begins with an overlapping, strided convolution: use imagenet"
        )
    name, old = found
    new = nn.Conv2d(old.in_channels, old.out_channels, 3, 1, 1, bias=old.bias is not None)
    _replace(network, name, new)
    if isinstance(getattr(network, "maxpool", None), nn.MaxPool2d):
        network.maxpool = nn.Identity()


def accept_channels(network: nn.Module, channels: int) -> None:
    """Replace the network's first convolution, if it is for 3 channels, by one for another number of channels.

    Raises:
        ValueError: The network has no such convolution.
    """
    found = _first_convolution(network)
    if channels == 3:
        return
    if found is None or found[1].in_channels != 3 or found[1].groups != 1:
        raise ValueError(f"this network does not take images of {channels} channels: use another network")
    name, old = found
    sizes = old.kernel_size, old.stride, old.padding, old.dilation  # each (height, width)
    new = nn.Conv2d(channels, old.out_channels, *sizes, bias=old.bias is not None)  # type: ignore[arg-type]
    _replace(network, name, new)


def _first_convolution(network: nn.Module) -> tuple[str, nn.Conv2d] | None:
    return next(((name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d)), None)


def _replace(network: nn.Module, name: str, new: nn.Module) -> None:
    """Replace the module that has a dotted name."""
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, new)


def drop_classifier(network: nn.Module) -> tuple[str, int]:
    """Replace the last linear layer, which is the classifier, by an identity.

    Returns:
        The name of the layer within the network, and the length of its input.

    Raises:
        ValueError: There is no linear layer.
    """
    linears = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linears:
        raise ValueError("this network has no linear classifier to remove: use another network")
    name, classifier = linears[-1]
    _replace(network, name, nn.Identity())
    return name, classifier.in_features
