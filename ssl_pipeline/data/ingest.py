"""Build the store from a source: decode all images, merge copies, assign splits, write the shards.

Decoded canvases go to a spool, and from there to the shards in the order of their hashes, so that the order of a split
depends on its pictures alone. Memory holds an index row and a sketch of each image and a few blocks of pixels, however
many images there are.
"""

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssl_pipeline.data import audit, caption_audit
from ssl_pipeline.data.agreement import Agreement, agree
from ssl_pipeline.data.captions import Captions
from ssl_pipeline.data.decode import Canvas
from ssl_pipeline.data.filling import fill
from ssl_pipeline.data.framing import Framing, write_framing
from ssl_pipeline.data.identity import content_hash
from ssl_pipeline.data.image_spec import RGB8, ImageSpec
from ssl_pipeline.data.labels import write_labels
from ssl_pipeline.data.layout import Record
from ssl_pipeline.data.moments import Moments
from ssl_pipeline.data.near_copies import NearCopy, Picture, join_near_copies, name_groups
from ssl_pipeline.data.parallel import read_again
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.data.source import Images
from ssl_pipeline.data.splits import Content, Copy, assign, merge_copies
from ssl_pipeline.data.spool import Spool, Spooled, blocks, channel_means, held
from ssl_pipeline.data.store import SPLITS, IndexRow, Original, SplitName
from ssl_pipeline.data.tables import harmless, write_table
from ssl_pipeline.data.writer import SplitSummary, canvas_bytes, write_index, write_originals, write_split
from ssl_pipeline.errors import ChangedError, PipelineError
from ssl_pipeline.products import write_product

__all__ = ["Shares", "ingest"]

ORIGINALS = 64
ORIGINALS_BYTES = 200_000_000


@dataclass(frozen=True)
class Shares:
    """How images are divided into splits, and how many may be rejected.

    Attributes:
        seed: Seed of the random splits.
        val_fraction: Share of the training images that go to val, in (0, 0.5).
        test_fraction: Share of the labelled images that go to test if the source names no test images, in (0, 0.5).
        max_reject_fraction: Largest share of the files that may be rejected, in [0, 1].
    """

    seed: int
    val_fraction: float
    test_fraction: float
    max_reject_fraction: float


def ingest(
    images: Images,
    folder: Path,
    canvas: Canvas,
    shares: Shares,
    reports: Path,
    workers: int | None = None,
    source: Mapping[str, Any] | None = None,
    begun: Path | None = None,
) -> dict[str, Any]:
    """Build the store of a source's images, with lists of everything that is left out.

    Args:
        images: Images of a source.
        folder: Folder that receives store/, manifest.json, rejects.csv, notes.csv, duplicates.csv, near_copies.csv,
            ignored.csv and, if there are captions, captions.csv.
        canvas: How an image is fitted to a canvas.
        shares: How images are divided into splits.
        reports: Folder that receives rejects.csv if the data is refused, in which case `folder` is thrown away.
        workers: Number of decoding processes; None starts one per core. The bytes of the store do not depend on it.
        source: Name and options of the source, for the manifest.
        begun: Folder that keeps decoded images until the caller removes it, so that an interrupted run resumes there.
            It must only be used for these images and this canvas. None keeps nothing.

    Returns:
        The manifest.

    Raises:
        PipelineError: Too many images are rejected, there is nothing to learn from, or the disk is full.
        ChangedError: A file changed while it was read.
    """
    # Space for the spool and the shards. With as_is, bands and type are known only once all images are in the spool.
    least = RGB8 if canvas.pixels.name == "rgb8" else ImageSpec(channels=1, dtype="uint8", low=0, high=255)
    _check_space(folder, len(images.records), canvas, least, copies=2, held=held(begun) if begun else 0)
    _list(folder / "ignored.csv", ("path", "reason"), sorted(images.ignored.items()))
    with contextlib.ExitStack() as stack:
        place = begun or Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder, prefix="spool.")))
        spool = stack.enter_context(Spool(place))
        found, rejects, notes = fill(spool, images, canvas, workers)
        agreement = _agree(found, rejects, canvas)
        spec = agreement.spec
        _check_space(folder, len(found), canvas, spec, copies=1)
        _report_rejects(folder, reports, rejects, len(found), shares)
        _list(folder / "notes.csv", ("path", "note"), [(path, ": ".join(note)) for path, note in notes])
        files = [record for record in images.records if record.path in found]
        sifted = caption_audit.sift(files)
        contents, copies = merge_copies((found[record.path].digest, record) for record in sifted.records)
        _list(folder / "duplicates.csv", Copy._fields, copies)
        near = join_near_copies(
            contents, {path: Picture(file.sketch, file.width * file.height) for path, file in found.items()}
        )
        _list(folder / "near_copies.csv", NearCopy._fields, near.copies)
        sides, remarks = assign(near.contents, shares.seed, shares.val_fraction, shares.test_fraction)
        told = caption_audit.count_captions(near.contents, sides, sifted.dropped)
        if told:
            lines = caption_audit.list_captions(near.contents, sifted.dropped)
            _list(folder / "captions.csv", caption_audit.CaptionLine._fields, lines)
        rows = _index_rows(near.contents, sides, found)
        training = [found[row.path] for row in rows if row.split == "train"]
        kept_as_is = canvas.pixels.name == "as_is"
        background = channel_means(spool, training, canvas.size, spec) if kept_as_is else canvas.background
        known = {content.record.path: content for content in near.contents}
        summaries = _write_splits(folder / "store", spool, rows, found, known, canvas, spec, background)
    write_index(folder / "store", rows)
    write_labels(folder / "store", rows)
    write_framing(folder / "store", Framing(canvas.size, canvas.resize, background))
    counts = audit.count_splits(rows)
    audit.check_pool(counts, summaries["train"])
    _write_originals(folder / "store", images, canvas, rows, found, spec)
    manifest: dict[str, Any] = {
        "counts": {
            **{str(split): counts[split]["images"] for split in SPLITS},
            "labelled": sum(counts[split]["labelled"] for split in SPLITS),
            "classes": len({row.label for row in rows} - {""}),
            "duplicates": len(copies),
            "near_copies": len(near.copies),
            "rejected": len(rejects),
            "ignored": len(images.ignored),
            **({"captions": told["captions"], "captioned": told["images"]} if told else {}),
        },
        "splits": counts,
        "classes": sorted({row.label for row in rows} - {""}),
        "mean": summaries["train"].mean,
        "std": summaries["train"].std,
        "images": spec.model_dump(mode="json"),
        **({"captions": told} if told else {}),
        "background": background,
        "rejects": dict(sorted(Counter(reason.kind for reason in rejects.values()).items())),
        "notes": dict(sorted(Counter(note.kind for _, note in notes).items())),
        "warnings": [
            *images.warnings,
            *agreement.remarks,
            *remarks,
            *audit.list_notes(notes),
            *caption_audit.warn(told, len(rows)),
            *audit.warn(rows, counts, summaries["train"], copies, rejects, near),
        ],
        "settings": asdict(canvas) | {"pixels": canvas.pixels.model_dump(mode="json")} | asdict(shares),
        "source": {**(source or {}), "sha256": _fingerprint(files, found)},
    }
    write_product(folder / "manifest.json", manifest)
    return manifest


def _fingerprint(files: Iterable[Record], found: Mapping[str, Spooled]) -> str:
    """Return the SHA-256 of the images of a source and of all that it states about them."""
    total = hashlib.sha256()
    for record in files:
        said: list[Any] = [found[record.path].digest.hex(), record.path, record.label, record.split, record.group]
        if record.captions or record.seconds is not None:  # otherwise as in earlier versions, which had neither
            said += [record.captions, record.seconds]
        total.update(json.dumps(said).encode())
    return total.hexdigest()


def _check_space(folder: Path, count: int, canvas: Canvas, spec: ImageSpec, copies: int, held: int = 0) -> None:
    """Refuse to start if the disk lacks space for so many copies of each canvas, less the bytes it already holds."""
    needed = copies * count * canvas_bytes(canvas.size, spec) - held
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise PipelineError(
            f"{count} images on a canvas of {canvas.size} px need {needed / 1e6:,.1f} MB in {folder.parent}, where "
            f"{free / 1e6:,.1f} MB are free. Free some space, or lower ingest.canvas."
        )


def _list(path: Path, header: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    """Write a list of files, safe to open in a spreadsheet; the columns `path`, `kept` and `like` contain paths."""
    paths = [name in ("path", "kept", "like") for name in header]
    safe = ([harmless(cell, is_path) for cell, is_path in zip(line, paths, strict=True)] for line in lines)
    write_table(path, header, safe)


def _agree(found: dict[str, Spooled], rejects: dict[str, RejectedError], canvas: Canvas) -> Agreement:
    """Decide on the type and bands that the images share, and move images that differ to the rejects."""
    if canvas.pixels.name == "rgb8":
        return Agreement(RGB8, {}, [])
    agreement = agree({path: file.values for path, file in found.items() if file.values}, canvas.pixels)
    for path, reason in agreement.odd.items():
        del found[path]
        rejects[path] = reason
    return agreement


def _report_rejects(
    folder: Path, reports: Path, rejects: Mapping[str, RejectedError], usable: int, shares: Shares
) -> None:
    lines = [(path, str(reason)) for path, reason in sorted(rejects.items())]
    for place in (folder, reports):
        _list(place / "rejects.csv", ("path", "reason"), lines)
    audit.check_rejects(rejects, usable + len(rejects), shares.max_reject_fraction, reports / "rejects.csv")
    (reports / "rejects.csv").unlink()  # the data is accepted, so the list in `folder` will be kept


def _index_rows(
    contents: Sequence[Content], sides: Sequence[SplitName], found: Mapping[str, Spooled]
) -> list[IndexRow]:
    """Return one index row per content, in the order of the hashes within each split."""
    rows, groups = [], name_groups(contents)
    for split in SPLITS:
        mine = (place for place, side in enumerate(sides) if side == split)
        for row, place in enumerate(mine):
            content, group = contents[place], groups[place]
            file = found[content.record.path]
            name, label = content.digest.hex(), content.label or ""
            told = name, content.record.path, label, split, group
            rows.append(IndexRow(*told, file.width, file.height, row, file.file_bytes, *file.shot))
    return rows


def _write_splits(
    store: Path,
    spool: Spool,
    rows: Sequence[IndexRow],
    found: Mapping[str, Spooled],
    known: Mapping[str, Content],
    canvas: Canvas,
    spec: ImageSpec,
    background: tuple[int | float, ...],
) -> dict[str, SplitSummary]:
    summaries: dict[str, SplitSummary] = {}
    filling = np.array(background, spec.numpy_dtype)
    for split in SPLITS:
        mine = [row for row in rows if row.split == split]
        ids = np.array([int(row.id[:16], 16) for row in mine], dtype=np.uint64)
        parts = blocks(spool, [found[row.path] for row in mine], canvas.size, spec)
        whole = (np.where(gaps, filling, images) if gaps.any() else images for images, gaps in parts)
        captions = Captions.of(known[row.path].captions for row in mine)
        moments = Moments.of(known[row.path].moment for row in mine)
        summaries[split] = write_split(store / split, ids, whole, canvas.size, spec, captions, moments)
    return summaries


def _write_originals(
    store: Path,
    images: Images,
    canvas: Canvas,
    rows: Sequence[IndexRow],
    found: Mapping[str, Spooled],
    spec: ImageSpec,
) -> None:
    """Keep some images of train and val at their original sizes: one per mode, then one per size, then by hash."""
    kept = sorted((row for row in rows if row.split != "test"), key=lambda row: row.id)
    pixel = spec.channels * spec.numpy_dtype.itemsize
    seen: set[object] = set()
    ranked = []
    for row in kept:
        mode, shape = found[row.path].mode, (row.width, row.height)
        ranked.append((mode in seen, shape in seen, row))
        seen |= {mode, shape}
    chosen: list[IndexRow] = []
    total = 0
    for _, _, row in sorted(ranked):
        size = row.width * row.height * pixel
        if (not chosen or total + size <= ORIGINALS_BYTES) and len(chosen) < ORIGINALS:
            chosen.append(row)
            total += size
    originals: list[Original] = []
    for row, pixels in zip(chosen, read_again(images, [row.path for row in chosen], canvas), strict=True):
        if isinstance(pixels, RejectedError) or content_hash(pixels).hex() != row.id:
            raise ChangedError(
                f"{row.path} changed while it was read: run the stage again once the files no longer change."
            )
        originals.append(Original(pixels, row.split, row.row))
    write_originals(store, originals)
