"""Lion: each weight moves up or down by the learning rate, depending on the sign of an averaged gradient.

Source: Chen et al. 2023 (2302.06675), algorithm 2. Its learning rate should be 1/10 to 1/3 of AdamW's.
"""

from collections.abc import Callable
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import optim

from ssl_pipeline import hookimpl
from ssl_pipeline.types import ParameterGroups, Register

Beta = Annotated[float, Field(ge=0.0, lt=1.0)]


class Lion(optim.Optimizer):
    """Steps by the sign of a moving average of gradients, in which the newest gradient has additional weight.

    Args:
        groups: Groups of parameters to train.
        learning_rate: Learning rate, greater than 0.
        momentum: Weight of the moving average in the update, in [0, 1); the newest gradient has the rest.
        second_beta: Decay of the moving average from one step to the next, in [0, 1).
    """

    def __init__(
        self, groups: ParameterGroups, learning_rate: float, *, momentum: Beta = 0.9, second_beta: Beta = 0.99
    ):
        super().__init__(groups, {"lr": learning_rate, "momentum": momentum, "second_beta": second_beta})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient, with the learning rate and the weight decay of their group."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                mean = self.state[weight].setdefault("mean", torch.zeros_like(weight))
                direction = weight.grad.lerp(mean, group["momentum"]).sign()
                weight.sub_(group["lr"] * (direction + group["weight_decay"] * weight))
                mean.lerp_(weight.grad, 1 - group["second_beta"])


@hookimpl
def register_optimizers(register: Register) -> None:
    """Add `example_plugin_lion`."""
    register("example_plugin_lion", Lion)
