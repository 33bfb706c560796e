"""LARS: adapt the learning rate of each layer, so that large batches can use large learning rates.

Source: You et al. 2017 (1708.03888), equation 6. Biases and norms are trained with plain momentum, as in BYOL
(2006.07733), section 3.3.
"""

from typing import Annotated

from pydantic import Field
from torch import optim

from ssl_pipeline import hookimpl
from ssl_pipeline.types import ParameterGroups, Register


def lars(
    groups: ParameterGroups,
    learning_rate: float,
    *,
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9,
    trust_coefficient: Annotated[float, Field(gt=0.0)] = 1e-3,
    clip: bool = False,
) -> optim.Optimizer:
    """Multiply a layer's learning rate by c |w| / (|g| + b |w|), with weights w, gradient g and weight decay b.

    Args:
        groups: Parameters that are trained.
        learning_rate: Learning rate, greater than 0.
        momentum: Share of the past steps that each step retains, in [0, 1).
        trust_coefficient: Length c of a layer's step as a share of the norm of its weights, at learning rate 1; greater
            than 0.
        clip: Whether to cap the rate of each layer at the learning rate (LARC).
    """
    from timm.optim.lars import Lars  # 2 s: only when asked for

    adapting = [{**group, "always_adapt": not group["exempt"]} for group in groups]
    built: optim.Optimizer = Lars(
        adapting, lr=learning_rate, momentum=momentum, trust_coeff=trust_coefficient, trust_clip=clip
    )
    return built


@hookimpl
def register_optimizers(register: Register) -> None:
    """Add `lars`."""
    register("lars", lars)
