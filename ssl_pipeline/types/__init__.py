"""The contracts between the core and its plugins: small base classes, each with the shapes it promises.

Energy is the idea behind all of them: an encoder makes two views comparable, and the energy of a pair is low when the
two are compatible. A pretext task determines the views and what is predicted from them, a loss shapes the energies of
pairs, and a negative-sampling strategy selects and weights the incompatible pairs.
"""

from collections.abc import Callable
from typing import Any, Protocol

from ssl_pipeline.augment.view_operation import ViewOperation
from ssl_pipeline.types.contrast import Candidates, Negatives, NegativeStrategy, Tile, Trait
from ssl_pipeline.types.encoder import Encoder
from ssl_pipeline.types.energy import EnergyHead, ImageEnergyHead
from ssl_pipeline.types.finding import Diagnosed, Finding
from ssl_pipeline.types.near import Near
from ssl_pipeline.types.networks import Backbone, Inputs, Need, Offer
from ssl_pipeline.types.objective import Loss, Objective, TaughtLoss, ViewLoss
from ssl_pipeline.types.pretext import UNIFORMS, Encoded, Frames, PretextTask, ViewNeeds, Views
from ssl_pipeline.types.step import Kept, Step, StepOutput
from ssl_pipeline.types.teaching import TEACHER, Teaching
from ssl_pipeline.types.texts import CAPTIONS, TOKENS, TextNeeds, TextTower

__all__ = [
    "CAPTIONS",
    "TEACHER",
    "TOKENS",
    "UNIFORMS",
    "Backbone",
    "Candidates",
    "Diagnosed",
    "Encoded",
    "Encoder",
    "EnergyHead",
    "Factory",
    "Finding",
    "Frames",
    "ImageEnergyHead",
    "Inputs",
    "Kept",
    "Loss",
    "Near",
    "Need",
    "NegativeStrategy",
    "Negatives",
    "Objective",
    "Offer",
    "ParameterGroups",
    "PretextTask",
    "Register",
    "Step",
    "StepOutput",
    "TaughtLoss",
    "Teaching",
    "TextNeeds",
    "TextTower",
    "Tile",
    "Trait",
    "ViewLoss",
    "ViewNeeds",
    "ViewOperation",
    "Views",
]

ParameterGroups = list[dict[str, Any]]
"""The parameters that an optimizer updates, in the format of torch's optimizers: one or two groups with these keys:

- `params`: the parameters of the group;
- `weight_decay`: their weight decay, 0 or more;
- `exempt`: whether they are biases or the scales and shifts of norms, which never decay."""

Factory = Callable[..., Any]
"""A callable that builds the object of a plugin; its signature is the schema of the plugin's options in params.yaml.

It may have an attribute `formerly`: a name or an option of an earlier version, which params.yaml may still contain ->
what to write now, as the end of a sentence."""


class Register(Protocol):
    """The function that a hook calls once for each factory that it adds.

    Examples:
        >>> from ssl_pipeline import hookimpl
        >>> from ssl_pipeline.parts.softmax import SoftmaxLoss
        >>> @hookimpl
        ... def register_losses(register: Register) -> None:
        ...     register("my_loss", SoftmaxLoss)
        >>> register_losses(lambda name, factory: print(name, factory.__name__))
        my_loss SoftmaxLoss
    """

    def __call__(self, name: str, factory: Factory) -> None:
        """Add a factory. A name that ends in "/" is a family: `torchvision/` serves `torchvision/resnet18`."""
