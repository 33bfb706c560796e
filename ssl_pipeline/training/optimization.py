"""Optimization: parameter groups, the optimizer, and the learning rate as a pure function of the step."""

import math

from torch import nn, optim

from ssl_pipeline.config import Optimizer
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.registry import Registry
from ssl_pipeline.training.layer_depth import layers_from_the_end
from ssl_pipeline.types import Backbone, ParameterGroups

__all__ = ["build_optimizer", "learning_rate", "parameter_groups"]


def parameter_groups(module: nn.Module, weight_decay: float, layer_decay: float = 1.0) -> ParameterGroups:
    """Split the trainable parameters of a module into those with and those without weight decay.

    Biases and the scales and shifts of norms do not decay, as pulling them to zero does not make a function simpler.
    They are recognised by shape (one number per channel) or name; norms over several dimensions, by their class.

    Args:
        module: The module to train. Parameters without a gradient are left out.
        weight_decay: The weight decay of the parameters that decay.
        layer_decay: The learning rate of each layer of a backbone as a share of that of the layer after it, in (0, 1]
            (BEiT, 2106.08254). Heads have the full rate, and the last layer of a backbone has this share of it.

    Returns:
        One or two groups for an optimizer, in the order of `module.named_parameters()`; empty groups are left out. With
        a layer decay below 1, there are one or two groups per layer, each with its share of the learning rate as
        `lr_scale`.
    """
    if layer_decay < 1:
        shares = _shares_of_layers(module, layer_decay)
        return [
            {**group, "params": [weight for weight in group["params"] if shares.get(id(weight), 1.0) == share]}
            | {"lr_scale": share}
            for share in sorted({1.0, *shares.values()})
            for group in parameter_groups(module, weight_decay)
            if any(shares.get(id(weight), 1.0) == share for weight in group["params"])
        ]
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


def _shares_of_layers(module: nn.Module, layer_decay: float) -> dict[int, float]:
    """Return each backbone parameter's share of the learning rate: `id` of the parameter -> share."""
    shares: dict[int, float] = {}
    for backbone in (part for part in module.modules() if isinstance(part, Backbone)):
        parameters = dict(backbone.named_parameters())
        shares |= {id(parameters[name]): layer_decay**number for name, number in layers_from_the_end(backbone).items()}
    return shares


def build_optimizer(
    registry: Registry, config: Optimizer, module: nn.Module, layer_decay: float = 1.0
) -> optim.Optimizer:
    """Build the optimizer that `config` describes for the trainable parameters of a module.

    Args:
        registry: The registry that knows the optimizer.
        config: The section `pretrain.optimizer`.
        module: The module to train.
        layer_decay: The layer-wise decay of a backbone's learning rate; see `parameter_groups`.

    Raises:
        ConfigError: The name or an option is unknown, a value is refused, or the registered factory does not return an
            optimizer.
    """
    entry, key = registry.find("optimizer", config.name), "pretrain.optimizer"
    groups = parameter_groups(module, config.weight_decay, layer_decay)
    built = registry.build("optimizer", config.choice, key, groups=groups, learning_rate=config.learning_rate)
    if not isinstance(built, optim.Optimizer):
        raise ConfigError(
            f"{key} '{config.name}': {entry.distribution} {entry.version} registers {type(built).__name__}, which is "
            "not an optimizer. Its author must derive it from torch.optim.Optimizer."
        )
    return built


def learning_rate(step: int, total: int, warmup: float, peak: float) -> float:
    """Return the learning rate of a step: a linear warm-up, then half a cosine to 0 (SGDR, 1608.03983, no restarts).

    Args:
        step: Number of the step about to be taken, from 0.
        total: Number of steps of the run; the rate would be 0 at step `total`.
        warmup: Number of warm-up steps, in [0, total); the peak is reached at step `warmup`.
        peak: The peak learning rate.

    Returns:
        The learning rate of this step, in (0, peak].
    """
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak * 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / (total - warmup)))
