"""Near copies: one picture re-encoded, resized or reduced to a thumbnail. No split may part them.

Unlike copies, which are equal in every pixel, near copies are all kept: as one group, as frames of one track are.
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
"""More images than these two allow are no copies of one, but look alike to a hash: a fixed camera's, say. Neither are
frames of more than CROWD_CLIPS clips, such as those of one colour that fades begin with."""

_GROUP_PREFIX = "near copies "
_RANK_OF_SPLIT: dict[SplitName | None, int] = {None: 0, "train": 1, "val": 2, "test": 3}


class Picture(NamedTuple):
    """What is compared of an image: its sketch (see `ssl_pipeline.data.likeness`), and its pixels' number."""

    sketch: bytes
    area: int


class NearCopy(NamedTuple):
    """An image that looks like another; `left_out` is "yes" where the source puts the two on different sides."""

    path: str
    like: str
    split: str
    like_split: str
    left_out: str


class NearCopies(NamedTuple):
    """What was found.

    Attributes:
        contents: The images that stay; near copies have a group in common.
        copies: A line for each image that is a near copy of a larger one, sorted by path.
        crowds: The sizes of groups that are too large to be copies, and are not joined.
    """

    contents: list[Content]
    copies: list[NearCopy]
    crowds: list[int]


def join_near_copies(contents: Sequence[Content], pictures: Mapping[str, Picture]) -> NearCopies:
    """Find near copies and put them into groups.

    Where the source puts near copies on different sides, those of the test split stay, or else those of val, and the
    others are left out, as copies are: what is tested must not have been trained on.

    Args:
        contents: The contents, as `ssl_pipeline.data.splits.merge_copies` returns them.
        pictures: Path of each content -> what is compared.
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
    """Return a line for each member but the one that stands for the group: the largest of those that stay."""
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
    """Return whether a group of the index is one of near copies, and not one that the source gave."""
    return group.startswith(_GROUP_PREFIX)


def name_groups(contents: Sequence[Content]) -> list[str]:
    """Return each content's group, or "": one name where groups share a picture, the source's own if it gave one."""
    names = [""] * len(contents)
    for members in Groups([content.groups for content in contents]).members():
        found = {name for member in members for name in contents[member].groups}
        given = {name for name in found if not is_near_copies(name)}
        for member in members:
            names[member] = min(given or found, default="")
    return names
