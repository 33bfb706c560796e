"""The inventory of a source: name, size and hash of each file that `ingest` would read, without times.

DVC can hash a path itself, but not the way `ingest` reads it: it does not enter folders that are links or contain a
`.dvc` file, and it fails on a broken link, a pipe or a name that is not UTF-8. Therefore `ingest` depends on the
inventory, which is taken again at the start of each run. Every file that was added, changed or removed is noticed, and
if there is none, nothing runs again.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ssl_pipeline.data.hashes import Hashed, hash_files
from ssl_pipeline.data.listing import MissingSourceError
from ssl_pipeline.data.source import Source
from ssl_pipeline.data.source_contract import pile_of
from ssl_pipeline.errors import ChangedError, PipelineError
from ssl_pipeline.products import write_json
from ssl_pipeline.terminal import counted, shown

__all__ = ["refresh", "unchanged"]


class Inventory(BaseModel):
    """Content of the inventory file.

    Attributes:
        source: Name and options of the source.
        files: "<bytes> <SHA-256>" of each file, or the reason why it cannot be read, by name.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    source: dict[str, Any]
    files: dict[str, str]


_MAX_SHOWN_NAMES = 5  # most names that a message shows


def refresh(source: Source, choice: Mapping[str, Any], path: Path, cache: Path) -> str:
    """Write the inventory of a source, but only if it changed, because an untouched file keeps DVC's caches valid.

    If the source is missing, as in a clone after `dvc pull`, its last inventory is kept.

    Args:
        source: Source to take the inventory of.
        choice: Name and options of the source, as in params.yaml.
        path: Path of the inventory; a damaged file counts as missing.
        cache: Path of the file that caches hashes; see `hash_files`.

    Returns:
        One line that summarises the files.

    Raises:
        MissingSourceError: The source is missing, and so is its inventory.
        PipelineError: The source has no images.
    """
    known = _read(path)
    files = known.files if known and known.source == choice else None
    if files is None and source.downloads:
        source.open()  # only if `ingest` would run anyway
    try:
        found = take(source, choice, cache)
    except MissingSourceError as error:
        if files is None:
            raise MissingSourceError(
                f"{error} Its inventory, {path}, is missing too: run `dvc checkout`, or `dvc pull` if it was pushed."
            ) from error
        where = shown(str(choice.get("path") or choice["name"]), 200)
        return f"{where} is not available here: the inventory of its {counted(len(files), 'file')} is kept unchanged."
    if found != known:
        write_json(path, found.model_dump())
    return _describe(files, found.files)


@contextmanager
def unchanged(source: Source, choice: Mapping[str, Any], path: Path, cache: Path) -> Iterator[None]:
    """Compare a source with its inventory before and after a block that reads it; without an inventory, do nothing.

    Raises:
        ChangedError: The source differs from the inventory; the message names some files.
        PipelineError: The inventory is damaged.
    """
    _compare(path, lambda: take(source, choice, cache), "The source no longer matches {path}{which}.")
    yield
    _compare(path, lambda: take(source, choice, cache), "Files of the source changed while ingest read them{which}.")


def take(source: Source, choice: Mapping[str, Any], cache: Path) -> Inventory:
    """Take the inventory of a source.

    Raises:
        MissingSourceError: The directory or file of the source is missing.
        PipelineError: The source has no images.
    """
    pile = pile_of(source)
    hashed = hash_files(pile.root, pile.names, cache) if pile.names else {}
    files = {file: _line(item) for file, item in hashed.items()} | dict(pile.others)
    return Inventory(source=dict(choice), files=dict(sorted(files.items())))


def _line(item: Hashed) -> str:
    return f"unreadable: {item.trouble}" if item.trouble else f"{item.size} {item.sha256}"


def _read(path: Path) -> Inventory | None:
    """Read an inventory; return None if there is no file, or if it contains something else.

    Raises:
        PipelineError: The file cannot be read.
    """
    try:
        return Inventory.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    except OSError as error:
        raise PipelineError(f"{path} cannot be read ({error.strerror}): remove it, then run `dvc repro`.") from error


def _compare(path: Path, look: Callable[[], Inventory], message: str) -> None:
    if not path.exists():  # the stage was run by hand
        return
    written = _read(path)
    if written is None:
        raise PipelineError(f"{path} is damaged: run `dvc repro --force inventory`.")
    now = look()
    if written != now:
        old, new = written.files, now.files
        names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
        more = f" and {len(names) - _MAX_SHOWN_NAMES:,} more" if len(names) > _MAX_SHOWN_NAMES else ""
        named = ", ".join(shown(name, 100) for name in names[:_MAX_SHOWN_NAMES])
        what = message.format(path=path, which=f" ({named}{more})" if names else "")
        raise ChangedError(f"{what} Run `dvc repro` once the files no longer change.")


def _describe(old: dict[str, str] | None, new: dict[str, str]) -> str:
    """Return a line with the number of files, and how many are new, changed or gone since the last inventory."""
    line = counted(len(new), "file") if new else "the source reads no files"
    if old is None:
        return line
    counts = {
        "new": len(new.keys() - old.keys()),
        "changed": sum(old[name] != new[name] for name in old.keys() & new.keys()),
        "gone": len(old.keys() - new.keys()),
    }
    return ", ".join([line, *(f"{count:,} {what}" for what, count in counts.items() if count)])
