"""Each check of optimizers catches one that is broken in exactly that way; a sound one passes."""

import math

import pytest
import torch
from torch import optim

from ssl_pipeline.testing import check_optimizer
from ssl_pipeline.types import ParameterGroups


class Descent(optim.Optimizer):
    """Gradient descent with momentum.

    Args:
        groups: Groups of parameters to train.
        learning_rate: Learning rate, greater than 0.
        momentum: Share of the previous update that is kept, in [0, 1).
    """

    def __init__(self, groups: ParameterGroups, learning_rate: float, *, momentum: float = 0.5):
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {momentum}")
        super().__init__(groups, {"lr": learning_rate})
        self.momentum = momentum

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for value in group["params"]:
                gradient = value.grad + group["weight_decay"] * value
                self.state[value]["sum"] = self.momentum * self.state[value].get("sum", 0.0) + gradient
                value.sub_(self.direction() * self.rate(group) * self.state[value]["sum"])

    def rate(self, group):
        return group["lr"]

    def direction(self):
        return 1.0


class Uphill(Descent):
    __doc__ = Descent.__doc__

    def direction(self):
        return -1.0


class Unscheduled(Descent):
    __doc__ = Descent.__doc__

    def rate(self, group):
        return 1e-2


class Undecayed(Descent):
    __doc__ = Descent.__doc__

    def __init__(self, groups: ParameterGroups, learning_rate: float, *, momentum: float = 0.5):
        super().__init__([{**group, "weight_decay": 0.0} for group in groups], learning_rate, momentum=momentum)


class AllDecay(Descent):
    __doc__ = Descent.__doc__

    def __init__(self, groups: ParameterGroups, learning_rate: float, *, momentum: float = 0.5):
        most = max(group["weight_decay"] for group in groups)
        super().__init__([{**group, "weight_decay": most} for group in groups], learning_rate, momentum=momentum)


class Forgetful(Descent):
    __doc__ = Descent.__doc__

    def state_dict(self):
        return {**super().state_dict(), "state": {}}


class Unranged(Descent):
    __doc__ = Descent.__doc__

    def __init__(self, groups: ParameterGroups, learning_rate: float, *, momentum: float = 0.5):
        super().__init__(groups, learning_rate)
        self.momentum = momentum if momentum >= 0 else math.inf


class HalfHeld(Descent):
    __doc__ = Descent.__doc__

    def __init__(self, groups: ParameterGroups, learning_rate: float, *, momentum: float = 0.5):
        super().__init__(groups[:1], learning_rate, momentum=momentum)


def not_one(groups: ParameterGroups, learning_rate: float) -> int:
    """Not an optimizer.

    Args:
        groups: Groups of parameters to train.
        learning_rate: Learning rate.
    """
    return len(groups)


def test_a_sound_one_passes():
    check_optimizer(Descent, momentum=0.9)


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        (not_one, "its factory returns int; derive it from torch.optim.Optimizer"),
        (HalfHeld, "does not hold each parameter"),
        (Uphill, "Step against the gradient"),
        (Unscheduled, "changes weights while group\\['lr'\\] is 0"),
        (Undecayed, "weights with a gradient of 0 do not decay"),
        (AllDecay, "lets biases decay"),
        (Forgetful, "resumed run ends with different bits"),
        (Unranged, "with momentum: -1, the weights become infinite"),
    ],
)
def test_what_is_broken_is_said(factory, words):
    with pytest.raises(AssertionError, match=words):
        check_optimizer(factory)
