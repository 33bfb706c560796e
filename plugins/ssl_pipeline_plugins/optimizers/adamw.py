"""AdamW: steps whose size does not depend on the scale of the gradients, with decoupled weight decay.

Sources: Loshchilov and Hutter 2019 (1711.05101), algorithm 2; Adam: Kingma and Ba 2015 (1412.6980).
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import optim

from ssl_pipeline import hookimpl
from ssl_pipeline.types import ParameterGroups, Register

Beta = Annotated[float, Field(ge=0.0, lt=1.0)]


class AdamW(optim.AdamW):
    """Steps along the moving average of gradients, divided by the root of the moving average of their squares.

    Args:
        groups: Parameters that are trained.
        learning_rate: Learning rate, greater than 0.
        momentum: First beta, in [0, 1): the decay rate of the average of gradients.
        second_beta: Second beta, in [0, 1): the decay rate of the average of squares; below 0.999 it forgets faster.
    """

    small_options: ClassVar[Mapping[str, Any]] = {"learning_rate": 2e-3, "weight_decay": 1e-4, "momentum": 0.9}
    formerly: ClassVar[Mapping[str, str]] = {"trust_coefficient": "only lars has this option, so remove it"}

    def __init__(
        self, groups: ParameterGroups, learning_rate: float, *, momentum: Beta = 0.9, second_beta: Beta = 0.999
    ):
        super().__init__(groups, lr=learning_rate, betas=(momentum, second_beta), fused=True)


@hookimpl
def register_optimizers(register: Register) -> None:
    """Add `adamw`."""
    register("adamw", AdamW)
