"""Hooks that a plugin implements, each marked with `@ssl_pipeline.hookimpl`.

A plugin is a module that an entry point in the group `ssl_pipeline` names. It imports `hookimpl` and calls `register`
once for each item that it adds:

    @hookimpl
    def register_losses(register):
        register("my_loss", MyLoss)
"""

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from ssl_pipeline.types import Register

GROUP = "ssl_pipeline"
"""Entry-point group in which plugins are found."""

hookspec = pluggy.HookspecMarker(GROUP)


@hookspec
def register_sources(register: "Register") -> None:
    """Add sources of images: factories `(**options) -> Source`, which must not read any data yet."""


@hookspec
def register_pretext_tasks(register: "Register") -> None:
    """Add pretext tasks: factories `(encoder, [loss, negatives,] **options) -> PretextTask`."""


@hookspec
def register_losses(register: "Register") -> None:
    """Add losses: factories `(**options) -> Objective`: a `Loss`, or a `ViewLoss` for one without negatives."""


@hookspec
def register_negatives(register: "Register") -> None:
    """Add negative-sampling strategies: factories `(**options) -> NegativeStrategy`."""


@hookspec
def register_backbones(register: "Register") -> None:
    """Add backbones: factories `(**options) -> Backbone`.

    A name that ends in `/` denotes a family of models. Its factory also takes `model`, and may have a static method
    `members()` that lists the models' names, so that a name without its family is recognised.
    """


@hookspec
def register_recipes(register: "Register") -> None:
    """Add recipes: factories `() -> dict` with the keys pretext_task, loss and negatives."""


@hookspec
def register_operations(register: "Register") -> None:
    """Add operations on views: factories `(**options) -> ViewOperation`. Policies name them like built-in ones."""


@hookspec
def register_optimizers(register: "Register") -> None:
    """Add optimizers: factories `(groups, learning_rate, **options) -> torch.optim.Optimizer`.

    `groups` are `ssl_pipeline.types.ParameterGroups`. A factory may have an attribute `small_options` with a
    `learning_rate`, a `weight_decay` and further options. It then offers itself as the optimizer of recipes in the size
    `small` that name none.
    """
