"""A planted shortcut is found, and nothing is reported where embeddings reveal nothing."""

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from ssl_pipeline.curation.catalogue import Catalogue
from ssl_pipeline.curation.finding import Seen
from ssl_pipeline.curation.label_study import study_shortcuts
from ssl_pipeline.curation.near_duplicates import find_near_duplicates
from ssl_pipeline.curation.neighbourhood import look_around
from ssl_pipeline.data.store import IndexRow

DIGITS = load_digits()
PIXELS = (DIGITS.data[:600] / 16).astype(np.float32)
BRIGHT = PIXELS.mean(axis=1) > np.median(PIXELS.mean(axis=1))


def shortcuts(**told: list[Any]) -> dict[str, dict[str, float]]:
    """Return the figures of digits whose embeddings are their pixels; `told` gives index fields of each digit."""
    rows = [
        IndexRow(f"{number}", f"{number}.png", f"{DIGITS.target[number]}", "train", "", 8, 8, number)._replace(
            **{name: values[number] for name, values in told.items()}
        )
        for number in range(600)
    ]
    catalogue = Catalogue(tuple(rows), (), PIXELS / np.linalg.norm(PIXELS, axis=1, keepdims=True))
    around = look_around(catalogue.embeddings, catalogue.groups)
    seen = Seen(catalogue, around, find_near_duplicates(around, catalogue.near_copies))
    found = study_shortcuts(seen, 0)
    apart = [line for line in found.lines if " no better than chance: " in line]
    revealed = [line.split(" predict ")[1].split(" for ")[0] for line in found.lines if line not in apart]
    at_chance = [name for line in apart for name in line.split("chance: ")[1].split(", ")]
    assert sorted([*revealed, *at_chance]) == sorted(found.figures)
    assert at_chance == [name for name, figures in found.figures.items() if abs(figures["told"]) < 0.15]
    assert len(apart) <= 1
    return found.figures


@pytest.mark.parametrize(
    ("name", "field", "values"),
    [
        ("the camera", "camera", {True: "Canon EOS 80D", False: "NIKON D90"}),
        ("the size in bytes", "file_bytes", {True: 9000, False: 4000}),
        ("the date of capture", "taken", {True: "2019-05-03T12:00:00", False: "2021-01-01T00:00:00"}),
    ],
)
def test_a_camera_that_goes_with_the_brightness_is_found(name: str, field: str, values: dict[bool, Any]):
    told = shortcuts(**{field: [values[bool(bright)] for bright in BRIGHT]})
    assert list(told) == [name]
    assert told[name]["accuracy"] > 0.8 > told[name]["by_label"] > told[name]["chance"]


def test_chance_has_no_shortcut():
    drawn = np.random.default_rng(0).permutation(BRIGHT)
    told = shortcuts(
        camera=["one" if number else "other" for number in drawn],
        file_bytes=[9000 if bright else 4000 for bright in BRIGHT],
        taken=["2019-05-03T12:00:00" if number else "2021-01-01T00:00:00" for number in drawn[::-1]],
    )
    assert list(told) == ["the size in bytes", "the camera", "the date of capture"]
    assert [abs(figures["told"]) < 0.15 for figures in told.values()] == [False, True, True]


@pytest.mark.parametrize("known", [600, 300, 5], ids=["all", "half", "few"])
def test_nothing_is_said_of_what_is_constant_or_missing(known: int):
    there = [number < known for number in range(600)]
    assert (
        shortcuts(
            camera=["Canon EOS 80D" if is_there else "" for is_there in there],
            file_bytes=[4000 if is_there else 0 for is_there in there],
            taken=["2019-05-03T12:00:00" if is_there else "" for is_there in there],
        )
        == {}
    )
