"""The inventory of a source: name, size and hash of each file that `augment` would look at, and no time.

DVC can hash a path itself, but not as `augment` reads it: it does not enter folders that are links or hold a `.dvc`,
and dies at a broken link, at a pipe, at a name that is not UTF-8. So `augment` depends on the inventory, which is made
again at the start of each run: each file that was added, changed or removed is seen, and where none was nothing runs.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ssl_pipeline.data.hashes import Hashed, hash_files
from ssl_pipeline.data.piles import PILES, MissingSourceError
from ssl_pipeline.data.sources import check_options, open_source
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import read_json, write_json

__all__ = ["refresh", "unchanged"]

Inventory = dict[str, Any]
"""`source`: its name and options. `files`: name -> "<bytes> <SHA-256>", or why it cannot be read."""

_SHOWN = 5  # names in a message


def refresh(name: str, options: Mapping[str, Any], path: Path, memory: Path) -> str:
    """Write the inventory of a source, only where it differs: an untouched file keeps DVC's caches valid.

    Where the source is not there, as in a clone after `dvc pull`, its last inventory is kept.

    Args:
        name: The name of the source.
        options: Its options.
        path: Of the inventory.
        memory: Where hashes are remembered; see `hash_files`.

    Returns:
        A line that says what was found.

    Raises:
        ConfigError: A mistake in the options, or there is no such source and there never was.
        PipelineError: The source has no images.
    """
    known = read_json(path, "inventory") if path.exists() else {}
    asked = {"name": name, **check_options(name, options)}
    files = known["files"] if known.get("source") == asked else None
    if files is None and name == "torchvision":
        open_source(name, options)  # downloads what is not there; only where `augment` runs anyway
    try:
        found = take(name, options, memory)
    except MissingSourceError as error:
        if files is None:
            raise MissingSourceError(
                f"{error} Its inventory, {path}, is not here either; `dvc pull` brings it where it was pushed."
            ) from error
        return f"{asked['path']} is not here: the inventory of its {len(files):,} files is kept as it is."
    if found != known:
        write_json(path, found)
    return _describe(files, found["files"])


@contextmanager
def unchanged(name: str, options: Mapping[str, Any], path: Path, memory: Path) -> Iterator[None]:
    """Hold a source against its inventory before and after a block that reads it; nothing is compared without one.

    Raises:
        PipelineError: They differ; the message names some files.
    """
    _compare(path, lambda: take(name, options, memory), "is not what its inventory says")
    yield
    _compare(path, lambda: take(name, options, memory), "changed while it was read")


def take(name: str, options: Mapping[str, Any], memory: Path) -> Inventory:
    """Make the inventory of a source.

    Raises:
        MissingSourceError: There is no such directory or file.
        PipelineError: It has no images.
    """
    checked = check_options(name, options)
    files = {}
    if name in PILES:
        pile = PILES[name](**checked)
        hashed = hash_files(pile.root, pile.names, memory)
        files = {file: _line(item) for file, item in hashed.items()} | dict(pile.others)
    return {"source": {"name": name, **checked}, "files": dict(sorted(files.items()))}


def _line(item: Hashed) -> str:
    return f"unreadable: {item.trouble}" if item.trouble else f"{item.size} {item.sha256}"


def _compare(path: Path, look: Callable[[], Inventory], what: str) -> None:
    if not path.exists():  # a stage that is run by hand
        return
    written, now = read_json(path, "inventory"), look()
    if written != now:
        old, new = written["files"], now["files"]
        names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
        more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
        which = f" ({', '.join(names[:_SHOWN])}{more})" if names else ""
        raise PipelineError(f"The source {what} in {path}{which}. Run `dvc repro` when its files are at rest.")


def _describe(old: dict[str, str] | None, new: dict[str, str]) -> str:
    """How many files there are, and what has become of those of the last inventory."""
    line = f"{len(new):,} {'file' if len(new) == 1 else 'files'}"
    if old is None:
        return line
    counts = {
        "new": len(new.keys() - old.keys()),
        "changed": sum(old[name] != new[name] for name in old.keys() & new.keys()),
        "gone": len(old.keys() - new.keys()),
    }
    return ", ".join([line, *(f"{count:,} {what}" for what, count in counts.items() if count)])
