"""Self-supervised learning on images, as a library; also the core of the pipeline, and the kit for writing plugins.

Importing this package imports no torch: the functions below are loaded when they are first asked for. `docs/library.md`
shows them at work; `ssl_pipeline.types` has the contracts of plugins, `ssl_pipeline.hookspecs` their hooks.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from ssl_pipeline.library.criterion import Criterion, loss
    from ssl_pipeline.library.embedding import embed
    from ssl_pipeline.library.pretraining import Pretrained, pretrain
    from ssl_pipeline.library.views import Views
    from ssl_pipeline.library.weights import state_dict

__all__ = ["Criterion", "Pretrained", "Views", "__version__", "embed", "hookimpl", "loss", "pretrain", "state_dict"]

__version__ = version("ssl-pipeline")

hookimpl = pluggy.HookimplMarker("ssl_pipeline")
"""Marks a plugin's functions as implementations of the hooks in `ssl_pipeline.hookspecs`."""

_HOMES = {
    "Criterion": "criterion",
    "Pretrained": "pretraining",
    "Views": "views",
    "embed": "embedding",
    "loss": "criterion",
    "pretrain": "pretraining",
    "state_dict": "weights",
}
"""Name -> the module of `ssl_pipeline.library` that has it."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"ssl_pipeline.library.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
