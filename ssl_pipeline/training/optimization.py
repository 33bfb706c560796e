"""How weights move: which of them decay, the optimizer, and the learning rate as a pure function of the step."""

import math
from typing import Any

from torch import nn, optim

from ssl_pipeline.config import Optimizer

__all__ = ["adamw", "build_optimizer", "learning_rate", "parameter_groups"]


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Split the trainable parameters of a module into those that decay and those that do not.

    Biases and the scales and shifts of norms do not decay: pulling them to zero does not make a function simpler.
    They are told by their shape (one number a channel) or their name; a norm over several dimensions, by its module.

    Args:
        module: Whatever is trained. Parameters that need no gradient are left out.
        weight_decay: The weight decay of the parameters that decay.

    Returns:
        One or two groups for an optimizer, in the order of `module.named_parameters()`; an empty one is left out.
        `always_adapt` says of a group whether LARS adapts its steps: not where nothing decays, for the same reason.
        Other optimizers pass over it.
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
        {"params": decayed, "weight_decay": weight_decay, "always_adapt": True},
        {"params": free, "weight_decay": 0.0, "always_adapt": False},
    ]
    return [group for group in groups if group["params"]]


def build_optimizer(module: nn.Module, config: Optimizer) -> optim.Optimizer:
    """Build the optimizer that `config` describes over the trainable parameters of a module.

    SGD's momentum is Nesterov's. LARS multiplies the learning rate of a layer with weights w, gradient g and decay b by
    c |w| / (|g| + b |w|), with c the trust coefficient, so that no layer is blown up by the large rates that large
    batches want (You et al. 2017, 1708.03888, equation 6); biases and norms are left to plain momentum (BYOL,
    2006.07733, section 3.3).
    """
    if config.name == "adamw":
        return adamw(module, config.learning_rate, config.weight_decay, config.momentum)
    groups = parameter_groups(module, config.weight_decay)
    rate, momentum = config.learning_rate, config.momentum
    if config.name == "sgd":
        return optim.SGD(groups, lr=rate, momentum=momentum, nesterov=momentum > 0, fused=True)
    from timm.optim.lars import Lars  # 2 s: only when asked for

    lars: optim.Optimizer = Lars(groups, lr=rate, momentum=momentum, trust_coeff=config.trust_coefficient)
    return lars


def adamw(module: nn.Module, learning_rate: float, weight_decay: float, momentum: float = 0.9) -> optim.AdamW:
    """Build AdamW, which decays weights apart from the gradient (Loshchilov and Hutter 2019, 1711.05101).

    Args:
        module: Whatever is trained.
        learning_rate: The learning rate, greater than 0.
        weight_decay: The weight decay, which spares biases and norms.
        momentum: The first beta, in [0, 1).
    """
    groups = parameter_groups(module, weight_decay)
    return optim.AdamW(groups, lr=learning_rate, betas=(momentum, 0.999), fused=True)


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
