"""Decode all images into the spool, in one process or shared among the ranks of a run, each adding its own piece."""

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
from ssl_pipeline.data.source_contract import open_images
from ssl_pipeline.data.spool import Spool, Spooled
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.progress import say, track
from ssl_pipeline.terminal import counted

__all__ = ["Filled", "fill", "help_to_fill"]


class Filled(NamedTuple):
    """Result of decoding all images.

    Attributes:
        found: Decoded image of each usable file, by path, in the order of the source.
        rejects: Reason for each rejected file, by path, sorted.
        notes: Pairs of a path and a note on its file, in the order of the source.
    """

    found: dict[str, Spooled]
    rejects: dict[str, RejectedError]
    notes: list[tuple[str, Note]]


def fill(spool: Spool, images: Images, canvas: Canvas, workers: int | None = None) -> Filled:
    """Decode all images that are not in the spool yet; the other ranks call `help_to_fill` and decode their shares.

    Args:
        spool: Spool that receives the canvases. Its outcomes are moved to the result, so that memory does not hold
            them twice.
        images: Images of a source.
        canvas: Canvas to fit the images to, and the limits of what is accepted.
        workers: Number of decoding processes; None starts one per core that this process may use.

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
    """Decode this rank's share of the images that the first rank found to be missing; the first rank calls `fill`.

    Args:
        source: Source of the images. It is opened only after the first rank has opened it and downloaded missing files.
        canvas: Canvas to fit the images to, and the limits of what is accepted.

    Raises:
        LostRankError: Another rank has ended.
        PipelineError: The ranks do not share the folder of the first one.
    """
    folder, rest = ranks.told(("", [""]))
    _check_shared(Path(folder))
    with Spool(Path(folder), ranks.number()) as spool:
        _share(spool, open_images(source), rest, canvas)


def _share(spool: Spool, images: Images, paths: Sequence[str], canvas: Canvas, workers: int | None = None) -> None:
    """Decode this rank's share of some files, and wait until all ranks have finished theirs."""
    share = ranks.share(len(paths))
    own = paths[share.start : share.stop]
    decoded = decode_all(replace(images, records=[Record(path) for path in own]), canvas, workers)
    for path, outcome in zip(own, track(decoded, "decoding images", total=len(own)), strict=True):
        spool.keep(path, outcome)
    spool.flush()
    ranks.gathered(None)


def _check_shared(folder: Path) -> None:
    """Make all ranks fail, before they decode anything, if one of them cannot see the folder of the first one."""
    if not all(ranks.gathered(folder.is_dir())):
        raise _not_shared(folder)


def _not_shared(folder: Path) -> PipelineError:
    return PipelineError(
        f"{folder}: images that other processes decoded are missing. All machines must share the project folder."
    )
