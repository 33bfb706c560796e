"""What curves reveal: what a collapse is, when it ends a run, and when it does not yet."""

import math

import pytest

from ssl_pipeline.config import CollapseBounds
from ssl_pipeline.health.findings import find
from ssl_pipeline.types import Diagnosed, Finding

BOUNDS = CollapseBounds(min_embedding_std=0.02, min_effective_rank=1.5)
HEALTHY = {"embedding_std": 0.5, "effective_rank": 20.0, "update_ratio": 0.01, "loss": 1.0}
TOTAL, WARMUP = 1000, 100


SMALL = Finding("small", "a small thing")


class Task(Diagnosed):
    """Reports narrow or flat projections, and a small problem."""

    def diagnose(self, figures):
        fatal = [name for name in ("narrow", "flat") if name in figures]
        return [SMALL] * ("small" in figures) + [Finding(name, f"{name}: {figures[name]:g}", True) for name in fatal]


def said(*rows):
    """Return the findings at the last of the rows (step, figures)."""
    return find(Task(), [{"step": step, **HEALTHY, **figures} for step, figures in rows], TOTAL, WARMUP, BOUNDS)


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
    assert found.fatal
    assert found.kind == f"{name} collapse"
    assert found.message.startswith(f"{name} collapse: ")
    assert f"{value:.3g}" in found.message
    for key in ("learning_rate", "batch_size", "temperature", "pretrain.collapse"):
        assert key in found.message


def test_a_step_that_is_too_long_names_the_learning_rate():
    assert said((20, {"update_ratio": 0.15})) == []
    (found,) = said((20, {"update_ratio": 0.23}))
    assert not found.fatal
    assert "the learning rate is too high: a step changes the weights by 23%" in found.message
    assert "pretrain.optimizer.learning_rate" in found.message


def test_collapse_has_to_last():
    assert said((60, {"narrow": 0.1})) == []  # a single row
    assert said((60, {"narrow": 0.1}), (80, {})) == []  # it passed
    assert said((60, {}), (80, {"narrow": 0.1})) == []  # only just begun
    assert said((60, {"narrow": 0.1}), (80, {"narrow": 0.07})) == [Finding("narrow", "narrow: 0.07", fatal=True)]


@pytest.mark.parametrize(
    ("before", "now", "said_now"),
    [
        ({"narrow": 0.1}, {"flat": 0.2}, ["flat"]),
        ({"embedding_std": 0.01}, {"embedding_std": math.nan}, ["complete collapse"]),
        ({"embedding_std": 0.01}, {"effective_rank": 1.1}, ["dimensional collapse"]),
        ({"narrow": 0.1}, {"effective_rank": 1.1, "flat": 0.2}, ["flat", "dimensional collapse"]),
        ({"narrow": 0.1}, {}, []),
        ({"narrow": 0.1}, {"small": 1.0}, ["small"]),
    ],
)
def test_collapse_that_changes_its_kind_has_not_passed(before, now, said_now):
    assert [finding.kind for finding in said((200, before), (220, now))] == said_now


def looks(*rows):
    """Return the findings at the last of the rows (step, figures); the encoder is measured only in rows that say so."""
    unseen = {name: value for name, value in HEALTHY.items() if name not in ("embedding_std", "effective_rank")}
    return find(Task(), [{"step": step, **unseen, **figures} for step, figures in rows], TOTAL, WARMUP, BOUNDS)


def test_an_encoder_that_is_looked_at_now_and_then_has_to_be_collapsed_in_two_looks():
    alike, fine = {"embedding_std": 0.01, "effective_rank": 9.0}, {"embedding_std": 0.5, "effective_rank": 9.0}
    narrow = {"narrow": 0.1}
    assert looks((200, {}), (220, {})) == []
    assert looks((200, alike), (220, {})) == []  # a single measurement
    assert looks((200, fine), (220, {}), (240, alike)) == []
    assert looks((200, alike), (220, {}), (240, fine)) == []  # it passed
    for later in ([], [(260, {})]):  # a finding lasts until the next measurement
        (found,) = looks((200, alike), (220, {}), (240, alike), *later)
        assert found.kind == "complete collapse"
    assert looks((200, alike), (220, narrow)) == [Finding("narrow", "narrow: 0.1", fatal=True)]
    assert looks((200, narrow), (220, {}), (240, narrow)) == []  # row 220 shows that it passed


@pytest.mark.parametrize(("total", "first"), [(1000, 50), (40, 8)])
def test_collapse_is_looked_for_from_a_twentieth_of_the_training_on(total, first):
    rows = [{"step": step, **HEALTHY, "narrow": 0.1} for step in (first - 1, first, first + 1)]
    assert find(Task(), rows[:2], total, WARMUP, BOUNDS) == []
    assert find(Task(), rows, total, WARMUP, BOUNDS) == [Finding("narrow", "narrow: 0.1", fatal=True)]


def test_small_things_wait_for_the_end_of_warmup():
    assert said((90, {"small": 1.0}), (100, {"small": 1.0})) == []
    assert said((101, {"small": 1.0})) == [SMALL]


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({"update_ratio": 9e-7}, "loss stuck: a step changes the weights by 9e-07 of their norm"),
        ({"loss": 0.0}, "loss stuck at 0"),
    ],
)
def test_a_run_that_does_not_move_is_stuck(figures, words):
    (found,) = said((60, figures), (80, figures))
    assert found.fatal
    assert words in found.message
    assert "pretrain." in found.message
    assert said((980, figures), (1000, figures)) == []  # it has learned, or the rate has decayed


def test_a_step_that_was_skipped_says_nothing():
    assert said((60, {"update_ratio": math.nan}), (80, {"update_ratio": math.nan})) == []


def test_a_task_that_is_solved_at_once_is_trivial():
    (found,) = said((100, {"pretext_accuracy": 0.99}))
    assert not found.fatal  # pretrained weights may know the answers
    assert "trivial pretext solution: 99.0% of the answers are right after 10% of the training" in found.message
    assert "augment.views" in found.message
    assert said((100, {"pretext_accuracy": 0.97})) == []
    assert said((100, {"pretext_accuracy": math.nan})) == []
    assert said((110, {"pretext_accuracy": 0.99})) == []  # learning took some time


def test_a_task_that_says_itself_why_it_is_easy_is_not_called_trivial():
    figures = {"pretext_accuracy": 0.99, "small": 1.0}
    assert said((90, figures)) == []
    assert said((101, figures)) == [SMALL]
