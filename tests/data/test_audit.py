"""The audit: each peculiarity of a data set has its sentence, and an ordinary data set needs none."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from ssl_pipeline.data.audit import check_pool, check_rejects, count_splits, warn
from ssl_pipeline.data.near_copies import NearCopies, NearCopy
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.data.splits import Copy
from ssl_pipeline.data.store import IndexRow
from ssl_pipeline.data.writer import SplitSummary
from ssl_pipeline.errors import PipelineError

GREY = (0.5, 0.5, 0.5)
NO_NEAR_COPIES = NearCopies([], [], [])
ORDINARY = SplitSummary(GREY, GREY, spread=50.0, flat=[])


def rows(**numbers: Mapping[str, int]) -> list[IndexRow]:
    """Return rows of an index with the given number of images per label and split."""
    made = []
    for split, labels in numbers.items():
        names = [label for label, number in labels.items() for _ in range(number)]
        made += [IndexRow("00", f"{split}{row}.png", label, split, "", 9, 9, row) for row, label in enumerate(names)]
    return made


def warnings(
    found: Sequence[IndexRow],
    summary: SplitSummary = ORDINARY,
    copies: Sequence[Copy] = (),
    rejects: Mapping[str, RejectedError] | None = None,
    near: NearCopies = NO_NEAR_COPIES,
) -> list[str]:
    return warn(found, count_splits(found), summary, copies, rejects or {}, near)


BALANCED = {"train": {"a": 200, "b": 150, "": 100}, "val": {"a": 20, "b": 20}, "test": {"a": 40, "b": 40}}


def test_counts() -> None:
    assert count_splits(rows(**BALANCED)) == {
        "train": {"images": 450, "labelled": 350, "classes": {"a": 200, "b": 150}},
        "val": {"images": 40, "labelled": 40, "classes": {"a": 20, "b": 20}},
        "test": {"images": 80, "labelled": 80, "classes": {"a": 40, "b": 40}},
    }


def test_ordinary_images_need_no_words() -> None:
    assert warnings(rows(**BALANCED)) == []
    check_pool(count_splits(rows(**BALANCED)), ORDINARY)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"train": {"a": 100, "b": 100}}, "There are only 200 images to pretrain on."),
        ({"train": {"a": 400, "b": 30}}, "The classes are unbalanced: 400 training images of 'a', 30 of 'b'."),
        ({"train": {"a": 400, "b": 150, "c": 4}}, "Fewer than 5 training images have the label 'c'."),
        ({"train": {"a": 400}}, "No training image has the label 'b', which therefore cannot be learned."),
        ({"train": {"a": 400}, "val": {"a": 9}, "test": {"a": 9}}, "There is only one class, 'a':"),
        ({"train": {"": 400}, "val": {"": 9}, "test": {}}, "No image has a label:"),
        ({"test": {"a": 9, "b": 9, "": 5}}, "5 of the 23 test images have no label."),
    ],
)
def test_what_is_unusual_about_labels(changes: Mapping[str, Mapping[str, int]], sentence: str) -> None:
    assert any(line.startswith(sentence) for line in warnings(rows(**BALANCED | changes)))


def test_what_is_unusual_about_pixels() -> None:
    summary = SplitSummary(GREY, GREY, spread=2.0, flat=[7, 8])
    assert warnings(rows(**BALANCED), summary) == [
        "The images barely differ from each other (by 2.0 grey levels of 255).",
        "2 of the 450 training images are almost a single colour, such as train7.png.",
    ]


def test_what_is_unusual_about_files() -> None:
    copies = [
        Copy("x.png", "y.png", "a", "a", "", "", ""),
        Copy("train/x.png", "test/x.png", "a", "b", "train", "test", "label split"),
    ]
    rejects = {"1": RejectedError("broken"), "2": RejectedError("too small", "1 px"), "3": RejectedError("broken", "y")}
    assert warnings(rows(**BALANCED), copies=copies, rejects=rejects) == [
        "3 files are rejected (2 broken, 1 too small): see data/ingested/rejects.csv.",
        "2 files hold the same picture as another file; 1 of them in a different split than the copy that is kept: "
        "see data/ingested/duplicates.csv.",
        "1 picture has copies with conflicting labels, such as test/x.png: kept without a label.",
    ]


@pytest.mark.parametrize(
    ("number", "spread", "refused"), [(1, 50.0, True), (2, 50.0, False), (9, 0.4, True), (9, 0.6, False)]
)
def test_what_nothing_can_be_learned_from(number: int, spread: float, refused: bool) -> None:
    counts = count_splits(rows(train={"": number}, test={"a": 100}))
    summary = SplitSummary(GREY, GREY, spread, [])
    if refused:
        with pytest.raises(PipelineError, match="left to pretrain on|look alike"):
            check_pool(counts, summary)
    else:
        check_pool(counts, summary)


def test_messages_are_short_however_long_the_names_are() -> None:
    rejects = {f"{number}{'x' * 5000}.png": RejectedError("broken") for number in range(50)}
    with pytest.raises(PipelineError, match=r"x … x+.png: broken\n  \.\.\. and 45 more") as caught:
        check_rejects(rejects, 60, 0.1, Path("rejects.csv"))
    assert len(str(caught.value)) < 2000


def test_a_source_without_images_is_said_to_have_none() -> None:
    with pytest.raises(PipelineError, match=r"^ingest\.source: there are no images.*what its open\(\) returns"):
        check_rejects({}, 0, 0.1, Path("rejects.csv"))


def test_near_copies_and_crowds_are_said() -> None:
    copies = [NearCopy("1.png", "2.png", "", "", ""), NearCopy("3.png", "2.png", "train", "test", "yes")]
    first, second = warnings(rows(**BALANCED), near=NearCopies([], copies, [30, 40]))
    assert first == (
        "2 images are near copies of another image (re-encoded or resized), placed in the same split; 1 of them left out, "
        "because the source assigns them to a different split than the images they resemble: see data/ingested/near_copies.csv."
    )
    assert second.startswith(
        "70 images look so much alike (a fixed camera, for example) that they cannot be told from near copies of 2,"
    )
