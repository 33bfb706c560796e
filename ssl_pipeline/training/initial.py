"""Starting from the weights of a file."""

import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_pipeline import progress
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.terminal import shown
from ssl_pipeline.training.weights_file import Weights, read_weights
from ssl_pipeline.types import Backbone

__all__ = ["Statistics", "load_weights", "say_left_out"]

_OPTIONAL = "num_batches_tracked"
"""A counter of batch norms that old files lack, and that no number passes through."""
_OWN_PREFIX = "backbone."
_LONGEST_PREFIX = 8  # names between dots
_NUMBERS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class Statistics(NamedTuple):
    """What an encoder normalises images by: mean and standard deviation of each channel, of the full scale."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class _Found(NamedTuple):
    """A set of weights under which a backbone's names are looked for.

    Attributes:
        place: The place in the file where the set lies; "" for the file itself.
        prefix: The beginning of the names in it.
        names: The backbone's name of a tensor -> the name in the set.
        weights: The set.
        known: The number of the names that it has.
    """

    place: str
    prefix: str
    names: Mapping[str, str]
    weights: Weights
    known: int

    def __str__(self) -> str:
        words = [f"'{shown(part, 60)}'" for part in (self.place, self.prefix.rstrip(".")) if part]
        return " under ".join(reversed(words)) or "the names as they are"


def load_weights(backbone: Backbone, path: Path, key: str = "pretrain.init") -> Statistics | None:
    """Load a backbone's weights, all of them, from a file of its own, or an `encoder.safetensors` of this project.

    Its own is what `state_dict` returns, here or, for a network that a library made, in that library. They may lie
    within a checkpoint (`{"state_dict": ...}`) and under a prefix (`module.`), if one set of weights alone fits. What
    the file holds beside them (a classifier's head, say) is left out; see `say_left_out`. What it holds within parts
    that the backbone has, too (a further block, say), is of another network.

    Args:
        backbone: The network that receives the weights.
        path: A .safetensors file, or one that `torch.save` wrote; see `read_weights`.
        key: The file's key in params.yaml, for messages.

    Returns:
        What the encoder in the file normalises images by; None where the file does not say.

    Raises:
        ConfigError: The file cannot be read; several sets of weights fit; or none does, as tensors are missing, of
            another shape, no floating-point numbers of 16 to 64 bits where such are wanted, or not finite, or as the
            file's network has more parts: each by name.
    """
    own, chosen = backbone.state_dict(), _chosen(backbone, path, key)
    loaded = {name: chosen.weights.get(theirs, own[name]) for name, theirs in chosen.names.items()}
    backbone.load_state_dict(loaded)
    return _statistics(chosen)


def say_left_out(backbone: Backbone, path: Path) -> None:
    """Say which tensors of a file the backbone has no place for.

    Args:
        backbone: A network that `load_weights` takes from that file.
        path: The file.

    Raises:
        ConfigError: As `load_weights` raises it.
    """
    chosen = _chosen(backbone, path, "pretrain.init")
    said = set() if _statistics(chosen) is None else {f"{_outside(chosen.prefix)}{name}" for name in Statistics._fields}
    surplus = sorted(chosen.weights.keys() - {*chosen.names.values()} - said)
    if surplus:
        names = shown(", ".join(surplus), 500)
        progress.say(f"{path}: left out, as the backbone has no such tensors ({len(surplus)}): {names}")


def _chosen(backbone: Backbone, path: Path, key: str) -> _Found:
    """Return the one set of weights in a file that fits a backbone."""
    own = backbone.state_dict()
    found = [one for place, weights in read_weights(path, key).items() for one in _looked_for(own, place, weights)]
    found.sort(key=lambda one: (-one.known, len(one.prefix)))
    needed = sum(not name.endswith(_OPTIONAL) for name in own)
    fitting = _distinct(one for one in found if one.known >= needed and not _wrong(backbone, one))
    if len(fitting) > 1:
        raise ConfigError(
            f"{key}: {path} holds several sets of weights that fit the backbone ({'; '.join(map(str, fitting[:5]))}), "
            "and nothing says which is meant. Save the one that you want as a file of its own: "
            "torch.save(its_state_dict, path)."
        )
    if not fitting:
        raise ConfigError(f"{key}: {path} does not fit the backbone: {_misfit(backbone, found[0])}")
    return fitting[0]


def _looked_for(own: Collection[str], place: str, weights: Weights) -> Iterator[_Found]:
    """Yield ways to find a backbone's names among those of a file; at least one, though it finds nothing.

    A network that is wrapped here, as that of a library is, has the name of the wrapped one in front of all names; the
    library's own file does not.
    """
    outer = {name.partition(".")[0] for name in own}
    for inner in ("", f"{outer.pop()}.") if len(outer) == 1 else ("",):
        wanted = {name.removeprefix(inner): name for name in own}
        counts: Counter[str] = Counter()
        for name in weights:
            parts = name.split(".", _LONGEST_PREFIX)
            for depth in range(len(parts)):
                if ".".join(parts[depth:]) in wanted:
                    counts["".join(f"{part}." for part in parts[:depth])] += 1
        for prefix, count in counts.items() if counts else {"": 0}.items():
            names = {name: prefix + short for short, name in wanted.items()}
            yield _Found(place, prefix, names, weights, count)


def _distinct(found: Iterator[_Found]) -> list[_Found]:
    """Return those that take other tensors than the ones before: the same names may be reached in two ways."""
    kept: dict[tuple[str, frozenset[str]], _Found] = {}
    for one in found:
        kept.setdefault((one.place, frozenset(one.names.values())), one)
    return list(kept.values())


def _outside(prefix: str) -> str:
    """Return the prefix of an encoder, given that of the backbone within it."""
    return prefix.removesuffix(_OWN_PREFIX)


def _statistics(chosen: _Found) -> Statistics | None:
    """Return the mean and the std of the encoder around a backbone, where the file holds an encoder of this project."""
    if not f".{chosen.prefix}".endswith(f".{_OWN_PREFIX}"):
        return None
    values = [chosen.weights.get(_outside(chosen.prefix) + name) for name in Statistics._fields]
    if any(value is None or value.ndim != 4 or not value.isfinite().all() for value in values):
        return None
    mean, std = (
        tuple(map(float, value.float().flatten().numpy().astype(str))) for value in values if value is not None
    )
    return Statistics(mean, std) if min(std) > 0 and len(mean) == len(std) else None


def _wrong(backbone: Backbone, found: _Found) -> list[str]:
    """Say what is wrong with a set of weights, or, if nothing is, what it has within parts of the backbone besides."""
    faults = _faults(backbone.state_dict(), found)
    return faults or [f"{shown(name, 200)} is there and not here" for name in _further(backbone, found)]


def _further(backbone: Backbone, found: _Found) -> list[str]:
    """Return weights that lie within parts which the backbone has, too, and are none of its own or its classifier's.

    Whole numbers are left out: they are indices, which old files of window attention hold.
    """
    ours = {*found.names.values()}
    root = os.path.commonprefix([*ours]).rpartition(".")[0]  # noqa: RUF071, of names, whose parts end in dots
    root += "." if root else ""

    def part(name: str) -> str:
        """Return the outermost part of the backbone that holds a tensor; layers of one list are one part."""
        outer, dot, _ = name.removeprefix(root).partition(".")
        return ("0" if outer.isdecimal() else outer) if dot and name.startswith(root) else ""

    parts = {part(name) for name in ours} - {""}
    weights = (name for name, value in found.weights.items() if value.is_floating_point())
    further = sorted(name for name in weights if name not in ours and part(name) in parts)
    return [name for name in further if name not in _classifier(backbone, found.prefix)] if further else []


def _classifier(backbone: Backbone, prefix: str) -> set[str]:
    """Return names that the library of a backbone's network gives to its classifier, wrapped or not."""
    try:
        own = backbone.library_state_dict(1).keys() - backbone.library_state_dict().keys()
    except (AttributeError, NotImplementedError, ValueError):  # it has none, or none that can be put back
        return set()
    outer = {name.partition(".")[0] + "." for name in backbone.state_dict()}
    return {f"{prefix}{wrapper}{name}" for name in own for wrapper in ("", *(outer if len(outer) == 1 else ()))}


def _faults(own: Mapping[str, Tensor], found: _Found) -> list[str]:
    """Say what is wrong with a set of weights, a line for each of the backbone's tensors that cannot take its own."""
    faults = ((name, _fault(name, found.weights.get(found.names[name]), value)) for name, value in own.items())
    return [f"{name} {fault}" for name, fault in faults if fault]


def _fault(name: str, given: Tensor | None, own: Tensor) -> str:
    """Say why a tensor of a file cannot take the place of the backbone's own; empty if it can."""
    if given is None:
        return "" if name.endswith(_OPTIONAL) else "is missing"
    if given.shape != own.shape:
        return f"is {tuple(given.shape)} there and {tuple(own.shape)} here"
    if given.dtype != own.dtype and not (given.dtype in _NUMBERS and own.dtype in _NUMBERS):
        return f"is of {given.dtype} there and of {own.dtype} here"
    if given.layout != torch.strided or given.is_meta:
        return "holds no plain array there"
    if given.dtype in _NUMBERS and not given.isfinite().all():
        return "holds NaN or infinity"
    return ""


def _misfit(backbone: Backbone, found: _Found) -> str:
    """Say what does not fit, and what to do."""
    wrong = _wrong(backbone, found)
    more = f", and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    return f"{'; '.join(wrong[:5])}{more}. {_advice(backbone.state_dict(), found)}"


def _advice(own: Mapping[str, Tensor], found: _Found) -> str:
    """Return what to do about a misfit: most often the first convolution is another one, and all else fits."""
    unlike = [name for name, value in own.items() if _fault(name, found.weights.get(found.names[name]), value)]
    if unlike and all(_is_of_positions(name) and found.names[name] in found.weights for name in unlike):
        return (
            "Only position embeddings differ: the file was made for images of another size. Set "
            "augment.views.<kind>.size to that size, for the kind of view that the recipe learns from."
        )
    first = next((name for name, value in own.items() if value.ndim == 4), "")
    theirs, ours = found.weights.get(found.names.get(first, "")), own.get(first)
    if theirs is not None and ours is not None and theirs.ndim == 4 and theirs.shape[0] == ours.shape[0]:
        if theirs.shape[2:] == ours.shape[2:] and theirs.shape[1] != ours.shape[1]:
            return (
                f"The file's network takes images of {theirs.shape[1]} channels, and these have {ours.shape[1]}: "
                "show it RGB images (ingest.pixels: rgb8), or begin with init: random."
            )
        if theirs.shape[1] == ours.shape[1] and theirs.shape[2:] != ours.shape[2:]:
            return (
                f"The file's first convolution is {theirs.shape[2]} x {theirs.shape[3]}, and the backbone's "
                f"{ours.shape[2]} x {ours.shape[3]}: build the backbone with the stem and the patches that the file "
                "was made with, such as pretrain.backbone: {stem: imagenet}."
            )
    return "The backbone must be the one that the file was made with."


def _is_of_positions(name: str) -> bool:
    """Say whether a tensor embeds positions, whose number depends on the size of images; by the names in libraries."""
    return any(word in name.rpartition(".")[2] for word in ("pos_emb", "position"))
