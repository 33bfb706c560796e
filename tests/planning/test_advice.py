"""What a plan says that no setting makes up for: variants that lack validation images, and few images to learn from."""

import hashlib
import re
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from ssl_pipeline.config import Config, load
from ssl_pipeline.data.layout import Record
from ssl_pipeline.data.splits import assign, merge_copies
from ssl_pipeline.deployment.gate import MIN_IMAGES
from ssl_pipeline.planning.advice import about_variants
from ssl_pipeline.planning.estimate import split_sizes
from ssl_pipeline.planning.evidence import Evidence, _labelling
from ssl_pipeline.planning.words import told_proposal, told_shortly
from tests.planning.test_proposal import LAPTOP, PHOTOS, ROOT, plan


def images(count: int, labelled: int = 0, splits: dict[str, int] | None = None) -> Evidence:
    return replace(PHOTOS, labelling=replace(PHOTOS.labelling, images=count, labelled=labelled, splits=splits or {}))


def params(**changes: Any) -> Config:
    config = load(ROOT / "params.yaml")
    return config.model_copy(update={"export": config.export.model_copy(update=changes)})


@pytest.mark.parametrize(
    ("evidence", "remedy"),
    [
        (images(60), "Add images (about 340 in all are enough)."),
        (images(250), "Add images (about 340 in all are enough), or raise ingest.val_fraction to 0.2."),
        (images(300, 300), "Add images (about 450 in all are enough), or raise ingest.val_fraction to 0.23."),
        (images(9000, 100), "Add labelled images (about 450 in all are enough)."),
        (images(9000, 0, {"val": 20}), "Assign more images to the split val."),
    ],
    ids=["few", "fewer than enough", "with labels", "some labels", "a split of the source"],
)
def test_too_few_validation_images_for_the_gate_are_told_with_what_to_do(evidence: Evidence, remedy: str):
    (told,) = about_variants(params(), evidence)
    expected = split_sizes(evidence.labelling, evidence.usable, 0.15, 0.25)["val"]
    assert told.startswith(f"About {expected:.0f} of the images will be validation images, but the gate for fp16 and ")
    assert told.endswith(f"int8 needs {MIN_IMAGES}, so only the fp32 backbone will ship. {remedy}")


@pytest.mark.parametrize("evidence", [images(60), images(250), images(300, 300)])
def test_what_is_advised_is_enough_and_a_little_less_is_not(evidence: Evidence):
    config = params()
    (told,) = about_variants(config, evidence)
    enough = int(re.findall(r"about ([\d,]+) in all", told)[0])
    labelled = enough if evidence.labelling.labelled else 0
    assert about_variants(config, images(enough, labelled)) == []
    assert about_variants(config, images(enough - 20, labelled and labelled - 20)) != []
    for fraction in map(float, re.findall(r"val_fraction to ([\d.]+\d)", told)):
        larger = config.model_copy(update={"ingest": config.ingest.model_copy(update={"val_fraction": fraction})})
        assert about_variants(larger, evidence) == []


def test_a_gate_that_stops_export_is_told_and_one_without_variants_is_not():
    (told,) = about_variants(params(on_gate_failure="stop", variants=["fp32", "int8"]), images(60))
    assert "the gate for int8 needs" in told
    assert "so export will stop." in told
    assert about_variants(params(variants=["fp32"]), images(60)) == []


def test_plan_and_init_print_the_note_where_images_are_few_only():
    few = replace(images(60), sampled=60)
    for said in (told_proposal(plan(few)), "\n".join(told_shortly(few, LAPTOP, plan(few)))):
        assert len(re.findall(r"Note: About 9 of the images will be validation images.*\n?", said)) == 1
    assert "validation images" not in told_proposal(plan())


def records(sizes: dict[str | None, int], **more: Any) -> list[Record]:
    return [
        Record(f"{label} {number}.png", label=label, **more)
        for label, count in sizes.items()
        for number in range(count)
    ]


@pytest.mark.parametrize(
    "found",
    [
        records({None: 400}),
        records({"a": 200, "b": 100}),
        records({"a": 200, "b": 100, None: 700}),
        records({"a": 120, "b": 80}) + records({"c": 50}, split="test"),
        records({None: 200}) + records({"c": 50}, split="test"),
        records({"a": 200, None: 900}) + records({"b": 60}, split="val"),
    ],
    ids=["no labels", "labels", "some labels", "a test split", "labels in the test split only", "a val split"],
)
def test_expected_sizes_of_splits_are_those_of_ingest(found: list[Record]):
    contents, _ = merge_copies((hashlib.sha256(record.path.encode()).digest(), record) for record in found)
    sides, _ = assign(contents, 0, 0.15, 0.25)
    expected = split_sizes(_labelling(found), len(found), 0.15, 0.25)
    counts = Counter(sides)
    assert {split: counts[split] for split in expected} == pytest.approx(expected, abs=2)
