"""Decoding all images into the spool, by one process or by the ranks of a run, each of which adds a piece."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ssl_pipeline import ranks
from ssl_pipeline.data.decode import Canvas
from ssl_pipeline.data.layout import Record
from ssl_pipeline.data.parallel import decode_all
from ssl_pipeline.data.remarks import Note, RejectedError
from ssl_pipeline.data.source import Images, Source
from ssl_pipeline.data.spool import Spool, Spooled
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.progress import say, track
from ssl_pipeline.terminal import counted

__all__ = ["Filled", "fill", "help_to_fill"]


class Filled(NamedTuple):
    """What decoding has found.

    Attributes:
        found: Path -> decoded file, in the order of the source.
        rejects: Path -> why a file is rejected, sorted.
        notes: Paths, and what is to be noted of each, in the order of the source.
    """

    found: dict[str, Spooled]
    rejects: dict[str, RejectedError]
    notes: list[tuple[str, Note]]


def fill(spool: Spool, images: Images, canvas: Canvas, workers: int | None = None) -> Filled:
    """Decode all images that are not in the spool; ranks that call `help_to_fill` meanwhile take their shares of them.

    Args:
        spool: Receives the canvases. What it knows is handed out, so that memory does not hold it twice.
        images: The images of a source.
        canvas: The canvases to fit them to, and what is refused.
        workers: Processes; None: one for each core that this one may use.

    Raises:
        LostRankError: Another rank has ended.
        PipelineError: The ranks do not share the folder.
    """
    spool.look()
    paths = [record.path for record in images.records]
    rest = [path for path in paths if path not in spool.known]
    if len(rest) < len(paths):
        done = counted(len(paths) - len(rest), "file")
        say(f"ingest: {done} of {len(paths):,} were already decoded by an earlier run")
    ranks.told((str(spool.folder.absolute()), rest))
    _check_shared(spool.folder)
    _share(spool, images, rest, canvas, workers)
    if ranks.count() > 1:
        spool.look()
    filled = Filled({}, dict(images.rejects), [])
    for path in paths:
        outcome = spool.known.pop(path, None)
        if outcome is None:
            raise _not_shared(spool.folder)
        if isinstance(outcome, RejectedError):
            filled.rejects[path] = outcome
        else:
            filled.found[path] = outcome
            filled.notes.extend((path, note) for note in outcome.notes)
    return filled._replace(rejects=dict(sorted(filled.rejects.items())))


def help_to_fill(source: Source, canvas: Canvas) -> None:
    """Decode the share of this rank, which is not the first one, of what that one has found to do.

    Args:
        source: The source of the images; it is opened when the first rank has opened it, and downloaded what is
            missing.
        canvas: The canvases to fit them to, and what is refused.

    Raises:
        LostRankError: Another rank has ended.
        PipelineError: The ranks do not share the folder of the first one.
    """
    folder, rest = ranks.told(("", [""]))
    _check_shared(Path(folder))
    with Spool(Path(folder), ranks.number()) as spool:
        _share(spool, source.open(), rest, canvas)


def _share(spool: Spool, images: Images, paths: Sequence[str], canvas: Canvas, workers: int | None = None) -> None:
    """Decode this rank's share of some files, and wait until all ranks have done so."""
    share = ranks.share(len(paths))
    own = paths[share.start : share.stop]
    decoded = decode_all(replace(images, records=[Record(path) for path in own]), canvas, workers)
    for path, outcome in zip(own, track(decoded, "decoding images", total=len(own)), strict=True):
        spool.keep(path, outcome)
    spool.flush()
    ranks.gathered(None)


def _check_shared(folder: Path) -> None:
    """Let all ranks fail before they decode anything if one of them does not see the folder of the first one."""
    if not all(ranks.gathered(folder.is_dir())):
        raise _not_shared(folder)


def _not_shared(folder: Path) -> PipelineError:
    return PipelineError(
        f"{folder}: the images that other processes decoded are missing. All machines must share the project folder."
    )
