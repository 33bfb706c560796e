"""Find near copies: one picture re-encoded, resized or reduced to a thumbnail. They must never straddle the splits.

Copies, which are equal in every pixel, are merged. Near copies are all kept, but form one group, like the frames of a
track.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from ssl_pipeline.data.groups import Groups
from ssl_pipeline.data.likeness import alike
from ssl_pipeline.data.splits import CROWD_CLIPS, Content
from ssl_pipeline.data.store import SplitName

__all__ = ["NearCopies", "NearCopy", "Picture", "is_near_copies", "join_near_copies", "name_groups"]

CROWD_IMAGES = 20
CROWD_SHARE = 0.05
"""Largest number of near copies of one picture, and their largest share of all images. A group that exceeds both does
not consist of copies, but only looks alike to a hash, such as images of a fixed camera. The same holds for frames of
more than CROWD_CLIPS clips, such as those of a single colour at the start of a fade."""

_GROUP_PREFIX = "near copies "
_RANK_OF_SPLIT: dict[SplitName | None, int] = {None: 0, "train": 1, "val": 2, "test": 3}


class Picture(NamedTuple):
    """Properties by which images are compared: sketch (see `ssl_pipeline.data.likeness`) and number of pixels."""

    sketch: bytes
    area: int


class NearCopy(NamedTuple):
    """A line of near_copies.csv: an image that is a near copy of another.

    Attributes:
        path: Path of the image.
        like: Path of the image that represents the group.
        split: Split that the source assigns to `path`; "" if it assigns none.
        like_split: Split that the source assigns to `like`; "" if it assigns none.
        left_out: "yes" if the source assigns the two to different splits, so that `path` is left out; "" otherwise.
    """

    path: str
    like: str
    split: str
    like_split: str
    left_out: str


class NearCopies(NamedTuple):
    """Result of the search for near copies.

    Attributes:
        contents: Images that stay; near copies share a group.
        copies: Lines for images that are near copies of a larger one, sorted by path.
        crowds: Sizes of groups that are too large to be near copies, and were not joined.
    """

    contents: list[Content]
    copies: list[NearCopy]
    crowds: list[int]


def join_near_copies(contents: Sequence[Content], pictures: Mapping[str, Picture]) -> NearCopies:
    """Find near copies and put them into groups.

    If the source assigns near copies to different splits, those in test stay, or else those in val. The others are left
    out, like copies, because test images must not have been trained on.

    Args:
        contents: Contents from `ssl_pipeline.data.splits.merge_copies`.
        pictures: Properties by which the contents are compared, by path.
    """
    groups = Groups([content.groups for content in contents])
    sides: dict[int, SplitName | None] = {}
    for members in groups.members():
        sides[groups.root(members[0])] = max((contents[member].record.split for member in members), key=_rank)
    names: dict[int, str] = {}
    left_out: set[int] = set()
    copies: list[NearCopy] = []
    crowds: list[int] = []
    for members in alike([pictures[content.record.path].sketch for content in contents]):
        moments = [contents[member].moment for member in members]
        clips = {moment.clip for moment in moments if moment is not None}
        if len(members) > max(CROWD_IMAGES, CROWD_SHARE * len(contents)) or len(clips) > CROWD_CLIPS:
            crowds.append(len(members))
            continue
        held = max((sides[groups.root(member)] for member in members), key=_rank)
        out = {member for member in members if sides[groups.root(member)] not in (None, held)}
        stay = [member for member in members if member not in out]
        for member in stay:
            groups.join(member, stay[0])
            names[member] = _GROUP_PREFIX + contents[members[0]].digest.hex()[:12]
        sides[groups.root(stay[0])] = held
        left_out |= out
        copies += _lines(contents, members, out, pictures)
    grouped = [
        replace(content, groups=content.groups | {names[number]}) if number in names else content
        for number, content in enumerate(contents)
        if number not in left_out
    ]
    return NearCopies(grouped, sorted(copies), crowds)


def _rank(side: SplitName | None) -> int:
    return _RANK_OF_SPLIT[side]


def _lines(
    contents: Sequence[Content], members: Sequence[int], out: Collection[int], pictures: Mapping[str, Picture]
) -> list[NearCopy]:
    """Return a line for each member except the one that represents the group, the largest of those that stay."""
    first, *others = sorted(
        (contents[member].record for member in members if member not in out),
        key=lambda record: (-pictures[record.path].area, record.path),
    )
    gone = [contents[member].record for member in out]
    return [
        NearCopy(record.path, first.path, record.split or "", first.split or "", "yes" if record in gone else "")
        for record in (*others, *gone)
    ]


def is_near_copies(group: str) -> bool:
    """Return whether a group of the index consists of near copies, rather than coming from the source."""
    return group.startswith(_GROUP_PREFIX)


def name_groups(contents: Sequence[Content]) -> list[str]:
    """Return each content's group, or "". Groups that share a picture get one name, from the source if it named one."""
    names = [""] * len(contents)
    for members in Groups([content.groups for content in contents]).members():
        found = {name for member in members for name in contents[member].groups}
        given = {name for name in found if not is_near_copies(name)}
        for member in members:
            names[member] = min(given or found, default="")
    return names
