"""Stochastic gradient descent with momentum, which damps what changes its sign from step to step.

Source: Sutskever et al. 2013 (ICML 2013, "On the importance of initialization and momentum"), equations 1 to 4.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field
from torch import optim

from ssl_pipeline import hookimpl
from ssl_pipeline.types import ParameterGroups, Register


class SGD(optim.SGD):
    """Steps along a sum of past gradients that fades.

    Args:
        groups: The parameters that are trained.
        learning_rate: The learning rate, greater than 0.
        momentum: The share of the sum that is kept from one step to the next, in [0, 1); 0: gradients alone.
        nesterov: Whether a step is taken from where the momentum alone would lead (Nesterov's), or from where it began.
    """

    formerly: ClassVar[Mapping[str, str]] = {"trust_coefficient": "it is an option of lars alone: remove it"}

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
