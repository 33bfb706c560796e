"""Errors of a full or write-protected disk, as messages for the user."""

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from ssl_pipeline.errors import PipelineError

__all__ = ["disk_trouble", "disk_trouble_is_told"]

_DISK_FULL_CODES = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_WRITABLE_CODES = {errno.EROFS, errno.EACCES, errno.EPERM}
_MIN_FREE_BYTES = 2**16  # bytes; a disk with less is full


def disk_trouble(error: OSError, path: Path | None = None) -> PipelineError | None:
    """Return an error for the user if the disk is full or access is denied; None for other errors.

    Some libraries report a failed write without its cause. In that case, the free space decides, which is measured
    while the unfinished file is still on the disk.

    Args:
        error: Error that was raised.
        path: Path of the product that was being written, if known.
    """
    if error.errno in _NOT_WRITABLE_CODES:
        where = error.filename or path or "A file in the folder of params.yaml"
        return PipelineError(
            f"{where} cannot be read or written ({error.strerror}). Grant this user access to it, or use another "
            "folder, then run the command again. No file was left half-written."
        )
    unexplained = error.errno is None and path is not None and _free(path.parent) < _MIN_FREE_BYTES
    if error.errno in _DISK_FULL_CODES or unexplained:
        where = path or error.filename or "A product"
        return PipelineError(
            f"{where} could not be written because the disk is full ({error.strerror or error}). Free some space, then "
            "run the command again. No file was left half-written, and finished products are kept."
        )
    return None


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


@contextlib.contextmanager
def disk_trouble_is_told(path: Path) -> Iterator[None]:
    """Turn errors of a full or write-protected disk into a `PipelineError`; `path` is the product being written."""
    try:
        yield
    except OSError as error:
        trouble = disk_trouble(error, path)
        if trouble is None:
            raise
        raise trouble from error
