"""Depth of each parameter of a backbone: the number of its layer, counted from the end.

A layer is usually a *block*, such as a residual or a transformer block: one of several modules of the same class that
follow each other and have two or more matrices each. A convolution or linear layer outside of all blocks is also a
layer, such as a stem or a reduction between stages. Modules without a matrix (norms, tokens, position embeddings)
belong to the convolution before them or else to the layer after them; at the end, they belong to the last layer.

Source: layer-wise learning rates: BEiT (2106.08254), appendix on fine-tuning.
"""

from collections import Counter
from collections.abc import Iterator

from torch import nn

__all__ = ["layers_from_the_end"]

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def layers_from_the_end(backbone: nn.Module) -> dict[str, int]:
    """Return the layer of each parameter of a network, counted from the end: parameter name -> number, the last is 1.

    Args:
        backbone: The network. Its modules must be registered in the order in which images pass through them.

    Examples:
        >>> convolutions = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, bias=False))
        >>> layers_from_the_end(convolutions)
        {'0.weight': 2, '0.bias': 2, '1.weight': 2, '1.bias': 2, '2.weight': 1}
    """
    layers: list[list[str]] = []
    waiting: list[str] = []  # parameters without a matrix, which belong to the next layer
    takes_more = False  # whether the previous layer is a convolution, so that the norm after it belongs to it
    for names, matrices in _pieces(backbone, "", plain=not _has_blocks(backbone)):
        if matrices:
            layers.append(waiting + names)
            waiting, takes_more = [], matrices == 1
        else:
            (layers[-1] if takes_more else waiting).extend(names)
    layers = layers or [[]]
    layers[-1] += waiting
    return {name: len(layers) - place for place, names in enumerate(layers) for name in names}


def _pieces(module: nn.Module, prefix: str, *, plain: bool) -> Iterator[tuple[list[str], int]]:
    """Yield the names of parameters that belong together, in order, and the number of matrices among them.

    Args:
        module: The part of the network to split.
        prefix: Prefix of the names of its parameters.
        plain: Whether the network has no blocks, so that each matrix is a layer.
    """
    yield [prefix + name for name, _ in module.named_parameters(recurse=False)], _own_matrices(module)
    for name, child in module.named_children():
        inner, matrices = f"{prefix}{name}.", _matrices(child)
        if isinstance(child, _CONTAINERS) or _has_blocks(child) or (plain and matrices > 1):
            yield from _pieces(child, inner, plain=plain)
        else:
            yield [inner + part for part, _ in child.named_parameters()], matrices


def _has_blocks(module: nn.Module) -> bool:
    """Return whether a module contains several modules of the same class in a row with two or more matrices each."""
    classes = Counter(type(member) for member in _members(module) if _matrices(member) > 1)
    return max(classes.values(), default=0) > 1 or any(_has_blocks(child) for child in module.children())


def _members(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the children of a module, with containers replaced by their members."""
    for child in module.children():
        if isinstance(child, _CONTAINERS):
            yield from _members(child)
        else:
            yield child


def _matrices(module: nn.Module) -> int:
    """Return how many modules have a weight of two or more dimensions: this one and all that it contains."""
    return sum(_own_matrices(part) for part in module.modules())


def _own_matrices(module: nn.Module) -> int:
    """Return 1 for a convolution, linear or similar layer, and 0 for norms, tokens and modules that contain others.

    The module that owns the class token and the position embeddings also contains the blocks, so it counts as 0.
    """
    holds_others = any(True for _ in module.children())
    return int(not holds_others and any(weight.ndim > 1 for weight in module.parameters(recurse=False)))
