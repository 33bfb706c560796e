"""The evaluation of texts, on invented embeddings."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score

from ssl_pipeline.config import LinearEvalConfig
from ssl_pipeline.data.image_spec import RGB8
from ssl_pipeline.data.labelled import Labelled
from ssl_pipeline.data.store import Split
from ssl_pipeline.evaluation.retrieval.inputs import Captioned, TextInputs, Towers, captioned
from ssl_pipeline.evaluation.retrieval.ranks import pair
from ssl_pipeline.evaluation.retrieval.study import OURS, retrieval_figures, study_texts
from tests.factories import digits_store, spelled_out

CLASSES = ("circle", "cross", "square", "star")
SETTINGS = LinearEvalConfig.model_validate(
    {
        "seed": 0,
        "strengths": [1.0],
        "knn": {"k": 1, "temperature": 0.1},
        "bootstrap": 100,
        "rivals": [],
        "clusters": {"images": 2, "runs": 2, "view": "plain"},
        "prompts": ["a {}", "{}"],
    }
)


def images(count: int, start: int = 0) -> Labelled:
    """Return images that encode their numbers, in four classes and in groups of two."""
    numbers = np.arange(start, start + count)
    pixels = np.broadcast_to(numbers[:, None, None, None] % 251, (count, 8, 8, 3)).astype(np.uint8)
    split = Split("test", 8, numbers.astype(np.uint64), (0.5,) * 3, (0.2,) * 3, "", (pixels,), spec=RGB8)
    return Labelled(split, np.arange(count), numbers % 4, numbers // 2)


def told(number: int) -> tuple[str, ...]:
    """Return the caption of an image, which names its class and its group."""
    return (f"a {CLASSES[number % 4]} of group {number // 2}",)


def by_number(pixels: np.ndarray) -> np.ndarray:
    """Recognise the class and the group of an image, with an error for every fifth image."""
    numbers = pixels[:, 0, 0, 0].astype(np.int64)
    seen = np.where(numbers % 5 == 4, numbers + 1, numbers)
    return np.hstack([np.eye(4)[seen % 4], np.eye(80)[seen // 2]]).astype(np.float32)


def by_words(texts: Sequence[str]) -> np.ndarray:
    """Read the class and the group from a text."""
    rows = np.zeros((len(texts), 84), np.float32)
    for row, text in zip(rows, texts, strict=True):
        words = text.split()
        row[:4] = [name in words for name in CLASSES]
        if words[-1].isdigit():
            row[4 + int(words[-1])] = 1
    return rows


def nothing(asked: Sequence[object]) -> np.ndarray:
    return np.ones((len(asked), 84), np.float32)


def inputs(test: Labelled, captions: Sequence[tuple[str, ...]]) -> TextInputs:
    learned = images(40, start=100)
    return TextInputs(
        by_words,
        Towers(nothing, nothing),
        Captioned(learned, [told(number) for number in range(100, 140)]),
        Captioned(test, captions),
    )


def test_retrieval_is_measured_both_ways_beside_baselines_and_chance(tmp_path: Path):
    test = images(40)
    found = study_texts(SETTINGS, by_number, inputs(test, [told(number) for number in range(40)]), test, CLASSES)
    figures = found.figures["retrieval"]
    assert {name: figures[name] for name in ("split", "images", "texts", "captions", "groups")} == {
        "split": "test",
        "images": 40,
        "texts": 40,
        "captions": 40,
        "groups": 20,
    }
    right = np.mean([number % 5 != 4 for number in range(40)])
    to_texts, to_images = figures["image_to_text"], figures["text_to_image"]
    assert to_texts["towers"]["recall_at_1"] == pytest.approx(right)
    chance = {"recall_at_1": 1 / 40, "recall_at_5": 5 / 40, "recall_at_10": 0.25, "median_rank": 20}
    assert to_texts["chance"] == pytest.approx(chance)
    assert to_images["random_towers"]["median_rank"] == 40
    assert to_texts["random_towers"]["gain_at_1_low"] > 0.3
    # it knows only the class, which ten of the test's captions share; of equal candidates, wrong ones come first
    assert to_texts["bag_of_words"]["recall_at_5"] == 0
    assert to_texts["bag_of_words"]["recall_at_10"] == pytest.approx(right)
    assert found.headline["image_to_text"] == to_texts["towers"]["recall_at_1"]
    said = "\n".join(found.lines)
    assert "retrieval among 40 test images in 20 groups with 40 different captions" in said
    assert "images to texts, the exported towers: R@1 80.0% [" in said
    (draw,) = found.pictures
    draw(tmp_path)
    with Image.open(tmp_path / "retrieval.png") as picture:
        drawn = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    assert (drawn == (0, 158, 115)).all(axis=1).sum() > 200  # frames and letters of right answers


def test_a_text_of_several_images_is_asked_for_once_for_each():
    pairs = pair([("a dog",), ("a dog", "a puppy"), ("a cat",)])
    space = np.eye(3)[[0, 0, 2]], np.eye(3)
    found = retrieval_figures({OURS: space}, pairs, np.arange(3), 100, 0)
    assert (found["captions"], found["texts"]) == (4, 3)
    # of the four, only the puppy is not found first
    assert found["text_to_image"][OURS]["recall_at_1"] == 0.75
    assert found["text_to_image"]["chance"]["recall_at_1"] == pytest.approx((2 / 3 + 2 / 3 + 1 / 3 + 1 / 3) / 4)


def test_zero_shot_is_the_accuracy_of_the_class_that_is_nearest():
    test = images(41)
    found = study_texts(SETTINGS, by_number, inputs(test, []), test, CLASSES)
    assert "retrieval" not in found.figures
    figures = found.figures["zero_shot"]
    predicted = [(number + (number % 5 == 4)) % 4 for number in range(41)]
    assert figures["accuracy"] == pytest.approx(accuracy_score(test.labels, predicted))
    assert figures["majority"]["accuracy"] == pytest.approx(11 / 41)
    assert figures["random_towers"]["accuracy"] == pytest.approx(11 / 41)  # always the first class
    assert figures["majority"]["gain_accuracy_low"] > 0.1
    assert (figures["chance"], figures["prompts"]) == (0.25, ["a {}", "{}"])
    assert found.headline == {"zero_shot": figures["accuracy"]}
    assert "by the names of 4 classes, with 2 prompts each: " in found.lines[0]
    assert found.pictures == []


def test_without_labels_or_with_one_class_there_is_no_zero_shot_and_without_a_text_tower_nothing():
    test = images(8)
    captions = [told(number) for number in range(8)]
    for labelled, classes in ((test.subset(np.arange(0)), CLASSES), (test, ("circle",))):
        assert "zero_shot" not in study_texts(SETTINGS, by_number, inputs(test, captions), labelled, classes).figures
    found = study_texts(SETTINGS, by_number, None, test, CLASSES)
    assert (found.figures, found.headline, found.lines, found.pictures) == ({}, {}, (), ())


def test_images_with_captions_are_taken_from_the_store_evenly(tmp_path: Path):
    digits_store(tmp_path, {"train": 30, "val": 10, "test": 20}, captions=spelled_out)
    all_of_them = captioned(tmp_path, "train", 100)
    assert all_of_them.images.rows.tolist() == [row for row in range(30) if row % 7 != 6]
    assert all_of_them.captions[:2] == [("a handwritten zero",), ("a handwritten one",)]
    assert all_of_them.captions[4] == ("a handwritten four", "the number four")
    assert (all_of_them.images.labels >= 0).all()
    assert captioned(tmp_path, "train", 3).images.rows.tolist() == [0, 14, 29]
    digits_store(tmp_path, {"train": 30, "val": 10, "test": 20})
    assert captioned(tmp_path, "test", 100).captions == []
