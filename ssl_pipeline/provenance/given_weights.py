"""Digest of the file of initial weights. This module imports no torch."""

from ssl_pipeline.products import sha256
from ssl_pipeline.workspace import find_path

__all__ = ["NO_FILES", "given_digest"]

NO_FILES = ("random", "pretrained")
"""Values of `pretrain.init` that are not paths."""


def given_digest(init: str) -> str | None:
    """Return the digest of the file that `pretrain.init` names, or None if it names no file."""
    if init in NO_FILES:
        return None
    path = find_path(init, "pretrain.init")
    return sha256(path) if path.is_file() else None
