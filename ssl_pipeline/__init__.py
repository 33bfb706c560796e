"""The core of the self-supervised learning pipeline, and the kit for writing plugins.

Importing this package imports no torch; see `ssl_pipeline.types` for the contracts and `ssl_pipeline.hookspecs` for the
hooks that a plugin implements.
"""

from importlib.metadata import version

import pluggy

__all__ = ["__version__", "hookimpl"]

__version__ = version("ssl-pipeline")

hookimpl = pluggy.HookimplMarker("ssl_pipeline")
"""Marks a plugin's functions as implementations of the hooks in `ssl_pipeline.hookspecs`."""
