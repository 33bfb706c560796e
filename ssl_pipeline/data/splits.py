"""Assign images to train, val and test by the hashes of their contents, so that neither names nor order matter.

Copies of one picture count as one image, in one split. A group (a patient, a track, a photographer) is never divided
between splits.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ssl_pipeline.data.groups import Groups
from ssl_pipeline.data.layout import Record
from ssl_pipeline.data.moments import Moment
from ssl_pipeline.data.store import SplitName
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.terminal import shown

__all__ = ["CROWD_CLIPS", "Content", "Copy", "assign", "merge_copies"]

CROWD_CLIPS = 3
"""Largest number of clips that a frame may tie together. A frame in more clips, such as a black frame or a title at the
start of films, does not make copies of them."""


@dataclass(frozen=True, slots=True)
class Content:
    """One picture, however many files contain it.

    Attributes:
        digest: SHA-256 of the pixels.
        record: Record of the file that is kept.
        label: Name of the class; None if there is no label, or if copies contradict each other.
        groups: Groups of all copies, except those that the source assigns to a different split than the kept file. For
            a frame in more than CROWD_CLIPS clips, only the clip of the kept frame.
        captions: Captions of all copies without repetitions, those of the kept file first.
        moment: First moment of equal frames, in the clip of the kept frame; None for a picture that is not a frame.
    """

    digest: bytes
    record: Record
    label: str | None
    groups: frozenset[str]
    captions: tuple[str, ...] = ()
    moment: Moment | None = None


class Copy(NamedTuple):
    """A line of duplicates.csv: a file with the same picture as the file that is kept.

    Attributes:
        path: Path of the file.
        kept: Path of the file that is kept.
        label: Label of the file; "" if it has none.
        kept_label: Label of the kept file; "" if it has none.
        split: Split that the source assigns to the file; "" if it assigns none.
        kept_split: Split that the source assigns to the kept file; "" if it assigns none.
        conflict: Properties on which the two disagree, "label", "split" or both; "" if they agree.
    """

    path: str
    kept: str
    label: str
    kept_label: str
    split: str
    kept_split: str
    conflict: str


def merge_copies(files: Iterable[tuple[bytes, Record]]) -> tuple[list[Content], list[Copy]]:
    """Keep one file of each picture: from test, or else from val, or else a labelled one; of these, the first by path.

    A picture that is in both train and test is therefore a test image, and is not trained on. A picture whose copies
    have different labels is kept without a label, because nobody can tell which one is right.

    Args:
        files: Digest of the pixels and record of each file.

    Returns:
        The contents, sorted by digest, and the copies, sorted by path.

    Raises:
        PipelineError: A frame has a time but no clip.
    """
    holders: defaultdict[bytes, list[Record]] = defaultdict(list)
    for digest, record in files:
        holders[digest].append(record)
    contents, copies = [], []
    for digest, records in sorted(holders.items()):
        kept, *others = sorted(records, key=_preference)
        labels = {record.label for record in records} - {None}
        # a copy in another split is left out, and must not tie the rest of its group to the kept file
        tied = [record for record in records if None in (record.split, kept.split) or record.split == kept.split]
        if len({record.group for record in tied if record.seconds is not None}) > CROWD_CLIPS:
            tied = [record for record in tied if record.group == kept.group]
        groups = frozenset(record.group for record in tied if record.group)
        label = labels.pop() if len(labels) == 1 else None
        captions = tuple(dict.fromkeys(caption for record in (kept, *others) for caption in record.captions))
        contents.append(Content(digest, kept, label, groups, captions, _first_moment(kept, tied)))
        copies += [_copy(record, kept) for record in others]
    return contents, sorted(copies)


def _preference(record: Record) -> tuple[bool, bool, bool, str]:
    return record.split != "test", record.split != "val", record.label is None, record.path


def _first_moment(kept: Record, tied: Iterable[Record]) -> Moment | None:
    """Return the first moment of equal frames, in the clip of the kept frame if that has a time."""
    moments = []
    for record in tied:
        if record.seconds is None:
            continue
        if record.group is None:
            raise PipelineError(
                f"ingest.source: {shown(record.path, 200)} has a time, {record.seconds:g} s, but no group. The source "
                "must name the clip of a frame as its group."
            )
        moments.append(Moment(record.group, record.seconds))
    return min(moments, key=lambda moment: (moment.clip != kept.group, moment.seconds, moment.clip), default=None)


def _copy(record: Record, kept: Record) -> Copy:
    conflicts = {
        "label": record.label and kept.label and record.label != kept.label,
        "split": (record.split or "train") != (kept.split or "train"),
    }
    conflict = " ".join(name for name, found in conflicts.items() if found)
    labels, splits = (record.label or "", kept.label or ""), (record.split or "", kept.split or "")
    return Copy(record.path, kept.path, *labels, *splits, conflict)


@dataclass(slots=True)
class _Unit:
    """Contents that must be in one split: a group, groups that share a picture, or a single picture."""

    order: bytes
    members: list[int]
    classes: Counter[str]


def assign(
    contents: Sequence[Content], seed: int, val_fraction: float, test_fraction: float
) -> tuple[list[SplitName], list[str]]:
    """Choose a split for each content.

    Splits that the source assigns are kept. If it assigns no labelled image to test, test takes its share of the
    labelled images of each class; val then does the same with the rest. Within a class, the order is that of a hash of
    seed and content, so that adding or removing an image moves no more than its neighbours. If there are no labels, val
    takes unlabelled images.

    Args:
        contents: Contents from `merge_copies`.
        seed: Seed of the hash; another seed gives other splits.
        val_fraction: Share of the training images that go to val; 0 for none.
        test_fraction: Share of the labelled images that go to test; 0 for none.

    Returns:
        The split of each content, and remarks for the user.

    Raises:
        PipelineError: The source assigns members of one group to different splits.
    """
    sides: list[SplitName] = ["train"] * len(contents)
    free = []
    for unit in _units(contents, seed):
        given = _given_side(contents, unit)
        if given in ("val", "test"):
            for member in unit.members:
                sides[member] = given
        else:
            free.append(unit)
    labelled = Counter(side for side, content in zip(sides, contents, strict=True) if content.label)
    remarks: list[str] = []
    if not labelled["test"]:
        free = _take(free, "test", test_fraction, 2 if not labelled["val"] else 1, sides, remarks)
    if not labelled["val"]:
        if not any(unit.classes for unit in free) and not any(side == "val" for side in sides):
            free = [_Unit(unit.order, unit.members, Counter({"": len(unit.members)})) for unit in free]
        _take(free, "val", val_fraction, 1, sides, remarks)
    return sides, remarks


def _units(contents: Sequence[Content], seed: int) -> list[_Unit]:
    """Join contents by their groups, and sort the resulting units by a hash."""

    def order(numbers: Iterable[int]) -> bytes:
        return min(hashlib.sha256(f"split {seed} ".encode() + contents[number].digest).digest() for number in numbers)

    units = []
    for numbers in Groups([content.groups for content in contents]).members():
        classes = Counter(label for number in numbers if (label := contents[number].label) is not None)
        units.append(_Unit(order(numbers), numbers, classes))
    return sorted(units, key=lambda unit: unit.order)


def _given_side(contents: Sequence[Content], unit: _Unit) -> SplitName | None:
    """Return the split that the source assigns to a unit's members; None if it assigns none."""
    named = {record.split: record for record in (contents[member].record for member in unit.members) if record.split}
    if len(named) > 1:
        (one, a), (other, b) = sorted(named.items())[:2]
        groups = ", ".join(sorted({group for member in unit.members for group in contents[member].groups}))
        raise PipelineError(
            f"ingest.source: group {groups}: {a.path} is in {one} and {b.path} is in {other}. A group must lie within "
            "one split; otherwise the model is tested on what it has seen in training. Correct the splits or the "
            "groups in labels.csv."
        )
    return next(iter(named), None)


def _take(
    units: Sequence[_Unit], side: SplitName, fraction: float, owed: int, sides: list[SplitName], remarks: list[str]
) -> list[_Unit]:
    """Move a share of each class to a split, but at least one unit if that leaves one for each of the other splits.

    Args:
        units: Units that may be moved, in the order of their hashes.
        side: Split that they are moved to.
        fraction: Share of the images of each class to move.
        owed: Number of splits that still need a unit of each class.
        sides: Splits that have been chosen so far; updated in place.
        remarks: Remarks so far, to which one is added if classes have no image in the split.

    Returns:
        The units that stay.
    """
    if not fraction:
        return list(units)
    ledger = _Ledger(units)
    for label in ledger.rare_first():
        mine = ledger.holders[label]
        quota = max(1, int(fraction * ledger.totals[label] + 0.5))
        for unit in mine:
            if ledger.taken[label] + unit.classes[label] / 2 <= quota and ledger.leaves(unit, owed):
                ledger.take(unit)
        movable = [unit for unit in mine if ledger.leaves(unit, 1)]
        if not ledger.taken[label] and movable:  # too few or too large units for all splits: one is better than none
            ledger.take(min(movable, key=lambda unit: (unit.classes[label], unit.order)))
    for unit in ledger.moved.values():
        for member in unit.members:
            sides[member] = side
    _remark(side, ledger.totals, ledger.taken, remarks)
    return [unit for unit in units if unit.order not in ledger.moved]


class _Ledger:
    """Units of each class: all, those moved to a split, and those left."""

    def __init__(self, units: Sequence[_Unit]):
        self.holders: defaultdict[str, list[_Unit]] = defaultdict(list)
        for unit in units:
            for label in unit.classes:
                self.holders[label].append(unit)
        self.left = {label: len(mine) for label, mine in self.holders.items()}
        self.totals = {label: sum(unit.classes[label] for unit in mine) for label, mine in self.holders.items()}
        self.taken: Counter[str] = Counter()
        self.moved: dict[bytes, _Unit] = {}

    def rare_first(self) -> list[str]:
        """Return the classes in the order in which units are taken from them, the rarest first."""
        return sorted(self.totals, key=lambda label: (self.totals[label], label))

    def leaves(self, unit: _Unit, count: int) -> bool:
        """Return whether a unit has not been moved, and moving it leaves each of its classes `count` units."""
        return unit.order not in self.moved and all(self.left[label] > count for label in unit.classes)

    def take(self, unit: _Unit) -> None:
        self.moved[unit.order] = unit
        self.taken.update(unit.classes)
        for label in unit.classes:
            self.left[label] -= 1


def _remark(side: str, totals: Mapping[str, int], taken: Mapping[str, int], remarks: list[str]) -> None:
    missing = sorted(label for label in totals if label and not taken.get(label))
    if missing:
        named = ", ".join(f"'{label}' ({totals[label]})" for label in missing[:10]) + (" ..." if missing[10:] else "")
        remarks.append(f"{side} has no image of these classes, which have too few images or groups: {named}.")
