"""What the curves say: what is a collapse, when it ends a run, and when it does not yet."""

import math

import matplotlib.image
import pytest

from ssl_pipeline.config import CollapseBounds
from ssl_pipeline.training.curves import History, kind_of
from ssl_pipeline.training.diagnosis import diagnose, report
from ssl_pipeline.training.monitors import CollapsedError
from ssl_pipeline.types import Collapse

BOUNDS = CollapseBounds(min_embedding_std=0.02, min_effective_rank=1.5)
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
    assert said((90, {figure: value}), (100, {figure: value})) == []
    assert said((90, {figure: value}), (101, {figure: value})) == []
    (found,) = said((101, {figure: value}), (110, {figure: value}))
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
    assert said((980, figures), (1000, figures)) == []  # it has learned, or the learning rate has come to its end


def test_a_step_that_was_skipped_says_nothing():
    assert said((60, {"update_ratio": math.nan}), (80, {"update_ratio": math.nan})) == []


def test_a_task_that_is_solved_at_once_is_trivial():
    (found,) = said((100, {"pretext_accuracy": 0.99}))
    assert not isinstance(found, Collapse)  # pretrained weights may know the answers
    assert "trivial pretext solution: 99.0% of the answers are right after 10% of the training" in found
    assert "augment.views" in found
    assert said((100, {"pretext_accuracy": 0.97})) == []
    assert said((100, {"pretext_accuracy": math.nan})) == []
    assert said((110, {"pretext_accuracy": 0.99})) == []  # it took its time


def test_a_task_that_says_itself_why_it_is_easy_is_not_called_trivial():
    figures = {"pretext_accuracy": 0.99, "small": 1.0}
    assert said((90, figures)) == []
    assert said((101, figures)) == ["a small thing"]


class Started:
    """What of a run is needed to report."""

    def __init__(self, folder):
        self.history, self.saved, self.folder = History(), [], folder
        self.history.close_row(7, HEALTHY)

    def save(self, steps):
        self.saved.append(steps)


def test_stop_ends_the_run_with_a_checkpoint_a_picture_and_all_that_was_found(tmp_path):
    run = Started(tmp_path)
    troubles = ["a small thing", Collapse("complete collapse: all alike."), Collapse("loss stuck: it is.")]
    words = r"(?s)^step 7: complete.*\nloss stuck.*curves\.png shows.*pretrain\.on_collapse: warn"
    with pytest.raises(CollapsedError, match=words):
        report(run, 9, troubles, "stop")  # from a checkpoint of two steps later
    assert [found["warning"] for found in run.history.warnings] == ["a small thing"]
    assert run.saved == [9]
    assert matplotlib.image.imread(tmp_path / "curves.png").std() > 0.01


def test_warn_lets_it_go_on(capsys, tmp_path):
    run = Started(tmp_path)
    report(run, 7, ["a small thing", Collapse("complete collapse: all alike.")], "warn")
    assert [found["warning"] for found in run.history.warnings] == ["a small thing", "complete collapse: all alike."]
    assert {type(found["warning"]) for found in run.history.warnings} == {str}  # which a checkpoint can be read with
    assert "step 7: warning: complete collapse" in capsys.readouterr().err
    assert run.saved == []


def test_a_thing_is_said_once_whatever_its_figures():
    assert kind_of("narrow: 0.0001 of 3") == kind_of("narrow: 1e-05 of 12.5")
    assert kind_of("narrow: 0.1") != kind_of("flat: 0.1")
