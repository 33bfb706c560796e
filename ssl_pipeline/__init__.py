"""Self-supervised learning on images: a library, the core of the pipeline, and a kit for writing plugins.

Importing this package does not import torch: the functions below are loaded on first access. `docs/library.md` shows
how to use them; `ssl_pipeline.types` contains the contracts of plugins, and `ssl_pipeline.hookspecs` their hooks.
"""

import os
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

# onnxruntime 1.29 and later report to Microsoft, from the moment of their import, unless this is set before
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

hookimpl = pluggy.HookimplMarker("ssl_pipeline")
"""Marker of a plugin's functions as implementations of the hooks in `ssl_pipeline.hookspecs`."""

_HOMES = {
    "Criterion": "criterion",
    "Pretrained": "pretraining",
    "Views": "views",
    "embed": "embedding",
    "loss": "criterion",
    "pretrain": "pretraining",
    "state_dict": "weights",
}
"""Public name -> module of `ssl_pipeline.library` that defines it."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"ssl_pipeline.library.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
