"""Starting from the weights of a file."""

from pathlib import Path

import safetensors
import safetensors.torch
from torch import nn

from ssl_pipeline import progress
from ssl_pipeline.errors import ConfigError

__all__ = ["load_weights"]


def load_weights(backbone: nn.Module, path: Path) -> None:
    """Load a backbone's weights, all of them, from a file of its own, or an `encoder.safetensors` of this project.

    Its own is what `state_dict` returns, here or, for a network that a library made, in that library.
    An encoder's mean and std are left where they are: images are normalised by the statistics of the pool that is
    learned from now. What else the file holds (a classifier's head, say) is named and left out.

    Raises:
        ConfigError: No such file, not safetensors, or tensors that are missing or of another shape, by name.
    """
    try:
        state = safetensors.torch.load_file(path)
    except FileNotFoundError as error:
        raise ConfigError(
            f"pretrain.init: '{path}' does not exist. Use random, pretrained, or the path of a .safetensors file."
        ) from error
    except (safetensors.SafetensorError, OSError) as error:
        raise ConfigError(f"pretrain.init: {path} cannot be read as safetensors ({error}).") from error
    prefix = "backbone."
    if any(name.startswith(prefix) for name in state):
        state = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    own = backbone.state_dict()
    outer = {name.partition(".")[0] for name in own}
    if len(outer) == 1 and not own.keys() & state.keys():  # a network that is wrapped here, and was not there
        state = {f"{next(iter(outer))}.{name}": value for name, value in state.items()}
    wrong = [f"{name} is missing" for name in own if name not in state]
    wrong += [
        f"{name} is {tuple(state[name].shape)} there and {tuple(value.shape)} here"
        for name, value in own.items()
        if name in state and state[name].shape != value.shape
    ]
    if wrong:
        more = f", and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise ConfigError(
            f"pretrain.init: {path} does not fit the backbone: {'; '.join(wrong[:5])}{more}. "
            "The backbone must be the one that the file was made with."
        )
    surplus = sorted(state.keys() - own.keys())
    if surplus:
        progress.say(f"{path}: left out, as the backbone has no such tensors: {', '.join(surplus)}")
    backbone.load_state_dict({name: state[name] for name in own})
