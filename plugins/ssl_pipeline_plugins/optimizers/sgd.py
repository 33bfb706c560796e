"""Stochastic gradient descent with momentum, which damps directions whose sign changes from step to step.

Source: Sutskever et al. 2013 (ICML 2013, "On the importance of initialization and momentum"), equations 1 to 4.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field
from torch import optim

from ssl_pipeline import hookimpl
from ssl_pipeline.types import ParameterGroups, Register


class SGD(optim.SGD):
    """Steps along a decaying sum of past gradients.

    Args:
        groups: Parameters that are trained.
        learning_rate: Learning rate, greater than 0.
        momentum: Share of the sum that each step retains, in [0, 1). With 0, each step follows its gradient alone.
        nesterov: Whether to use Nesterov momentum, which looks ahead to where the momentum alone would lead.
    """

    formerly: ClassVar[Mapping[str, str]] = {"trust_coefficient": "only lars has this option, so remove it"}

    def __init__(
        self,
        groups: ParameterGroups,
        learning_rate: float,
        *,
        momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9,
        nesterov: bool = True,
    ):
        super().__init__(groups, lr=learning_rate, momentum=momentum, nesterov=nesterov and momentum > 0, fused=True)


@hookimpl
def register_optimizers(register: Register) -> None:
    """Add `sgd`."""
    register("sgd", SGD)
