"""Curves survive a restart, and are written as tables and as a picture."""

import csv
import json
import math
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_pipeline.config import CollapseBounds
from ssl_pipeline.training.curve_picture import draw_curves
from ssl_pipeline.training.curves import CurveFiles, History, read_scalars, write_curves
from ssl_pipeline.types import Finding

BOUNDS = CollapseBounds(min_embedding_std=0.02, min_effective_rank=1.5)


def fill(history, steps):
    for step in steps:
        history.note(step, torch.tensor(10.0 - step), torch.tensor(0.25 * step))
        if step % 2:
            history.close_row(step, {"learning_rate": 0.1 * step})


@pytest.fixture
def history():
    filled = History()
    fill(filled, range(6))
    return filled


def test_a_row_holds_means_since_the_last_one(history):
    assert history.rows[1] == {"step": 3, "loss": 7.5, "gradient_norm": 0.625, "learning_rate": pytest.approx(0.3)}
    assert [row["step"] for row in history.rows] == [1, 3, 5]


@pytest.mark.parametrize("stop", range(1, 6))
def test_a_restart_leaves_no_trace(history, stop):
    before, after = History(), History()
    fill(before, range(stop))
    after.load_state_dict(json.loads(json.dumps(before.state_dict())))
    fill(after, range(stop, 6))
    assert after.rows == history.rows


def test_a_warning_is_said_and_kept_once_whatever_its_figures_and_a_restart_knows_it(capsys):
    first, second = History(), History()
    first.warn(3, [Finding("margin", "the margin is too large (1.9): 99.8% of them"), Finding("few", "too few")])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    second.warn(6, [Finding("margin", "the margin is too large: all of them"), Finding("many", "too many")])
    assert second.warnings == [
        {"step": 3, "kind": "margin", "warning": "the margin is too large (1.9): 99.8% of them"},
        {"step": 3, "kind": "few", "warning": "too few"},
        {"step": 6, "kind": "many", "warning": "too many"},
    ]
    said = capsys.readouterr().err
    assert said.count("warning: the margin is too large") == 1
    assert "pretrain, step 6: warning: too many" in said


def test_they_are_written_as_dvc_reads_them(history, tmp_path, capfd):
    write_curves(history, tmp_path)
    draw_curves(history.rows, tmp_path / "curves.png", BOUNDS)
    assert {path.name for path in tmp_path.iterdir()} == {"details.json", "metrics.json", "curves", "curves.png"}
    assert {path.name for path in (tmp_path / "curves").iterdir()} == {
        "loss.tsv",
        "gradient_norm.tsv",
        "learning_rate.tsv",
    }
    assert table(tmp_path / "curves") == [
        {"step": str(step), "loss": str(loss)} for step, loss in [(1, 9.5), (3, 7.5), (5, 5.5)]
    ]
    assert json.loads((tmp_path / "details.json").read_text()) == history.rows[-1]
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"loss": history.rows[-1]["loss"]}
    with Image.open(tmp_path / "curves.png") as image:
        assert np.asarray(image).std() > 5  # something was drawn
    assert capfd.readouterr().err == ""


def table(folder):
    with (folder / "loss.tsv").open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_they_grow_with_the_run_and_a_restart_forgets_what_was_after_its_checkpoint(history, tmp_path):
    write_curves(history, tmp_path / "whole")
    growing = CurveFiles(tmp_path / "grown", [])
    assert list((tmp_path / "grown").iterdir()) == []
    for number, row in enumerate(history.rows, 1):
        growing.add([row])
        assert [line["step"] for line in table(tmp_path / "grown")] == [
            str(row["step"]) for row in history.rows[:number]
        ]
    (tmp_path / "grown" / "of_another_run.tsv").write_text("step\tof_another_run\n")
    restarted = CurveFiles(tmp_path / "grown", history.rows[:1])
    assert len(table(tmp_path / "grown")) == 1
    restarted.add(history.rows[1:])
    for path in (tmp_path / "whole" / "curves").iterdir():
        assert path.read_bytes() == (tmp_path / "grown" / path.name).read_bytes()
    assert len(list((tmp_path / "grown").iterdir())) == 3


def test_tables_that_are_links_are_not_written_through(history, tmp_path):
    """DVC may keep the tables in its cache, which must not change."""
    kept = tmp_path / "cached"
    kept.write_text("of another run")
    (tmp_path / "curves").mkdir()
    (tmp_path / "curves" / "loss.tsv").hardlink_to(kept)
    write_curves(history, tmp_path)
    assert kept.read_text() == "of another run"
    assert len(table(tmp_path / "curves")) == 3


def test_they_are_written_twice_with_the_same_bytes(history, tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        write_curves(history, tmp_path / name)
        draw_curves(history.rows, tmp_path / name / "curves.png", BOUNDS)
    for path in (tmp_path / "first").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "second" / path.relative_to(tmp_path / "first")).read_bytes()


def test_a_figure_that_is_no_number_at_the_end_is_told_as_none(tmp_path):
    history = History()
    history.close_row(1, {"loss": math.inf, "update_ratio": math.nan, "effective_rank": 2.0})
    write_curves(history, tmp_path)
    assert json.loads((tmp_path / "details.json").read_text()) == {
        "step": 1, "loss": None, "update_ratio": None, "effective_rank": 2.0,
    }  # fmt: skip
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"effective_rank": 2.0}


def test_a_single_row_is_enough(tmp_path):
    single = History()
    single.note(0, torch.tensor(1.0), torch.tensor(1.0))
    single.close_row(1, {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_curves(single.rows, tmp_path / "curves.png", BOUNDS)
    assert (tmp_path / "curves.png").exists()


def test_scalars_are_read_bit_by_bit_and_once_per_type_of_number(monkeypatch):
    scalars = {
        "single": torch.tensor(0.1, requires_grad=True),
        "double": torch.tensor(0.1, dtype=torch.float64),
        "large": torch.tensor(2**53 + 1),
        "half": torch.tensor(0.1, dtype=torch.bfloat16),
        "flag": torch.tensor(True),
        "minus_zero": torch.tensor(-0.0),
        "one_row": torch.tensor([1 / 3]),
        "lost": torch.tensor(math.nan),
    }
    wanted = {name: value.item() for name, value in scalars.items()}
    reads, tolist = [], torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "item", None)
    monkeypatch.setattr(torch.Tensor, "tolist", lambda values: (reads.append(values.dtype), tolist(values))[1])
    found = read_scalars(scalars)
    assert [(name, repr(value)) for name, value in found.items()] == [
        (name, repr(value)) for name, value in wanted.items()
    ]
    assert sorted(map(str, reads)) == [f"torch.{kind}" for kind in ("bfloat16", "bool", "float32", "float64", "int64")]
    assert read_scalars({}) == {}
