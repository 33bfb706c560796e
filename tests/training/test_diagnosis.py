"""What the curves say: what is a collapse, when it ends a run, and when it does not yet."""

import math

import pytest

from ssl_pipeline.config import CollapseBounds
from ssl_pipeline.training.curves import History
from ssl_pipeline.training.diagnosis import diagnose, report
from ssl_pipeline.training.monitors import DivergedError
from ssl_pipeline.types import Collapse

BOUNDS = CollapseBounds(min_embedding_std=0.02, min_effective_rank=1.2)
HEALTHY = {"embedding_std": 0.5, "effective_rank": 20.0, "update_ratio": 0.01, "loss": 1.0}
TOTAL, WARMUP = 1000, 100


class Task:
    """Finds a projection that is too narrow, and a small thing."""

    def diagnose(self, figures):
        narrow = figures.get("narrow")
        return ["a small thing"] * ("small" in figures) + ([] if narrow is None else [Collapse(f"narrow: {narrow:g}")])


def said(*rows):
    """What is said at the last of some rows (step, figures)."""
    return diagnose(Task(), [{"step": step, **HEALTHY, **figures} for step, figures in rows], TOTAL, WARMUP, BOUNDS)


def test_of_a_healthy_run_nothing_is_said():
    assert said((300, {}), (320, {})) == []


@pytest.mark.parametrize(
    ("figure", "value", "name"),
    [
        ("embedding_std", 0.01, "complete"),
        ("embedding_std", math.nan, "complete"),
        ("effective_rank", 1.1, "dimensional"),
        ("effective_rank", math.nan, "dimensional"),
    ],
)
def test_an_encoder_collapses_after_warmup_only(figure, value, name):
    assert said((100, {figure: value})) == []
    (found,) = said((101, {figure: value}))
    assert isinstance(found, Collapse)
    assert found.startswith(f"{name} collapse: ")
    assert f"{value:.3g}" in found
    for key in ("learning_rate", "batch_size", "temperature", "pretrain.collapse"):
        assert key in found


def test_a_step_that_is_too_long_names_the_learning_rate():
    assert said((20, {"update_ratio": 0.15})) == []
    (found,) = said((20, {"update_ratio": 0.23}))
    assert not isinstance(found, Collapse)
    assert "the learning rate is too high: a step moves the weights by 23%" in found
    assert "pretrain.optimizer.learning_rate" in found


def test_collapse_has_to_last():
    assert said((60, {"narrow": 0.1})) == []  # a single row
    assert said((60, {"narrow": 0.1}), (80, {})) == []  # it passed
    assert said((60, {}), (80, {"narrow": 0.1})) == []  # not yet
    assert said((60, {"narrow": 0.1}), (80, {"narrow": 0.07})) == ["narrow: 0.07"]


@pytest.mark.parametrize(("total", "first"), [(1000, 50), (40, 8)])
def test_collapse_is_looked_for_from_a_twentieth_of_the_training_on(total, first):
    rows = [{"step": step, **HEALTHY, "narrow": 0.1} for step in (first - 1, first, first + 1)]
    assert diagnose(Task(), rows[:2], total, WARMUP, BOUNDS) == []
    assert diagnose(Task(), rows, total, WARMUP, BOUNDS) == ["narrow: 0.1"]


def test_small_things_wait_for_the_end_of_warmup():
    assert said((90, {"small": 1.0}), (100, {"small": 1.0})) == []
    assert said((101, {"small": 1.0})) == ["a small thing"]


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({"update_ratio": 9e-7}, "loss stuck: a step moves the weights by 9e-07 of their length"),
        ({"loss": 0.0}, "loss stuck at 0"),
    ],
)
def test_a_run_that_does_not_move_is_stuck(figures, words):
    (found,) = said((60, figures), (80, figures))
    assert isinstance(found, Collapse)
    assert words in found
    assert "pretrain." in found
    assert said((980, figures), (1000, figures)) == []  # the learning rate has come to its end


@pytest.mark.parametrize("figure", ["pretext_accuracy", "explained"])
def test_a_task_that_is_solved_at_once_is_trivial(figure):
    (found,) = said((80, {figure: 0.985}), (100, {figure: 0.99}))
    assert isinstance(found, Collapse)
    assert "trivial pretext solution: 99.0% of the answers are right after 10% of the training" in found
    assert "augment.views" in found
    assert said((80, {figure: 0.97}), (100, {figure: 0.97})) == []
    assert said((180, {figure: 0.99}), (200, {figure: 0.99})) == []  # it took its time


def test_stop_ends_the_run_and_warn_does_not(capsys):
    troubles = ["a small thing", Collapse("complete collapse: all alike.")]
    with pytest.raises(
        DivergedError, match=r"(?s)^step 7: complete collapse.*pretrain\.on_collapse: warn.*checkpoints"
    ):
        report(History(), 7, troubles, "stop")
    history = History()
    report(history, 7, troubles, "warn")
    assert [found["warning"] for found in history.warnings] == troubles
    assert "step 7: warning: complete collapse" in capsys.readouterr().err
    report(history := History(), 7, troubles[:1], "stop")
    assert len(history.warnings) == 1
