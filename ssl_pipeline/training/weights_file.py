"""Files of weights: read the named tensors in them, without executing anything."""

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
"""Greatest number of keys that lead to the weights in a checkpoint: `checkpoint["trainer"]["model"]` has 2."""

Weights = dict[str, Tensor]


def read_weights(path: Path, key: str) -> dict[str, Weights]:
    """Read the sets of weights in a file.

    Args:
        path: A .safetensors file, or a file that ends in one of `PICKLED`, of which torch reads only the tensors
            (`weights_only=True`).
        key: The file's key in params.yaml, for messages.

    Returns:
        A mapping from the place of each set in the file, such as "state_dict" ("" for the file itself), to a mapping
        from names to tensors.

    Raises:
        ConfigError: The file does not exist, is of another kind, cannot be read, or contains no named tensors.
    """
    try:
        if path.exists() and not path.is_file():
            raise ConfigError(f"{key}: {path} is not a file. Name {FILES_OF_WEIGHTS}.")
        if path.exists() and path.suffix.lower() not in (SAFE, *PICKLED):
            raise ConfigError(f"{key}: {_unknown(path)}")
    except OSError as error:  # a name that is too long, a folder without permission
        raise ConfigError(f"{key}: {path} cannot be read ({error.strerror}).") from error
    if path.suffix.lower() not in PICKLED:
        return {"": _safetensors(path, key)}
    sets = dict(_sets(_pickled(path, key), ""))
    if not sets:
        raise ConfigError(
            f"{key}: {path} contains no named tensors. Save a state_dict instead: torch.save(model.state_dict(), path)."
        )
    return sets


def _unknown(path: Path) -> str:
    """Say why a file with this ending cannot be trained, and what to do."""
    if path.suffix.lower() != ".onnx":
        return f"'{shown(path.name, 200)}' is not a file of weights. Name {FILES_OF_WEIGHTS}."
    name = shown(str(path), 200)
    return (
        f"'{name}' is an ONNX graph, which cannot be trained. Name {FILES_OF_WEIGHTS}. To let a network learn from the "
        f"graph, choose a recipe with a teacher and set pretrain.pretext_task: {{teacher: {name}}}; to compare with "
        "it, name it in linear_eval.rivals."
    )


def _safetensors(path: Path, key: str) -> Weights:
    try:
        return dict(safetensors.torch.load_file(path))
    except FileNotFoundError as error:
        raise ConfigError(f"{key}: '{path}' does not exist. Name {FILES_OF_WEIGHTS}.") from error
    except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:  # KeyError: an unknown dtype
        reason = shown(f"{type(error).__name__}: {error}", 200)
        raise ConfigError(f"{key}: {path} cannot be read as safetensors ({reason}).") from error


def _pickled(path: Path, key: str) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ConfigError(f"{key}: '{path}' does not exist. Name {FILES_OF_WEIGHTS}.") from error
    except OSError as error:
        raise ConfigError(f"{key}: {path} cannot be read ({error.strerror}).") from error
    except Exception as error:  # errors of a damaged or hostile pickle have no narrower base class
        told = isinstance(error, UnpicklingError)  # torch's message is a page of advice on opening the file anyway
        reason = "" if told else shown(f" ({type(error).__name__}: {error})", 200)
        raise ConfigError(
            f"{key}: {path} cannot be read: it is damaged, or contains Python objects or a program beside its tensors, "
            f"which are not opened, as they could run any code{reason}. If you trust the file, save only its weights: "
            "torch.save(network.state_dict(), path)."
        ) from error


def _sets(value: Any, place: str, depth: int = 0) -> Iterator[tuple[str, Weights]]:
    """Yield the place of each mapping from names to tensors within a checkpoint, and the mapping."""
    if not isinstance(value, Mapping):
        return
    named = {name: part for name, part in value.items() if isinstance(name, str)}
    tensors = {name: part for name, part in named.items() if isinstance(part, Tensor)}
    if tensors:
        yield place, tensors
    if depth < _DEPTH:
        for name, part in named.items():
            yield from _sets(part, f"{place}.{name}" if place else name, depth + 1)
