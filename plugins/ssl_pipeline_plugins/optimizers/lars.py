"""LARS: each layer has a learning rate of its own, so that large batches can have large rates.

Source: You et al. 2017 (1708.03888), equation 6; biases and norms are left to plain momentum, as in BYOL (2006.07733),
section 3.3.
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
    """Multiply a layer's learning rate by c |w| / (|g| + b |w|), of its weights w, gradient g and weight decay b.

    Args:
        groups: The parameters that are trained.
        learning_rate: The learning rate, greater than 0.
        momentum: The share of past steps that is kept, in [0, 1).
        trust_coefficient: c, a layer's step as a share of its weights' norm, at learning rate 1; greater than 0.
        clip: Whether no layer moves faster than the learning rate alone would move it (LARC).
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
