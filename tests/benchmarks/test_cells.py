"""Lines that several processes append to one file, and intervals over seeds and groups."""

import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from benchmarks.cells import Cell, append, crossed, read, undone
from benchmarks.emoji_text_page import asked
from benchmarks.tracks_time_page import MEASURES, table


def _append_many(path: Path, seed: int) -> None:
    for number in range(20):
        append(path, {"arm": "a", "seed": seed, "number": number, "filler": "x" * 20_000})


def test_lines_of_several_processes_are_whole(tmp_path):
    path = tmp_path / "lines.jsonl"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_append_many, args=(path, seed)) for seed in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found = [(line["seed"], line["number"]) for line in read(path)]
    assert sorted(found) == [(seed, number) for seed in range(3) for number in range(20)]


def test_a_line_that_was_cut_off_spoils_no_other_and_its_cell_is_undone(tmp_path):
    path = tmp_path / "lines.jsonl"
    append(path, {"arm": "a", "seed": 0, "epochs": 2})
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"arm": "a", "seed": 1, "epochs": 2})[:-3])
    append(path, {"arm": "b", "seed": 0, "epochs": 2})
    append(path, {"arm": "b", "seed": 1, "epochs": 3})  # same cell with another setting
    assert list(undone(path, ["a", "b"], [0, 1], {"epochs": 2})) == [Cell("a", 1), Cell("b", 1)]


def test_an_interval_is_that_of_independent_groups_and_of_seeds():
    random = np.random.default_rng(0)
    of_groups, of_seeds = random.normal(size=400), np.linspace(-1, 1, 21)
    groups = np.repeat(np.arange(400), 5)  # five identical queries per group
    value, low, high = crossed(of_groups.repeat(5)[None], groups)
    assert value == pytest.approx(of_groups.mean())
    assert high - low == pytest.approx(2 * 1.96 * of_groups.std() / 20, rel=0.1)
    value, low, high = crossed(of_seeds[:, None] + np.zeros((1, 2000)), groups)
    assert high - low == pytest.approx(2 * 1.96 * of_seeds.std() / 21**0.5, rel=0.1)


def test_classes_count_alike_however_many_groups_they_have():
    values, classes = np.array([[1.0, 1, 1, 0]]), np.array([0, 0, 0, 1])
    assert crossed(values, np.arange(4), classes) == (0.5, 0.5, 0.5)


def test_gains_are_taken_between_runs_of_the_same_seed():
    def line(arm: str, seed: int, share: float) -> dict[str, object]:
        right = {measure: [share, share] for measure in MEASURES}
        return {"arm": arm, "seed": seed, "classes": [0, 1], "right": right}

    rows = table([line("simclr", 0, 0.1), line("simclr", 1, 0.5), line("other", 1, 0.6), line("other", 2, 0.9)])
    assert "| `other` over `simclr` | 1 | +10.0% (+10.0% to +10.0%) |" in rows[-1]


def test_ranks_of_an_arm_are_gathered_by_seed():
    def line(arm: str, seed: int) -> dict[str, object]:
        parts = {"groups": {"partners": [0, 1]}, "candidates": {"partners": 9}, "chance": {"partners": {}}}
        return {"arm": arm, "seed": seed, "ranks": {"partners": {"images": [seed, 2]}}, **parts}

    found = asked([line("clip", 3), line("clip", 4), line("simclr", 3)], "partners")
    assert {seed: ranks.tolist() for seed, ranks in found.ranks["clip", "images"].items()} == {3: [3, 2], 4: [4, 2]}
