"""Starting from the weights of a file."""

from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ssl_pipeline import progress
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.terminal import shown

__all__ = ["load_weights"]


def load_weights(backbone: nn.Module, path: Path, key: str = "pretrain.init") -> None:
    """Load a backbone's weights, all of them, from a file of its own, or an `encoder.safetensors` of this project.

    Its own is what `state_dict` returns, here or, for a network that a library made, in that library.
    An encoder's mean and std are left where they are: images are normalised by the statistics of the pool that is
    learned from now. What else the file holds (a classifier's head, say) is named and left out.

    Args:
        backbone: The network that receives the weights.
        path: A .safetensors file.
        key: The file's key in params.yaml, for messages.

    Raises:
        ConfigError: No such file, not safetensors, or tensors that are missing, of another shape, no floating-point
            numbers of 16 to 64 bits where such are wanted, or not finite: each by name.
    """
    state = _read(path, key)
    prefix = "backbone."
    if any(name.startswith(prefix) for name in state):
        state = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    own = backbone.state_dict()
    outer = {name.partition(".")[0] for name in own}
    if len(outer) == 1 and not own.keys() & state.keys():  # a network that is wrapped here, and was not there
        state = {f"{next(iter(outer))}.{name}": value for name, value in state.items()}
    faults = ((name, _fault(state.get(name), value)) for name, value in own.items())
    wrong = [f"{name} {fault}" for name, fault in faults if fault]
    if wrong:
        more = f", and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise ConfigError(
            f"{key}: {path} does not fit the backbone: {'; '.join(wrong[:5])}{more}. "
            "The backbone must be the one that the file was made with."
        )
    surplus = sorted(state.keys() - own.keys())
    if surplus:
        names = shown(", ".join(surplus), 500)
        progress.say(f"{path}: left out, as the backbone has no such tensors ({len(surplus)}): {names}")
    backbone.load_state_dict({name: state[name] for name in own})


def _read(path: Path, key: str) -> dict[str, Tensor]:
    """Read a safetensors file: name -> tensor."""
    try:
        if path.exists() and not path.is_file():
            raise ConfigError(f"{key}: {path} is not a file: name a .safetensors file.")
        return dict(safetensors.torch.load_file(path))
    except FileNotFoundError as error:
        raise ConfigError(f"{key}: '{path}' does not exist: name a .safetensors file.") from error
    except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:  # KeyError: of an unknown dtype
        reason = shown(f"{type(error).__name__}: {error}", 200)
        raise ConfigError(f"{key}: {path} cannot be read as safetensors ({reason}).") from error


def _fault(given: Tensor | None, own: Tensor) -> str:
    """Say why a tensor of a file cannot take the place of the backbone's own; empty if it can."""
    if given is None:
        return "is missing"
    if given.shape != own.shape:
        return f"is {tuple(given.shape)} there and {tuple(own.shape)} here"
    numbers = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    if given.dtype != own.dtype and not (given.dtype in numbers and own.dtype in numbers):
        return f"is of {given.dtype} there and of {own.dtype} here"
    if given.dtype in numbers and not given.isfinite().all():
        return "holds NaN or infinity"
    return ""
