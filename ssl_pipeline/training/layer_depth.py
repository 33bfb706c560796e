"""How deep each weight of a backbone lies: how many of its layers follow.

A layer is a *block*, such as a residual or a transformer block: a module with two matrices or more, in a network in
which several modules of one class follow each other. A convolution or a linear layer outside of all blocks is a layer,
too: a stem, or a reduction between stages. What has no matrix of its own (norms, tokens, embeddings of places) belongs
to the convolution before it, or else to the layer after it, and at the end to the last one.

Source: layer-wise learning rates: BEiT (2106.08254), appendix on fine-tuning.
"""

from collections import Counter
from collections.abc import Iterator

from torch import nn

__all__ = ["layers_from_the_end"]

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def layers_from_the_end(backbone: nn.Module) -> dict[str, int]:
    """Return the layer of each parameter of a network, by the parameter's name, counted from the end: the last is 1.

    Args:
        backbone: The network, whose modules are registered in the order in which images pass them.

    Examples:
        >>> convolutions = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, bias=False))
        >>> layers_from_the_end(convolutions)
        {'0.weight': 2, '0.bias': 2, '1.weight': 2, '1.bias': 2, '2.weight': 1}
    """
    layers: list[list[str]] = []
    waiting: list[str] = []  # for the layer that they belong to
    takes_more = False  # whether the layer before is a convolution, to which its norm belongs
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
    """Yield names of parameters that belong together, in order, and how many matrices are among them.

    Args:
        module: The part of the network that is taken apart.
        prefix: What its parameters' names begin with.
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
    """Say whether several modules of one class follow each other within this one, each with two matrices or more."""
    classes = Counter(type(member) for member in _members(module) if _matrices(member) > 1)
    return max(classes.values(), default=0) > 1 or any(_has_blocks(child) for child in module.children())


def _members(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the children of a module, and those of children that only hold others in their places."""
    for child in module.children():
        if isinstance(child, _CONTAINERS):
            yield from _members(child)
        else:
            yield child


def _matrices(module: nn.Module) -> int:
    """Return how many modules within this one have a weight of two dimensions or more, itself included."""
    return sum(_own_matrices(part) for part in module.modules())


def _own_matrices(module: nn.Module) -> int:
    """Return 1 for a convolution, a linear layer and the like, and 0 for what only holds others, norms and tokens.

    A class token and embeddings of places are held by a module that holds the blocks, too.
    """
    holds_others = any(True for _ in module.children())
    return int(not holds_others and any(weight.ndim > 1 for weight in module.parameters(recurse=False)))
