"""Near copies are found at any size and quality, nothing else is found, and no split separates them."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from ssl_pipeline.data import likeness
from ssl_pipeline.data.groups import Groups
from ssl_pipeline.data.layout import Record
from ssl_pipeline.data.likeness import alike, sketch
from ssl_pipeline.data.moments import Moment
from ssl_pipeline.data.near_copies import Picture, join_near_copies, name_groups
from ssl_pipeline.data.splits import Content, assign
from ssl_pipeline.data.store import SplitName
from ssl_pipeline.errors import PipelineError


def patches(side: int = 128) -> list[npt.NDArray[np.uint8]]:
    """Return pieces of scikit-learn's two photographs (427 x 640 pixels each), except those of empty sky."""
    pieces = [
        photo[top : top + side, left : left + side]
        for photo in load_sample_images().images
        for top in range(0, 427 - side, side)
        for left in range(0, 640 - side, side)
    ]
    return [piece for piece in pieces if piece.std() > 25]


PATCHES = [Image.fromarray(patch) for patch in patches()]


def encoded(image: Image.Image, quality: int = 95, scale: float = 1.0) -> Image.Image:
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    return Image.open(content)


@pytest.mark.parametrize(("quality", "scale"), [(30, 1.0), (50, 0.5), (95, 0.25), (95, 0.3), (70, 1.5), (90, 3.0)])
def test_a_picture_is_found_at_another_size_and_quality(quality: int, scale: float) -> None:
    pictures = [*PATCHES, *(encoded(patch, quality, scale) for patch in PATCHES)]
    half = len(PATCHES)
    found = alike([sketch(picture) for picture in pictures])
    assert all(other == one + half for one, other in found)
    assert len(found) >= 0.85 * half  # three patches are out of focus, with few details for a hash


def test_other_colours_are_another_picture() -> None:
    one = np.asarray(PATCHES[0])
    grey = np.repeat(one.mean(axis=-1, keepdims=True).astype(np.uint8), 3, axis=-1)
    tinted = (grey * np.array([1.0, 0.5, 0.2])).astype(np.uint8)
    assert alike([sketch(Image.fromarray(grey)), sketch(Image.fromarray(tinted))]) == []


def test_small_pictures_have_no_sketch() -> None:
    small = encoded(PATCHES[0], scale=0.24)
    assert sketch(small) == b"" == sketch(PATCHES[0].crop((0, 0, PATCHES[0].width, 31)))
    assert alike([sketch(small), sketch(small), sketch(PATCHES[0])]) == []


def test_the_search_finds_what_comparing_all_with_all_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hashes lie at various distances from centres, some exactly at the limit."""
    monkeypatch.setattr(likeness, "BLOCK", 100)
    generator = np.random.default_rng(0)
    centres = generator.integers(0, 2, (60, 256), dtype=np.uint8)
    bits = np.repeat(centres, 8, axis=0)
    for row, line in enumerate(bits):
        line[generator.choice(256, row % 8 and 26 + row % 8, replace=False)] ^= 1
    hashes = np.packbits(bits, axis=1)
    distances = (bits[:, None] != bits[None]).sum(axis=-1)
    expected = Groups([()] * len(bits))
    for one, other in zip(*np.nonzero(distances <= likeness.MAX_BITS), strict=True):
        expected.join(int(one), int(other))
    found = alike([line.tobytes() + bytes(192) for line in hashes])
    assert found == [members for members in expected.members() if len(members) > 1]
    assert sum(map(len, found)) == 60 * 5  # for each centre, those at distances of 0 and of 27 to 30


def test_a_crowd_is_one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """This holds however few members each picture is compared with."""
    monkeypatch.setattr(likeness, "CROWD", 2)
    assert alike([bytes(32) + bytes([number % 3] * 192) for number in range(50)]) == [list(range(50))]


def content(name: str, split: SplitName | None = None, groups: Sequence[str] = (), label: str = "x") -> Content:
    return Content(hashlib.sha256(name.encode()).digest(), Record(name, label, split), label, frozenset(groups))


def pictures(names: Sequence[Sequence[str]]) -> dict[str, Picture]:
    """Return pictures by name; the names in a sequence are near copies of each other, and the first is the largest."""
    return {
        name: Picture(hashlib.sha256(str(number).encode()).digest() + bytes(192), 1000 - place)
        for number, mine in enumerate(names)
        for place, name in enumerate(mine)
    }


def test_near_copies_are_listed_under_the_largest_and_have_a_group() -> None:
    contents = [content("b"), content("a"), content("c"), content("d")]
    found = join_near_copies(contents, pictures([["c", "a"], ["b"], ["d"]]))
    assert [tuple(copy) for copy in found.copies] == [("a", "c", "", "", "")]
    names = dict(zip((item.record.path for item in found.contents), name_groups(found.contents), strict=True))
    assert names["a"] == names["c"] != ""
    assert names["b"] == names["d"] == ""


def test_no_split_parts_near_copies() -> None:
    contents = [content(f"{number}{kind}") for number in range(60) for kind in "ab"]
    found = join_near_copies(contents, pictures([[f"{number}a", f"{number}b"] for number in range(60)]))
    sides, _ = assign(found.contents, 0, 0.15, 0.25)
    by_name = {item.record.path: side for item, side in zip(found.contents, sides, strict=True)}
    assert set(by_name.values()) == {"train", "val", "test"}
    assert all(by_name[f"{number}a"] == by_name[f"{number}b"] for number in range(60))


def test_groups_of_the_source_are_joined_by_near_copies_and_keep_their_name() -> None:
    contents = [content("a", groups=["anna"]), content("b", groups=["ben"]), content("c", groups=["ben"])]
    found = join_near_copies(contents, pictures([["a", "b"], ["c"]]))
    assert name_groups(found.contents) == ["anna"] * 3


def test_a_near_copy_of_a_test_image_is_not_trained_on() -> None:
    contents = [
        content("train", "train", ["anna"]),
        content("another of anna", "train", ["anna"]),
        content("test", "test"),
        content("free"),
        content("val", "val"),
    ]
    found = join_near_copies(contents, pictures([["train", "test", "free", "val"], ["another of anna"]]))
    assert {item.record.path for item in found.contents} == {"another of anna", "test", "free"}
    assert {copy.path: copy.left_out for copy in found.copies} == {"train": "yes", "val": "yes", "free": ""}
    sides, _ = assign(found.contents, 0, 0.15, 0.25)
    assert dict(zip((item.record.path for item in found.contents), sides, strict=True)) == {
        "another of anna": "train",
        "test": "test",
        "free": "test",
    }


def test_near_copies_never_make_groups_of_the_source_contradict_each_other() -> None:
    """One image is in train and another in test; carl, in no split of the source, has an image like each of them."""
    contents = [
        content("train", "train"),
        content("carl 1", groups=["carl"]),
        content("carl 2", groups=["carl"]),
        content("test", "test"),
    ]
    found = join_near_copies(contents, pictures([["train", "carl 1"], ["test", "carl 2"]]))
    sides, _ = assign(found.contents, 0, 0.15, 0.25)
    chosen = dict(zip((item.record.path for item in found.contents), sides, strict=True))
    assert chosen["test"] == "test"
    assert [copy.path for copy in found.copies if copy.left_out] == ["carl 2"]


def test_a_contradiction_in_the_source_is_still_an_error() -> None:
    contents = [content("a", "train", ["anna"]), content("b", "test", ["anna"])]
    with pytest.raises(PipelineError, match="group anna"):
        assign(join_near_copies(contents, pictures([["a"], ["b"]])).contents, 0, 0.15, 0.25)


def test_what_looks_all_alike_is_not_grouped() -> None:
    names = [str(number) for number in range(21)]
    contents = [content(name) for name in (*names, "other")]
    found = join_near_copies(contents, pictures([names, ["other"]]))
    assert found.contents == contents
    assert (found.copies, found.crowds) == ([], [21])


@pytest.mark.parametrize("clips", [3, 4])
def test_frames_that_look_alike_tie_few_clips_and_not_many(clips: int) -> None:
    names = [f"clip {number}" for number in range(clips)]
    contents = [replace(content(name, groups=[name]), moment=Moment(name, 0.0)) for name in names]
    found = join_near_copies(contents, pictures([names]))
    assert (len(found.copies), found.crowds) == ((2, []) if clips == 3 else (0, [4]))
    assert len(set(name_groups(found.contents))) == (1 if clips == 3 else 4)
