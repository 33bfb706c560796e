"""From a source to the store: decode all, merge copies, choose sides, write.

Decoded canvases go to a temporary file in the order of the source, and from there to the shards in the order of their
hashes: in which order a split lies is a function of its pictures alone. Memory holds an index line for each image and a
few blocks of pixels, however many images there are.
"""

import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ssl_pipeline.data import audit
from ssl_pipeline.data.decode import Canvas, content_hash
from ssl_pipeline.data.image_spec import RGB8
from ssl_pipeline.data.layout import Record
from ssl_pipeline.data.near_copies import NearCopy, Picture, join_near_copies, name_groups
from ssl_pipeline.data.parallel import decode_all, read_again
from ssl_pipeline.data.remarks import Note, RejectedError
from ssl_pipeline.data.sources import Source
from ssl_pipeline.data.splits import Content, Copy, assign, merge_copies
from ssl_pipeline.data.store import SPLITS, IndexRow, Original, SplitName
from ssl_pipeline.data.tables import harmless, write_table
from ssl_pipeline.data.writer import SplitSummary, rows_per_block, write_index, write_originals, write_split
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import write_product
from ssl_pipeline.progress import track

__all__ = ["Shares", "ingest"]

ORIGINALS = 64
ORIGINALS_BYTES = 200_000_000


@dataclass(frozen=True)
class Shares:
    """How images are shared out.

    Attributes:
        seed: Another seed, other splits.
        val_fraction: Share of the training images that val takes.
        test_fraction: Share of the labelled images that test takes where the source names no test images.
        max_reject_fraction: Share of the files that may be unusable.
    """

    seed: int
    val_fraction: float
    test_fraction: float
    max_reject_fraction: float


class _Found(NamedTuple):
    """A decoded file; its canvas is in the spool."""

    place: int
    digest: bytes
    width: int
    height: int
    mode: str
    sketch: bytes


def ingest(
    source: Source, folder: Path, canvas: Canvas, shares: Shares, reports: Path, workers: int | None = None
) -> dict[str, Any]:
    """Make the store of a source, with lists of all that is not in it.

    Args:
        source: Where images come from.
        folder: Receives store/, manifest.json, rejects.csv, notes.csv, duplicates.csv, near_copies.csv and
            ignored.csv.
        canvas: How an image becomes a canvas.
        shares: How images are shared out.
        reports: Receives rejects.csv if the data is refused, in which case nobody keeps `folder`.
        workers: Processes; None: all cores. The bytes do not depend on it.

    Returns:
        The manifest.

    Raises:
        PipelineError: Too many rejects, nothing to learn from, or no space on the disk.
    """
    _check_space(folder, len(source.records), canvas)
    _list(folder / "ignored.csv", ("path", "reason"), sorted(source.ignored.items()))
    with tempfile.TemporaryFile(dir=folder) as spool:
        found, rejects, notes = _decode_into(spool, source, canvas, workers)
        _report_rejects(folder, reports, rejects, len(found), shares)
        _list(folder / "notes.csv", ("path", "note"), [(path, ": ".join(note)) for path, note in notes])
        files = [record for record in source.records if record.path in found]
        contents, copies = merge_copies((found[record.path].digest, record) for record in files)
        _list(folder / "duplicates.csv", Copy._fields, copies)
        near = join_near_copies(
            contents, {path: Picture(file.sketch, file.width * file.height) for path, file in found.items()}
        )
        _list(folder / "near_copies.csv", NearCopy._fields, near.copies)
        sides, remarks = assign(near.contents, shares.seed, shares.val_fraction, shares.test_fraction)
        rows = _index_rows(near.contents, sides, found)
        summaries = _write_splits(folder / "store", spool, rows, found, canvas)
    write_index(folder / "store", rows)
    counts = audit.count_splits(rows)
    audit.check_pool(counts, summaries["train"])
    _write_originals(folder / "store", source, canvas, rows, found)
    manifest = {
        "counts": {
            **{str(split): counts[split]["images"] for split in SPLITS},
            "labelled": sum(counts[split]["labelled"] for split in SPLITS),
            "classes": len({row.label for row in rows} - {""}),
            "duplicates": len(copies),
            "near_copies": len(near.copies),
            "rejected": len(rejects),
            "ignored": len(source.ignored),
        },
        "splits": counts,
        "classes": sorted({row.label for row in rows} - {""}),
        "mean": summaries["train"].mean,
        "std": summaries["train"].std,
        "rejects": dict(sorted(Counter(reason.kind for reason in rejects.values()).items())),
        "notes": dict(sorted(Counter(note.kind for _, note in notes).items())),
        "warnings": [
            *source.warnings,
            *remarks,
            *audit.list_notes(notes),
            *audit.warn(rows, counts, summaries["train"], copies, rejects, near),
        ],
        "settings": asdict(canvas) | asdict(shares),
        "source": dict(source.choice) | {"sha256": _fingerprint(files, found)},
    }
    write_product(folder / "manifest.json", manifest)
    return manifest


def _fingerprint(files: Iterable[Record], found: Mapping[str, _Found]) -> str:
    """SHA-256 of what the source holds and says."""
    total = hashlib.sha256()
    for record in files:
        total.update(json.dumps([found[record.path].digest.hex(), *record]).encode())
    return total.hexdigest()


def _check_space(folder: Path, images: int, canvas: Canvas) -> None:
    needed = 2 * images * canvas.size**2 * 3  # the spool and the shards
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise PipelineError(
            f"{images} images on a canvas of {canvas.size} px need {needed / 1e9:.1f} GB in {folder.parent}, where "
            f"{free / 1e9:.1f} GB are free. Make room, or lower augment.canvas."
        )


def _list(path: Path, header: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    """Write a list of files, which people open in spreadsheets: cells under `path`, `kept` and `like` are paths."""
    paths = [name in ("path", "kept", "like") for name in header]
    safe = ([harmless(cell, is_path) for cell, is_path in zip(line, paths, strict=True)] for line in lines)
    write_table(path, header, safe)


def _decode_into(
    spool: IO[bytes], source: Source, canvas: Canvas, workers: int | None
) -> tuple[dict[str, _Found], dict[str, RejectedError], list[tuple[str, Note]]]:
    """Decode all images; their canvases go to the spool."""
    found: dict[str, _Found] = {}
    rejects, notes = dict(source.rejects), []
    outcomes = track(decode_all(source, canvas, workers), "decoding images", total=len(source.records))
    for record, outcome in zip(source.records, outcomes, strict=True):
        if isinstance(outcome, RejectedError):
            rejects[record.path] = outcome
        else:
            spool.write(outcome.canvas)
            found[record.path] = _Found(
                len(found), outcome.digest, outcome.width, outcome.height, outcome.mode, outcome.sketch
            )
            notes += [(record.path, note) for note in outcome.notes]
    return found, dict(sorted(rejects.items())), notes


def _report_rejects(
    folder: Path, reports: Path, rejects: Mapping[str, RejectedError], usable: int, shares: Shares
) -> None:
    lines = [(path, str(reason)) for path, reason in rejects.items()]
    for place in (folder, reports):
        _list(place / "rejects.csv", ("path", "reason"), lines)
    audit.check_rejects(rejects, usable + len(rejects), shares.max_reject_fraction, reports / "rejects.csv")
    (reports / "rejects.csv").unlink()  # it lies with the other products now


def _index_rows(contents: Sequence[Content], sides: Sequence[SplitName], found: Mapping[str, _Found]) -> list[IndexRow]:
    """One row for each content, in the order of their hashes within each split."""
    rows, groups = [], name_groups(contents)
    for split in SPLITS:
        mine = (place for place, side in enumerate(sides) if side == split)
        for row, place in enumerate(mine):
            content, group = contents[place], groups[place]
            file = found[content.record.path]
            name, label = content.digest.hex(), content.label or ""
            rows.append(IndexRow(name, content.record.path, label, split, group, file.width, file.height, row))
    return rows


def _write_splits(
    store: Path, spool: IO[bytes], rows: Sequence[IndexRow], found: Mapping[str, _Found], canvas: Canvas
) -> dict[str, SplitSummary]:
    summaries: dict[str, SplitSummary] = {}
    for split in SPLITS:
        mine = [row for row in rows if row.split == split]
        ids = np.array([int(row.id[:16], 16) for row in mine], dtype=np.uint64)
        places = [found[row.path].place for row in mine]
        summaries[split] = write_split(store / split, ids, _blocks(spool, places, canvas.size), canvas.size)
    return summaries


def _blocks(spool: IO[bytes], places: Sequence[int], size: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Canvases by their places in the spool. Read, not mapped: mapped pages would count as this process's memory."""
    length, rows = size * size * 3, rows_per_block(size, RGB8)
    for start in range(0, len(places), rows):
        block = bytearray()
        for place in places[start : start + rows]:
            spool.seek(place * length)
            block += spool.read(length)
        yield np.frombuffer(block, np.uint8).reshape(-1, size, size, 3)


def _write_originals(
    store: Path, source: Source, canvas: Canvas, rows: Sequence[IndexRow], found: Mapping[str, _Found]
) -> None:
    """Keep some images of train and val at their own shapes: one of each mode, then of each shape, then by hash."""
    pool = sorted((row for row in rows if row.split != "test"), key=lambda row: row.id)
    seen: set[object] = set()
    ranked = []
    for row in pool:
        mode, shape = found[row.path].mode, (row.width, row.height)
        ranked.append((mode in seen, shape in seen, row))
        seen |= {mode, shape}
    chosen: list[IndexRow] = []
    total = 0
    for _, _, row in sorted(ranked):
        size = row.width * row.height * 3
        if (not chosen or total + size <= ORIGINALS_BYTES) and len(chosen) < ORIGINALS:
            chosen.append(row)
            total += size
    originals: list[Original] = []
    for row, pixels in zip(chosen, read_again(source, [row.path for row in chosen], canvas), strict=True):
        if isinstance(pixels, RejectedError) or content_hash(pixels).hex() != row.id:
            raise PipelineError(
                f"{row.path} changed while it was read: run the stage again when the files are at rest."
            )
        originals.append(Original(pixels, row.split, row.row))
    write_originals(store, originals)
