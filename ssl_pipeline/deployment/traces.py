"""Cache of graphs that are the same in every run, so that a machine traces them only once.

Tracing the graphs that make views, or fit images to a network, takes torch seconds. Such graphs have no weights: they
depend on a few settings, the code, and the versions of torch and of the exporter, which form their key in the user's
cache. Cached graphs are proved like all others: every file that contains one is compared with torch.
"""

import hashlib
import os
import platform
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import atomic_file, digest
from ssl_pipeline.provenance.modules import closure, installed

__all__ = ["FOLDER", "traced_once"]

FOLDER = "SSL_PIPELINE_CACHE"
"""Environment variable that names the folder of the cache; if it is empty, nothing is cached."""

MOST = 256
"""Largest number of cached graphs, of about 0.1 MB each; the oldest ones are removed."""

_TRACERS = ("torch", "onnx", "onnxscript", "onnx-ir")
_CHECKSUM_BYTES = hashlib.sha256().digest_size


def traced_once(module: str, settings: str, trace: Callable[[], bytes]) -> bytes:
    """Return a graph from the cache, or trace it and add it to the cache.

    A cache that cannot be read or written is treated as empty, and so is a damaged entry.

    Args:
        module: Full name of the calling module. The key covers its code and all code of the package that it reaches.
        settings: Everything else that the graph depends on.
        trace: Function that returns the graph.
    """
    folder = _folder()
    if folder is None:
        return trace()
    versions = [platform.python_version(), *map(version, _TRACERS)]
    path = folder / digest([versions, closure(installed("ssl_pipeline"), [module]), settings])
    graph = _read(path)
    if graph is None:
        graph = trace()
        with suppress(OSError, PipelineError):  # a full disk, or no write access: the next run traces it again
            with atomic_file(path) as temporary:
                temporary.write_bytes(hashlib.sha256(graph).digest() + graph)
            for old in sorted(folder.iterdir(), key=lambda kept: kept.stat().st_mtime)[:-MOST]:
                old.unlink()
    return graph


def _folder() -> Path | None:
    """Return the folder of the cache, or None if nothing is cached."""
    named = os.environ.get(FOLDER)
    if named is not None:
        return Path(named) if named else None
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "ssl-pipeline")
    except RuntimeError:  # the home directory cannot be determined
        return None


def _read(path: Path) -> bytes | None:
    """Return the graph in a file of the cache, or None if the file is missing or damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    checksum, graph = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
    return graph if hashlib.sha256(graph).digest() == checksum else None
