"""Warn about unusual images before training starts, and refuse data sets that nothing can be learned from."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssl_pipeline.data.near_copies import NearCopies
from ssl_pipeline.data.remarks import Note, RejectedError
from ssl_pipeline.data.source import NO_IMAGES
from ssl_pipeline.data.splits import Copy
from ssl_pipeline.data.store import SPLITS, IndexRow
from ssl_pipeline.data.writer import SplitSummary
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.terminal import counted, shown

__all__ = ["check_pool", "check_rejects", "count_splits", "list_notes", "warn"]

SAME_SPREAD = 0.5
"""Root mean square difference of images in grey levels, below which an encoder of 8-bit images cannot tell them
apart."""
SIMILAR_SPREAD = 4.0
FEW_IMAGES = 256
FEW_LABELS = 5
UNBALANCED = 10
LONG_LINE = 300
LONG_PATH = 100
"""Largest number of characters of a line and of a path that a message shows."""

Counts = dict[str, dict[str, Any]]


def check_rejects(rejects: Mapping[str, RejectedError], total: int, max_fraction: float, written: Path) -> None:
    """Refuse to continue if too many images were rejected.

    Args:
        rejects: Reason for each rejected file, by path.
        total: Number of files that were taken for images.
        max_fraction: Largest share of the files that may be rejected, in [0, 1].
        written: Path of the list of all rejects.

    Raises:
        PipelineError: Too many images were rejected, none is left, or there were none.
    """
    if total == 0:
        raise PipelineError(NO_IMAGES)
    if len(rejects) < total and len(rejects) <= max_fraction * total:
        return
    first_rejects = ["  " + shown(f"{path}: {reason}", LONG_LINE) for path, reason in list(rejects.items())[:5]]
    more = [f"  ... and {len(rejects) - 5} more"] if len(rejects) > 5 else []
    limit = "none is left" if len(rejects) == total else f"ingest.max_reject_fraction allows {max_fraction:g}"
    head = f"{len(rejects):,} of {total:,} images cannot be used, and {limit}. They are listed in {written}:"
    raise PipelineError("\n".join([head, *first_rejects, *more]))


def count_splits(rows: Sequence[IndexRow]) -> Counts:
    """Return the numbers of images, of labelled images, and of images per class, for each split."""
    classes: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    for row in rows:
        classes[row.split][row.label] += 1
    return {
        split: {
            "images": found.total(),
            "labelled": found.total() - found[""],
            "classes": {label: found[label] for label in sorted(found) if label},
        }
        for split, found in classes.items()
    }


def check_pool(counts: Counts, train: SplitSummary) -> None:
    """Refuse images that nothing can be learned from.

    Raises:
        PipelineError: There are fewer than two images to pretrain on, or all of them look alike.
    """
    images = counts["train"]["images"]
    held = f"{counts['val']['images']} are in val, {counts['test']['images']} in test"
    if images < 2:
        left = counted(images, "image is", "images are")
        raise PipelineError(
            f"Only {left} left to pretrain on ({held}), but training compares images with each other. Add more to "
            "ingest.source.path; they need no labels."
        )
    if train.spread < SAME_SPREAD:
        raise PipelineError(
            f"All {images} images to pretrain on look alike (they differ by {train.spread:.2f} grey levels of 255 on "
            "the canvas), so there is nothing to distinguish. Check the files in ingest.source.path."
        )


def list_notes(notes: Sequence[tuple[str, Note]]) -> list[str]:
    """Return one line per kind of note about images that are used all the same: how many, and some of their paths."""
    paths: dict[str, list[str]] = {}
    for path, note in notes:
        paths.setdefault(note.kind, []).append(path)
    lines = []
    for kind, found in sorted(paths.items()):
        named = ", ".join(shown(path, LONG_PATH) for path in found[:3])
        more = f" and {len(found) - 3:,} more" if found[3:] else ""
        lines.append(f"Files that {kind}: {len(found):,} ({named}{more}), see data/ingested/notes.csv.")
    return lines


def warn(
    rows: Sequence[IndexRow],
    counts: Counts,
    train: SplitSummary,
    copies: Sequence[Copy],
    rejects: Mapping[str, RejectedError],
    near: NearCopies,
) -> list[str]:
    """Return warnings about what is unusual in the images, one or two sentences each."""
    return [
        *_about_files(copies, rejects),
        *_about_near_copies(near),
        *_about_pool(rows, counts, train),
        *_about_classes(counts),
    ]


def _about_files(copies: Sequence[Copy], rejects: Mapping[str, RejectedError]) -> list[str]:
    warnings = []
    if rejects:
        kinds = Counter(reason.kind for reason in rejects.values())
        named = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
        which = counted(len(rejects), "file is", "files are")
        warnings.append(f"{which} rejected ({named}): see data/ingested/rejects.csv.")
    if copies:
        across = sum("split" in copy.conflict for copy in copies)
        leaks = f"; {across} of them in a different split than the copy that is kept" if across else ""
        which = counted(len(copies), "file holds", "files hold")
        warnings.append(f"{which} the same picture as another file{leaks}: see data/ingested/duplicates.csv.")
    disputed = {copy.kept for copy in copies if "label" in copy.conflict}
    if disputed:
        warnings.append(
            f"{counted(len(disputed), 'picture has', 'pictures have')} copies with conflicting labels, such as "
            f"{shown(min(disputed), LONG_PATH)}: kept without a label."
        )
    return warnings


def _about_near_copies(near: NearCopies) -> list[str]:
    warnings = []
    if near.copies:
        gone = sum(copy.left_out == "yes" for copy in near.copies)
        reason = "because the source assigns them to a different split than the images they resemble"
        left_out = f"; {gone} of them left out, {reason}" if gone else ""
        which = counted(len(near.copies), "image is a near copy", "images are near copies")
        warnings.append(
            f"{which} of another image (re-encoded or resized), placed in the same split{left_out}: see "
            "data/ingested/near_copies.csv."
        )
    if near.crowds:
        warnings.append(
            f"{sum(near.crowds)} images look so much alike (a fixed camera, for example) that they cannot be told from "
            f"near copies of {len(near.crowds)}, so they are not grouped. If some of them show the same thing, give "
            "them the same 'group' in labels.csv; otherwise test images look like training images."
        )
    return warnings


def _about_pool(rows: Sequence[IndexRow], counts: Counts, train: SplitSummary) -> list[str]:
    warnings = []
    images = counts["train"]["images"]
    if images < FEW_IMAGES:
        warnings.append(
            f"There are only {images} images to pretrain on. Expect poor results: self-supervised learning needs at "
            "least a few hundred images."
        )
    if train.spread < SIMILAR_SPREAD:
        warnings.append(f"The images barely differ from each other (by {train.spread:.1f} grey levels of 255).")
    if train.flat:
        first = next(row.path for row in rows if row.split == "train" and row.row == train.flat[0])
        counted_flat = f"{len(train.flat)} of the {images} training images {'is' if len(train.flat) == 1 else 'are'}"
        warnings.append(f"{counted_flat} almost a single colour, such as {shown(first, LONG_PATH)}.")
    return warnings


def _about_classes(counts: Counts) -> list[str]:
    found = {split: counts[split]["classes"] for split in SPLITS}
    known = set().union(*found.values())
    if not known:
        return ["No image has a label: the encoder will be trained and exported, but its accuracy cannot be measured."]
    warnings = []
    if len(known) == 1:
        warnings.append(f"There is only one class, '{min(known)}': accuracy cannot be measured.")
    for split in ("val", "test"):
        unlabelled = counts[split]["images"] - counts[split]["labelled"]
        if unlabelled:
            warnings.append(f"{unlabelled} of the {counts[split]['images']} {split} images have no label.")
    train = found["train"]
    unseen = sorted(known - train.keys())
    if unseen:
        warnings.append(f"No training image has the label {_some(unseen)}, which therefore cannot be learned.")
    rare_labels = sorted(label for label, number in train.items() if number < FEW_LABELS)
    if rare_labels:
        warnings.append(f"Fewer than {FEW_LABELS} training images have the label {_some(rare_labels)}.")
    if train and max(train.values()) > UNBALANCED * min(train.values()):
        most, least = max(train, key=lambda name: train[name]), min(train, key=lambda name: train[name])
        warnings.append(
            f"The classes are unbalanced: {train[most]} training images of '{most}', {train[least]} of '{least}'. "
            "Read balanced_accuracy in reports/linear_eval/details.json."
        )
    return warnings


def _some(labels: Sequence[str]) -> str:
    return ", ".join(f"'{label}'" for label in labels[:10]) + (f" and {len(labels) - 10} more" if labels[10:] else "")
