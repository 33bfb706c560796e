"""How weights move: which of them decay, the optimizer, and the learning rate as a pure function of the step."""

import math

from torch import nn, optim

from ssl_pipeline.config import Optimizer
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.registry import Registry
from ssl_pipeline.types import ParameterGroups

__all__ = ["build_optimizer", "learning_rate", "parameter_groups"]


def parameter_groups(module: nn.Module, weight_decay: float) -> ParameterGroups:
    """Split the trainable parameters of a module into those that decay and those that do not.

    Biases and the scales and shifts of norms do not decay: pulling them to zero does not make a function simpler.
    They are told by their shape (one number a channel) or their name; a norm over several dimensions, by its module.

    Args:
        module: Whatever is trained. Parameters that need no gradient are left out.
        weight_decay: The weight decay of the parameters that decay.

    Returns:
        One or two groups for an optimizer, in the order of `module.named_parameters()`; an empty one is left out.
    """
    in_norms = {
        id(parameter)
        for child in module.modules()
        if isinstance(child, nn.LayerNorm | nn.RMSNorm | nn.GroupNorm)
        for parameter in child.parameters(recurse=False)
    }
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            exempt = parameter.ndim <= 1 or name.endswith("bias") or id(parameter) in in_norms
            (free if exempt else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": weight_decay, "exempt": False},
        {"params": free, "weight_decay": 0.0, "exempt": True},
    ]
    return [group for group in groups if group["params"]]


def build_optimizer(registry: Registry, config: Optimizer, module: nn.Module) -> optim.Optimizer:
    """Build the optimizer that `config` describes over the trainable parameters of a module.

    Raises:
        ConfigError: An unknown name or option, a value that it refuses, or what is built is no optimizer.
    """
    entry, key = registry.find("optimizer", config.name), "pretrain.optimizer"
    groups = parameter_groups(module, config.weight_decay)
    built = registry.build("optimizer", config.choice, key, groups=groups, learning_rate=config.learning_rate)
    if not isinstance(built, optim.Optimizer):
        raise ConfigError(
            f"{key} '{config.name}': {entry.distribution} {entry.version} registers what is no optimizer "
            f"({type(built).__name__}): its author must derive it from torch.optim.Optimizer."
        )
    return built


def learning_rate(step: int, total: int, warmup: float, peak: float) -> float:
    """Return the rate of a linear warm-up, then of half a cosine down to 0 (SGDR without restarts, 1608.03983).

    Args:
        step: The step about to be taken, from 0.
        total: Number of steps of the run; the rate would be 0 at step `total`.
        warmup: Number of steps of linear rise, in [0, total); the peak is reached at step `warmup`.
        peak: The largest rate.

    Returns:
        The learning rate of that step, in (0, peak].
    """
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak * 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / (total - warmup)))
