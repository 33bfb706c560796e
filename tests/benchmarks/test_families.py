"""The table of families: a row that is measured again is replaced, and each row says why a network got no further."""

from typing import Any

import pytest

from benchmarks.families import FAMILIES, into_table, pass_through, row, summary

EQUAL = {"model": "resnet18", "reached": "equal", "size": 64, "dim": 512, "MB": 44.7, "seconds": 7.5}
GATE = {"mean_cosine": 0.9991, "recall": 0.957, "size": 0.26}
SHIPS = {"ships": True, "broken": [], "made": {"activations": "static"}, "gate": GATE}
BROKEN = {
    **SHIPS,
    "ships": False,
    "broken": ["min_recall: 0.6, bound 0.9, missed by 0.3", "max_size: 0.5, bound 0.4"],
}
UNWRITTEN = {"ships": False, "broken": ["cannot write this backbone as int8:\nno Einsum"]}


@pytest.mark.slow
@pytest.mark.parametrize(("model", "activations"), [("test_resnet", "static"), ("test_vit", "dynamic")])
def test_a_tiny_network_of_a_family_passes_through(model: str, activations: str):
    """It is built, takes a step, is exported, equals torch and becomes int8; `make bench-long` tries large ones."""
    *_, found = pass_through(model)
    assert (found["reached"], found["size"]) == ("equal", 64)
    assert 0 < found["max_difference"] < 1e-4
    assert found["int8"]["made"]["activations"] == activations
    assert found["int8"]["gate"]["mean_cosine"] > 0.9


@pytest.mark.parametrize(
    ("found", "end"),
    [
        (EQUAL | {"int8": SHIPS}, "| yes | static | 0.999 | 0.957 | 0.260 | yes |"),
        (EQUAL | {"int8": BROKEN}, "| yes | static | 0.999 | 0.957 | 0.260 | recall, size |"),
        (EQUAL | {"int8": UNWRITTEN}, "| yes |  |  |  |  | cannot write this backbone as int8: no Einsum |"),
        (EQUAL | {"reason": "took more than 300 s"}, "| yes | took more than 300 s |  |  |  |  |"),
        (EQUAL | {"reached": "exported", "max_difference": 0.1}, "| 0.1 | no |  |  |  |  |  |"),
        ({"model": "resnet18", "reached": "built", "reason": "no"}, "| built, no further: no |  |  |  |  |  |"),
    ],
)
def test_a_row_says_how_far_a_network_came(found: dict[str, Any], end: str):
    line = row("ResNet", found)
    assert line.startswith("| ResNet | `timm/resnet18` |")
    assert line.endswith(end)
    assert line.count("|") == 14


def test_a_row_measured_again_takes_its_own_place(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Before\n\n| family | network |\n|---|---|\n| ResNet | old |\n| ViT | kept |\n", encoding="utf-8")
    into_table(page, "ViT", row("ViT", EQUAL))
    into_table(page, "DenseNet", "| DenseNet | new |")
    lines = page.read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["# Before", ""]
    assert [line.split("|")[1].strip() for line in lines[4:]] == ["ResNet", "DenseNet", "ViT"]
    assert lines[4] == "| ResNet | old |"
    assert "kept" not in lines[-1]


def test_the_summary_counts_what_is_equal_what_runs_and_what_ships():
    reached = [
        EQUAL | {"int8": SHIPS},
        EQUAL | {"int8": BROKEN},
        *[EQUAL | {"int8": UNWRITTEN}] * 2,
        {"reached": "built"},
    ]
    assert summary(reached) == {"equal": 4, "int8": 2, "int8_ships": 1}
    assert len(FAMILIES) == 23
