"""Graphs that are alike in run after run, traced once on a machine.

torch takes seconds to trace what makes views, or what fits images to a network. Such graphs hold no weights: they
depend on a few settings, the code and the versions of torch and of the exporter, by which they are kept in the user's
cache. What is kept is no less proved: whoever puts it into a file holds that file against torch.
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
"""The environment variable that names the folder of what is kept; if it is empty, nothing is."""

MOST = 256
"""Graphs that are kept, of a tenth of a megabyte each; the oldest ones go."""

_TRACERS = ("torch", "onnx", "onnxscript", "onnx-ir")
_CHECKSUM_BYTES = hashlib.sha256().digest_size


def traced_once(module: str, settings: str, trace: Callable[[], bytes]) -> bytes:
    """Return a graph from the cache, or trace it and keep it there.

    A cache that cannot be read or written, or holds something else than what was kept, counts as empty.

    Args:
        module: The full name of the module that asks. Its code counts, and all code of the package that it reaches.
        settings: Everything else that the graph depends on.
        trace: A function that returns the graph.
    """
    folder = _folder()
    if folder is None:
        return trace()
    versions = [platform.python_version(), *map(version, _TRACERS)]
    path = folder / digest([versions, closure(installed("ssl_pipeline"), [module]), settings])
    graph = _read(path)
    if graph is None:
        graph = trace()
        with suppress(OSError, PipelineError):  # a full disk, or a home without write access: it is traced again
            with atomic_file(path) as temporary:
                temporary.write_bytes(hashlib.sha256(graph).digest() + graph)
            for old in sorted(folder.iterdir(), key=lambda kept: kept.stat().st_mtime)[:-MOST]:
                old.unlink()
    return graph


def _folder() -> Path | None:
    """Return the folder of what is kept; None if nothing is."""
    named = os.environ.get(FOLDER)
    if named is not None:
        return Path(named) if named else None
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "ssl-pipeline")
    except RuntimeError:  # whose home cannot be found out
        return None


def _read(path: Path) -> bytes | None:
    """Return what is kept in a file; None if it is not there or not whole."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    checksum, graph = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
    return graph if hashlib.sha256(graph).digest() == checksum else None
