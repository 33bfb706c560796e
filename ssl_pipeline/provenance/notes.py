"""Digests of code in one file per stage, which is a dependency of the stage in DVC."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import write_json

__all__ = ["note", "told"]

_MAX_SHOWN_NAMES = 3  # names in a message


def note(path: Path, digests: Mapping[str, str]) -> set[str]:
    """Write digests, but only if they differ from those in the file: an untouched file keeps DVC's caches valid.

    Args:
        path: Path of the file; a damaged file is treated as missing.
        digests: Module, distribution or recipe -> digest.

    Returns:
        The names whose digests have changed; none if there was no file.

    Raises:
        PipelineError: The file cannot be read.
    """
    try:
        known = TypeAdapter(dict[str, str]).validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        known = None
    except OSError as error:
        raise PipelineError(f"{path} cannot be read ({error.strerror}): remove it, then run `dvc repro`.") from error
    if known != digests:
        write_json(path, dict(digests))
    if known is None:
        return set()
    return {name for name in {*known, *digests} if known.get(name) != digests.get(name)}


def told(changes: Mapping[str, set[str]]) -> str:
    """Return a line that names the stages whose code has changed, and the changes; empty if nothing has changed."""
    stages = [name for name, changed in changes.items() if changed]
    if not stages:
        return ""
    names = sorted(set().union(*changes.values()))
    more = f" and {len(names) - _MAX_SHOWN_NAMES} more" if len(names) > _MAX_SHOWN_NAMES else ""
    return f"changed code in {', '.join(stages)} ({', '.join(names[:_MAX_SHOWN_NAMES])}{more})"
