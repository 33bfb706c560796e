"""Initialisation of a backbone with the weights in a file."""

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
"""A counter of batch norms, which old files lack and which does not affect any result."""
_OWN_PREFIX = "backbone."
_LONGEST_PREFIX = 8  # parts of a name, separated by dots
_NUMBERS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class Statistics(NamedTuple):
    """Mean and standard deviation per channel by which an encoder normalises images, as fractions of the full scale."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class _Found(NamedTuple):
    """A set of weights in a file that may belong to a backbone.

    Attributes:
        place: Key in the file under which the set lies; "" for the file itself.
        prefix: Prefix of the names in the set.
        names: The backbone's name of a tensor -> its name in the set.
        weights: The set of weights.
        known: Number of the backbone's names that the set contains.
    """

    place: str
    prefix: str
    names: Mapping[str, str]
    weights: Weights
    known: int

    def __str__(self) -> str:
        words = [f"'{shown(part, 60)}'" for part in (self.place, self.prefix.rstrip(".")) if part]
        return " under ".join(reversed(words)) or "names without a prefix"


def load_weights(backbone: Backbone, path: Path, key: str = "pretrain.init") -> Statistics | None:
    """Load all weights of a backbone from a file of its weights, or from an `encoder.safetensors` of this project.

    The names are those of the backbone's `state_dict`, here or in the library that its network comes from. The weights
    may be part of a checkpoint (`{"state_dict": ...}`) and have a prefix (`module.`), provided that exactly one set of
    weights fits. Other tensors, such as a classifier's, are left out; see `say_left_out`. Additional tensors within
    parts of the backbone, such as one block more, mean that the file belongs to another network.

    Args:
        backbone: The network that receives the weights.
        path: A .safetensors file, or one that `torch.save` wrote; see `read_weights`.
        key: The file's key in params.yaml, for messages.

    Returns:
        The mean and std of the encoder in the file; None if the file does not contain them.

    Raises:
        ConfigError: The file cannot be read; several sets of weights fit; or none fits, because tensors are missing,
            differ in shape, are not floating-point numbers of 16 to 64 bits where these are needed, or are not finite,
            or because the file's network has more parts. The message names the tensors.
    """
    own, chosen = backbone.state_dict(), _chosen(backbone, path, key)
    loaded = {name: chosen.weights.get(theirs, own[name]) for name, theirs in chosen.names.items()}
    backbone.load_state_dict(loaded)
    return _statistics(chosen)


def say_left_out(backbone: Backbone, path: Path) -> None:
    """Print which tensors of a file were left out because the backbone has no such tensors.

    Args:
        backbone: A network that `load_weights` can load from the file.
        path: Path of the file.

    Raises:
        ConfigError: The file does not fit, as in `load_weights`.
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
            f"{key}: {path} holds several sets of weights that fit the backbone ({'; '.join(map(str, fitting[:5]))}). "
            "Save the one that you want in a separate file: torch.save(its_state_dict, path)."
        )
    if not fitting:
        raise ConfigError(f"{key}: {path} does not fit the backbone: {_misfit(backbone, found[0])}")
    return fitting[0]


def _looked_for(own: Collection[str], place: str, weights: Weights) -> Iterator[_Found]:
    """Yield candidate mappings from a backbone's names to those in a file; at least one, even if no name matches.

    If this project wraps a library's network, all of the backbone's names begin with the wrapper's attribute. Names in
    the library's files do not.
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
    """Return candidates without duplicates: two ways may lead to the same tensors."""
    kept: dict[tuple[str, frozenset[str]], _Found] = {}
    for one in found:
        kept.setdefault((one.place, frozenset(one.names.values())), one)
    return list(kept.values())


def _outside(prefix: str) -> str:
    """Return the prefix of an encoder, given the prefix of its backbone."""
    return prefix.removesuffix(_OWN_PREFIX)


def _statistics(chosen: _Found) -> Statistics | None:
    """Return the mean and std of the encoder around a backbone, if the file holds an encoder of this project."""
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
    """Describe what is wrong with a set of weights, or else list additional tensors in the backbone's parts."""
    faults = _faults(backbone.state_dict(), found)
    return faults or [f"{shown(name, 200)} exists only in the file" for name in _further(backbone, found)]


def _further(backbone: Backbone, found: _Found) -> list[str]:
    """Return the names of additional weights in parts that the backbone has, too, except those of its classifier.

    Integer tensors are ignored: they are indices, which old files of window attention contain.
    """
    ours = {*found.names.values()}
    root = os.path.commonprefix([*ours]).rpartition(".")[0]  # noqa: RUF071, as these are dotted names
    root += "." if root else ""

    def part(name: str) -> str:
        """Return the outermost part of the backbone that contains a tensor; the layers of a list are one part."""
        outer, dot, _ = name.removeprefix(root).partition(".")
        return ("0" if outer.isdecimal() else outer) if dot and name.startswith(root) else ""

    parts = {part(name) for name in ours} - {""}
    weights = (name for name, value in found.weights.items() if value.is_floating_point())
    further = sorted(name for name in weights if name not in ours and part(name) in parts)
    return [name for name in further if name not in _classifier(backbone, found.prefix)] if further else []


def _classifier(backbone: Backbone, prefix: str) -> set[str]:
    """Return the names that the backbone's library uses for its classifier, with and without the wrapper's prefix."""
    try:
        own = backbone.library_state_dict(1).keys() - backbone.library_state_dict().keys()
    except (AttributeError, NotImplementedError, ValueError):  # without a classifier that can be added back
        return set()
    outer = {name.partition(".")[0] + "." for name in backbone.state_dict()}
    return {f"{prefix}{wrapper}{name}" for name in own for wrapper in ("", *(outer if len(outer) == 1 else ()))}


def _faults(own: Mapping[str, Tensor], found: _Found) -> list[str]:
    """Describe what is wrong with a set of weights, one line per tensor of the backbone that cannot be loaded."""
    faults = ((name, _fault(name, found.weights.get(found.names[name]), value)) for name, value in own.items())
    return [f"{name} {fault}" for name, fault in faults if fault]


def _fault(name: str, given: Tensor | None, own: Tensor) -> str:
    """Say why a tensor of a file cannot replace the backbone's tensor; empty if it can."""
    if given is None:
        return "" if name.endswith(_OPTIONAL) else "is missing"
    if given.shape != own.shape:
        return f"has shape {tuple(given.shape)} in the file and {tuple(own.shape)} in the backbone"
    if given.dtype != own.dtype and not (given.dtype in _NUMBERS and own.dtype in _NUMBERS):
        return f"has type {given.dtype} in the file and {own.dtype} in the backbone"
    if given.layout != torch.strided or given.is_meta:
        return "is not a dense array in the file"
    if given.dtype in _NUMBERS and not given.isfinite().all():
        return "contains NaN or infinity"
    return ""


def _misfit(backbone: Backbone, found: _Found) -> str:
    """Describe what does not fit and what to do."""
    wrong = _wrong(backbone, found)
    more = f", and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    return f"{'; '.join(wrong[:5])}{more}. {_advice(backbone.state_dict(), found)}"


def _advice(own: Mapping[str, Tensor], found: _Found) -> str:
    """Return what to do about a misfit; most often, only the first convolution differs."""
    unlike = [name for name, value in own.items() if _fault(name, found.weights.get(found.names[name]), value)]
    if unlike and all(_is_of_positions(name) and found.names[name] in found.weights for name in unlike):
        return (
            "Only position embeddings differ: the file's network was trained on images of another size. Set "
            "augment.views.<kind>.size to that size, for the kind of view that the recipe learns from."
        )
    first = next((name for name, value in own.items() if value.ndim == 4), "")
    theirs, ours = found.weights.get(found.names.get(first, "")), own.get(first)
    if theirs is not None and ours is not None and theirs.ndim == 4 and theirs.shape[0] == ours.shape[0]:
        if theirs.shape[2:] == ours.shape[2:] and theirs.shape[1] != ours.shape[1]:
            return (
                f"The file's network takes images with {theirs.shape[1]} channels, but these have {ours.shape[1]}. "
                "Give it RGB images (ingest.pixels: rgb8), or start from random weights (init: random)."
            )
        if theirs.shape[1] == ours.shape[1] and theirs.shape[2:] != ours.shape[2:]:
            return (
                f"The file's first convolution is {theirs.shape[2]} x {theirs.shape[3]}, but the backbone's is "
                f"{ours.shape[2]} x {ours.shape[3]}. Set the stem and the patch size that the file's network has, such "
                "as pretrain.backbone: {stem: imagenet}."
            )
    return "Use the backbone that the file was made with."


def _is_of_positions(name: str) -> bool:
    """Return whether a name is that of a position embedding, whose shape depends on the size of images."""
    return any(word in name.rpartition(".")[2] for word in ("pos_emb", "position"))
