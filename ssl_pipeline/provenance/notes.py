"""Digests of code, kept in a file for each stage, on which DVC lets the stage depend."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import write_json

__all__ = ["note", "told"]

_MAX_SHOWN_NAMES = 3  # names in a message


def note(path: Path, digests: Mapping[str, str]) -> set[str]:
    """Write digests, only where they differ from what is noted: an untouched file keeps DVC's caches valid.

    Args:
        path: The file; a damaged one counts as none.
        digests: Module, distribution or recipe -> digest.

    Returns:
        What has another digest than before; nothing if there was no file.

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
    """Say in a line which stages run other code than before, and what is new in it; empty where nothing is."""
    stages = [name for name, changed in changes.items() if changed]
    if not stages:
        return ""
    names = sorted(set().union(*changes.values()))
    more = f" and {len(names) - _MAX_SHOWN_NAMES} more" if len(names) > _MAX_SHOWN_NAMES else ""
    return f"other code in {', '.join(stages)} ({', '.join(names[:_MAX_SHOWN_NAMES])}{more})"
