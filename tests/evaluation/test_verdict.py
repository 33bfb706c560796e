"""What is said of outcomes, and how sure it is."""

import numpy as np
import pytest
from scipy import stats

from ssl_pipeline.evaluation.budget_picture import draw_budgets
from ssl_pipeline.evaluation.label_budgets import ARMS, Outcome
from ssl_pipeline.evaluation.verdict import Estimate, estimate, judge, metrics, overall, sentence

IMAGES = 400


def outcomes(**budgets):
    """Outcomes of 5 draws: budget -> shares of test images told right by probe, finetune and scratch."""
    generator, found = np.random.default_rng(0), []
    for budget, shares in budgets.items():
        lots = generator.random((5, IMAGES))  # an easy image is easy for every arm
        for arm, share in zip(ARMS, shares, strict=True):
            for draw in range(5):
                correct = lots[draw] < share + 0.01 * draw
                name = "all" if budget == "all" else int(budget.removeprefix("k"))
                found.append(Outcome(name, 50, arm, draw, 0.1, correct, float(correct.mean())))
    return found


def test_where_only_draws_differ_it_is_student_s_interval_of_their_means():
    means = np.array([0.6, 0.7, 0.65, 0.8, 0.75])
    found = estimate(np.repeat(means[:, None], 50, axis=1))
    low, high = stats.t.interval(0.95, 4, loc=means.mean(), scale=stats.sem(means))
    assert (found.mean - found.margin, found.mean + found.margin) == pytest.approx((low, high))


def test_where_only_images_differ_it_is_student_s_interval_over_images():
    correct = np.random.default_rng(0).random(300) < 0.8
    found = estimate(np.repeat(correct[None], 5, axis=0).astype(int))
    low, high = stats.t.interval(0.95, 299, loc=correct.mean(), scale=stats.sem(correct))
    assert (found.mean - found.margin, found.mean + found.margin) == pytest.approx((low, high))


def test_no_doubt_has_no_width():
    assert estimate(np.ones((5, 30))) == Estimate(1.0, 0.0)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """Draws, images and their combination all vary; the mean of all is 0.5."""
    generator, hits = np.random.default_rng(1), 0
    for _ in range(600):
        draws, images = generator.normal(0, 0.05, (5, 1)), generator.normal(0, 0.4, (1, 60))
        found = estimate(0.5 + draws + images + generator.normal(0, 0.2, (5, 60)))
        hits += abs(found.mean - 0.5) <= found.margin
    assert 0.935 <= hits / 600 <= 0.995


def test_a_paired_difference_is_surer_than_its_sides():
    (verdict,) = judge(outcomes(k5=(0.7, 0.8, 0.75)))
    assert verdict.over_scratch.mean == pytest.approx(0.05, abs=0.02)
    assert verdict.over_scratch.margin < 0.7 * verdict.accuracy["scratch"].margin
    assert verdict.over_probe.mean == pytest.approx(verdict.accuracy["finetune"].mean - verdict.accuracy["probe"].mean)


@pytest.mark.parametrize(
    ("mean", "margin", "sign"), [(0.1, 0.05, 1), (-0.1, 0.05, -1), (0.05, 0.1, 0), (0.1, 0.1, 0), (0.0, 0.0, 0)]
)
def test_a_difference_counts_if_its_interval_does_not_hold_zero(mean, margin, sign):
    assert Estimate(mean, margin).sign == sign


def test_the_sentence_says_both_figures_the_difference_and_what_follows():
    verdict = judge(outcomes(k5=(0.7, 0.8, 0.6)))[0]
    line = sentence(verdict)
    tuned, scratch = (100 * verdict.accuracy[arm].mean for arm in ("finetune", "scratch"))
    assert line.startswith(f"With 5 labels per class: {tuned:.1f} ± ")
    assert f" % against {scratch:.1f} ± " in line
    assert f"(difference {tuned - scratch:+.1f} ± " in line
    assert "pretraining helped. Frozen probe: " in line
    assert "with 1 label per class" in sentence(judge(outcomes(k1=(0.7, 0.8, 0.6)))[0]).lower()
    assert "no clear difference" in sentence(judge(outcomes(k5=(0.7, 0.8, 0.8)))[0])
    assert "it hurt" in sentence(judge(outcomes(k5=(0.7, 0.6, 0.8)))[0])


@pytest.mark.parametrize(
    ("budgets", "expected"),
    [
        ({"k1": (0.5, 0.8, 0.5), "k5": (0.5, 0.8, 0.5)}, "Pretraining helped with 1 and 5 labels per class."),
        (
            {"k1": (0.5, 0.8, 0.5), "k5": (0.5, 0.8, 0.8), "all": (0.5, 0.6, 0.9)},
            "Pretraining helped with 1 label per class, made no clear difference with 5 labels per class, hurt with all labels.",
        ),
        (
            {"k5": (0.5, 0.8, 0.8), "all": (0.9, 0.8, 0.8)},
            "Pretraining did not help: no clear difference from training from scratch with any number of labels.",
        ),
        (
            {"k5": (0.5, 0.5, 0.8), "all": (0.9, 0.8, 0.8)},
            "Pretraining did not help: it hurt with 5 labels per class, made no clear difference with all labels.",
        ),
        ({"k5": (0.5, 0.5, 0.8)}, "Pretraining did not help: it hurt with 5 labels per class."),
    ],
)
def test_the_overall_verdict_is_as_plain_where_pretraining_did_not_help(budgets, expected):
    assert overall(judge(outcomes(**budgets))) == expected


def test_metrics_are_the_verdicts_figures():
    found = outcomes(k5=(0.7, 0.8, 0.6), all=(0.8, 0.9, 0.9))
    figures = metrics(judge(found))
    assert figures["labelled"] is True
    assert list(figures["budgets"]) == ["5", "all"]
    scratch = [one.accuracy for one in found if one.arm == "scratch" and one.budget == 5]
    assert figures["budgets"]["5"]["scratch"]["accuracy"] == pytest.approx(np.mean(scratch))
    assert figures["budgets"]["5"]["over_scratch"]["difference"] == pytest.approx(0.2, abs=0.03)


def test_the_picture_is_drawn_and_its_bytes_depend_on_the_figures_alone(tmp_path):
    verdicts = judge(outcomes(k1=(0.5, 0.6, 0.4), all=(0.8, 0.9, 0.9)))
    for name in ("a.png", "b.png"):
        draw_budgets(verdicts, 10, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").stat().st_size > 10_000
