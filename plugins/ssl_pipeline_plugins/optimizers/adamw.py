"""AdamW: steps of a size that gradients do not set, with weight decay apart from them.

Source: Loshchilov and Hutter 2019 (1711.05101), algorithm 2; Adam is that of Kingma and Ba 2015 (1412.6980).
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import optim

from ssl_pipeline import hookimpl
from ssl_pipeline.types import ParameterGroups, Register

Beta = Annotated[float, Field(ge=0.0, lt=1.0)]


class AdamW(optim.AdamW):
    """The mean of past gradients, divided by the root of the mean of their squares.

    Args:
        groups: The parameters that are trained.
        learning_rate: The learning rate, greater than 0.
        momentum: The first beta, the share of a step before that the mean of gradients keeps, in [0, 1).
        second_beta: The second beta, the same of the mean of squares, in [0, 1); less than 0.999 forgets faster.
    """

    small_options: ClassVar[Mapping[str, Any]] = {"learning_rate": 2e-3, "weight_decay": 1e-4, "momentum": 0.9}
    formerly: ClassVar[Mapping[str, str]] = {"trust_coefficient": "it is an option of lars alone: remove it"}

    def __init__(
        self, groups: ParameterGroups, learning_rate: float, *, momentum: Beta = 0.9, second_beta: Beta = 0.999
    ):
        super().__init__(groups, lr=learning_rate, betas=(momentum, second_beta), fused=True)


@hookimpl
def register_optimizers(register: Register) -> None:
    """Add `adamw`."""
    register("adamw", AdamW)
