"""Files of weights: what tensors they hold, by name. Nothing in them is executed."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ssl_pipeline.errors import ConfigError
from ssl_pipeline.terminal import shown
from ssl_pipeline.weight_names import FILES_OF_WEIGHTS, PICKLED, SAFE

__all__ = ["Weights", "read_weights"]

_DEPTH = 3
"""How deep in a checkpoint its weights may lie: `checkpoint["trainer"]["model"]`."""

Weights = dict[str, Tensor]


def read_weights(path: Path, key: str) -> dict[str, Weights]:
    """Read the sets of weights in a file.

    Args:
        path: A file that ends in one of `PICKLED`, which is read by torch's reader for tensors alone
            (`weights_only=True`), or a .safetensors file.
        key: The file's key in params.yaml, for messages.

    Returns:
        Where in the file a set lies ("" where it is the file itself, or such as "state_dict") -> name -> tensor.

    Raises:
        ConfigError: No such file, it is of another kind or cannot be read, or it holds no tensors by name.
    """
    try:
        if path.exists() and not path.is_file():
            raise ConfigError(f"{key}: {path} is not a file: name {FILES_OF_WEIGHTS}.")
        if path.exists() and path.suffix.lower() not in (SAFE, *PICKLED):
            raise ConfigError(f"{key}: {_unknown(path)}")
    except OSError as error:  # a name that is too long, a folder that is closed
        raise ConfigError(f"{key}: {path} cannot be read ({error.strerror}).") from error
    if path.suffix.lower() not in PICKLED:
        return {"": _safetensors(path, key)}
    sets = dict(_sets(_pickled(path, key), ""))
    if not sets:
        raise ConfigError(
            f"{key}: {path} holds no tensors by name: it must hold a state_dict, as "
            "torch.save(model.state_dict(), path) writes it."
        )
    return sets


def _unknown(path: Path) -> str:
    """Say that a file holds no weights to train, by its ending, and what can be done with it."""
    if path.suffix.lower() != ".onnx":
        return f"weights are not read from '{shown(path.name, 200)}': name {FILES_OF_WEIGHTS}."
    name = shown(str(path), 200)
    return (
        f"'{name}' is a graph, which cannot be trained: name {FILES_OF_WEIGHTS}. To let a network learn from it, "
        f"choose a recipe that has a teacher and set pretrain.pretext_task: {{teacher: {name}}}; to compare with it, "
        "name it in linear_eval.rivals."
    )


def _safetensors(path: Path, key: str) -> Weights:
    try:
        return dict(safetensors.torch.load_file(path))
    except FileNotFoundError as error:
        raise ConfigError(f"{key}: '{path}' does not exist: name {FILES_OF_WEIGHTS}.") from error
    except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:  # KeyError: of an unknown dtype
        reason = shown(f"{type(error).__name__}: {error}", 200)
        raise ConfigError(f"{key}: {path} cannot be read as safetensors ({reason}).") from error


def _pickled(path: Path, key: str) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ConfigError(f"{key}: '{path}' does not exist: name {FILES_OF_WEIGHTS}.") from error
    except OSError as error:
        raise ConfigError(f"{key}: {path} cannot be read ({error.strerror}).") from error
    except Exception as error:  # what a damaged or hostile pickle raises has no narrower base
        told = isinstance(
            error, UnpicklingError
        )  # torch's own reason is a page of advice on how to open it all the same
        reason = "" if told else shown(f" ({type(error).__name__}: {error})", 200)
        raise ConfigError(
            f"{key}: {path} cannot be read as tensors alone: it is damaged, or holds objects of Python or a program "
            f"besides, which are not opened, as they could run any code{reason}. Whoever trusts the file can save "
            "its weights alone: torch.save(network.state_dict(), path)."
        ) from error


def _sets(value: Any, place: str, depth: int = 0) -> Iterator[tuple[str, Weights]]:
    """Yield mappings of names to tensors within a checkpoint, and where they lie."""
    if not isinstance(value, Mapping):
        return
    named = {name: part for name, part in value.items() if isinstance(name, str)}
    tensors = {name: part for name, part in named.items() if isinstance(part, Tensor)}
    if tensors:
        yield place, tensors
    if depth < _DEPTH:
        for name, part in named.items():
            yield from _sets(part, f"{place}.{name}" if place else name, depth + 1)
