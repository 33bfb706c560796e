"""What is concluded from outcomes, and how certain it is."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes

from ssl_pipeline.evaluation.budgets.budget_picture import draw_budgets
from ssl_pipeline.evaluation.budgets.budget_report import conclusion
from ssl_pipeline.evaluation.budgets.budget_verdicts import Verdict, judge_budgets, metrics, overall, sentence
from ssl_pipeline.evaluation.budgets.outcome import ARMS, Outcome
from ssl_pipeline.evaluation.statistics.estimates import gain
from ssl_pipeline.evaluation.statistics.intervals import Interval

IMAGES = 400
GROUPS = np.arange(IMAGES)


def outcomes(encoders: int = 1, **budgets: tuple[float, ...]) -> list[Outcome]:
    """Return outcomes of 5 draws.

    `budgets` maps a budget to the shares of test images that probe, finetune, random, scratch and start classify
    correctly.
    """
    generator, found = np.random.default_rng(0), []
    for budget, shares in budgets.items():
        lots = generator.random((5, IMAGES))  # an easy image is easy for every arm
        for arm, share in zip(ARMS, shares, strict=False):
            for encoder in range(encoders if arm in ("probe", "finetune") else 1):
                for draw in range(5):
                    correct = lots[draw] < share + 0.01 * draw
                    name = "all" if budget == "all" else int(budget.removeprefix("k"))
                    found.append(Outcome(name, 50, arm, encoder, draw, 0.1, correct, float(correct.mean())))
    return found


def verdicts(**budgets: tuple[float, ...]) -> list[Verdict]:
    return judge_budgets(outcomes(**budgets), GROUPS)


HELPED, SAME, HURT = (0.5, 0.8, 0.5, 0.5), (0.8, 0.8, 0.8, 0.8), (0.5, 0.6, 0.9, 0.5)
HEAD_ALONE = (0.5, 0.8, 0.6, 0.8)  # better than random weights, but not than training from scratch


def width(found: Interval) -> float:
    return found.high - found.low


def test_a_paired_difference_is_surer_than_its_sides():
    (verdict,) = verdicts(k5=(0.7, 0.8, 0.75, 0.7))
    assert verdict.gains["random"].mean == pytest.approx(0.05, abs=0.02)
    assert verdict.gains["random"].margin < 0.7 * width(verdict.accuracy["random"]) / 2
    means = {arm: found.value for arm, found in verdict.accuracy.items()}
    assert {arm: found.mean for arm, found in verdict.gains.items()} == pytest.approx(
        {arm: means["finetune"] - mean for arm, mean in means.items() if arm != "finetune"}
    )


@pytest.mark.parametrize(("shares", "finding"), [(HELPED, 1), (SAME, 0), (HURT, -1), (HEAD_ALONE, 0)])
def test_pretraining_helped_if_it_beats_random_weights_and_scratch_and_hurt_if_random_weights_beat_it(shares, finding):
    assert verdicts(k5=shares)[0].finding == finding


def test_a_small_difference_counts_alone_and_not_among_other_budgets():
    small = (0.8, 0.86, 0.8, 0.8)
    (alone,) = verdicts(k5=small)
    assert 0.05 / 4 < alone.p < 0.05
    assert alone.finding == 1
    among = verdicts(k5=small, k1=SAME, k20=SAME, all=SAME)
    assert among[0].p == pytest.approx(4 * alone.p)
    assert [one.finding for one in among] == [0] * 4
    assert (
        overall(among) == "Pretraining did not help: no clear difference from random weights with any number of labels."
    )


def test_images_of_one_group_are_one_piece_of_evidence():
    better = GROUPS < 120  # in three of ten groups, only the arms with the pretrained encoder are right
    found = [
        replace(one, correct=(GROUPS >= 240) | (better & (one.arm in ("probe", "finetune"))))
        for one in outcomes(k5=HELPED)
    ]
    assert judge_budgets(found, GROUPS)[0].finding == 1
    assert judge_budgets(found, np.repeat(np.arange(10), 40))[0].finding == 0


def test_the_luck_of_one_encoder_s_weights_widens_the_differences_from_random_ones_alone():
    found = outcomes(k5=(0.5, 0.8, 0.7, 0.6, 0.7))
    noisy = [  # spread between random weights
        replace(one, correct=one.correct & (20 * one.draw <= GROUPS)) if one.arm == "random" else one for one in found
    ]
    (verdict,) = judge_budgets(noisy, GROUPS)
    correct = {arm: np.stack([one.correct for one in noisy if one.arm == arm])[None].astype(int) for arm in ARMS}
    for arm in ("random", "scratch", "probe", "start"):
        differences = correct["finetune"] - correct[arm]
        assert verdict.gains[arm] == gain(differences, GROUPS, luck=arm == "random")


def test_encoders_of_other_seeds_are_in_the_mean_and_their_spread_in_the_interval():
    alike = outcomes(encoders=3, k5=(0.5, 0.8, 0.7, 0.6))
    apart = [
        replace(one, correct=one.correct & (40 * one.encoder <= GROUPS)) if one.arm == "finetune" else one
        for one in alike
    ]
    (first,), (second,) = judge_budgets(alike, GROUPS), judge_budgets(apart, GROUPS)
    assert second.encoders == 3
    tuned = [one.accuracy for one in apart if one.arm == "finetune"]
    assert second.accuracy["finetune"].value == pytest.approx(np.mean(tuned))
    assert width(second.accuracy["finetune"]) > 2 * width(first.accuracy["finetune"])
    assert second.accuracy["random"] == first.accuracy["random"]


def test_the_sentence_says_all_figures_the_differences_and_what_follows():
    (verdict,) = verdicts(k5=(0.7, 0.8, 0.6, 0.5))
    line = sentence(verdict)
    tuned, random, scratch = (100 * verdict.accuracy[arm].value for arm in ("finetune", "random", "scratch"))
    assert line.startswith(f"With 5 labels per class: {tuned:.1f}% [")
    assert f"] against {random:.1f}% [" in line
    assert f"] from random weights ({tuned - random:+.1f} ± " in line
    assert f" and {scratch:.1f}% [" in line
    assert f"] from ordinary training from scratch ({tuned - scratch:+.1f} ± " in line
    assert ": pretraining helped (p = 0.00021). Frozen probe: " in line
    assert "With 1 label per class" in sentence(verdicts(k1=HELPED)[0])
    assert ": no clear difference (p = 1). Frozen" in sentence(verdicts(k5=SAME)[0])
    assert ": pretraining hurt (p" in sentence(verdicts(k5=HURT)[0])


@pytest.mark.parametrize(
    ("budgets", "expected"),
    [
        ({"k1": HELPED, "k5": HELPED}, "Pretraining helped with 1 and 5 labels per class."),
        (
            {"k1": HELPED, "k5": HELPED, "k20": HELPED, "all": HELPED},
            "Pretraining helped with 1, 5 and 20 labels per class and all labels.",
        ),
        (
            {"k1": HELPED, "k5": SAME, "all": HURT},
            "Pretraining helped with 1 label per class, made no clear difference with 5 labels per class, and hurt with all labels.",
        ),
        (
            {"k1": HELPED, "k5": SAME, "all": HELPED},
            "Pretraining helped with 1 label per class and all labels, and made no clear difference with 5 labels per class.",
        ),
        (
            {"k5": SAME, "all": HEAD_ALONE},
            "Pretraining did not help: no clear difference from random weights with any number of labels.",
        ),
        (
            {"k5": HURT, "all": SAME},
            "Pretraining did not help: it hurt with 5 labels per class, and made no clear difference with all labels.",
        ),
        ({"k5": HURT}, "Pretraining did not help: it hurt with 5 labels per class."),
        (
            {"k5": (0.5, 0.8, 0.5, 0.5, 0.6)},
            "Compared with its starting weights, pretraining helped with 5 labels per class.",
        ),
        (
            {"k5": (0.5, 0.6, 0.5, 0.5, 0.9), "all": (*SAME, 0.8)},
            "Compared with its starting weights, pretraining did not help: it hurt with 5 labels per class, "
            "and made no clear difference with all labels.",
        ),
        (
            {"k5": (0.5, 0.8, 0.5, 0.5, 0.8)},
            "Pretraining did not help: no clear difference from its starting weights with any number of labels.",
        ),
    ],
)
def test_the_overall_verdict_is_as_plain_where_pretraining_did_not_help(budgets, expected):
    assert overall(verdicts(**budgets)) == expected


def test_where_it_started_from_weights_the_verdict_is_against_these():
    (verdict,) = verdicts(k5=(0.5, 0.8, 0.5, 0.5, 0.9))
    assert (verdict.control, verdict.finding) == ("start", -1)
    assert "] from its starting weights (-" in sentence(verdict)
    assert "from random weights" not in sentence(verdict)


def test_metrics_are_the_verdicts_figures():
    found = outcomes(k5=(0.7, 0.8, 0.6, 0.6), all=(0.8, 0.9, 0.9, 0.9))
    figures = metrics(judge_budgets(found, GROUPS))
    assert figures["labelled"] is True
    assert list(figures["budgets"]) == ["5", "all"]
    five = figures["budgets"]["5"]
    scratch = [one.accuracy for one in found if one.arm == "scratch" and one.budget == 5]
    assert five["scratch"]["accuracy"] == pytest.approx(np.mean(scratch))
    assert five["over_random"]["difference"] == pytest.approx(0.2, abs=0.03)
    assert (five["finding"], figures["budgets"]["all"]["finding"]) == ("helped", "no clear difference")
    assert five["random"]["accuracy_low"] < five["random"]["accuracy"] < five["random"]["accuracy_high"]
    assert five["p"] < 0.05


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (outcomes(k5=HELPED), "for this one pretrained encoder. Differences from random weights allow for its luck"),
        (outcomes(k5=(*HELPED, 0.6)), "Intervals hold for this one pretrained encoder;"),
        (outcomes(encoders=2, k5=HELPED), "means of 2 encoders, whose spread the intervals include"),
    ],
    ids=["one encoder", "one encoder from given weights", "two encoders"],
)
def test_the_footnote_says_of_which_encoders_the_intervals_are(found, words):
    groups = np.repeat(np.arange(50), 8)
    text = "\n".join(conclusion(judge_budgets(found, groups), groups))
    assert words in text.replace("\n", " ")
    assert "400 test images in 50 groups, averaged over 5 draws" in text
    started = any(one.arm == "start" for one in found)
    control = "Its starting weights: the same network, with the weights that pretraining started from."
    assert (control if started else "Random weights: the same network, with new random weights in each draw.") in text


def test_error_bars_are_the_intervals_and_stay_within_what_a_share_can_be(monkeypatch, tmp_path):
    """The arms are drawn side by side around their number of labels, whether there are four or five."""
    drawn, plot = [], Axes.errorbar

    def errorbar(self, x, y, yerr, **options):
        drawn.append((np.array(x), np.array(y) - yerr[0], np.array(y) + yerr[1]))
        return plot(self, x, y, yerr, **options)

    monkeypatch.setattr(Axes, "errorbar", errorbar)
    for shares in ((1.0, 1.0, 0.99, 0.01), (1.0, 1.0, 0.99, 0.01, 0.98)):
        drawn.clear()
        found = verdicts(k5=shares, all=shares)
        draw_budgets(found, 10, tmp_path / "a.png")
        places, lows, highs = (np.stack(rows) for rows in zip(*drawn, strict=True))
        assert len(places) == len(shares)
        assert np.exp(np.log(places).mean(axis=0)) == pytest.approx([verdict.images / 10 for verdict in found])
        assert 0 <= lows.min() < 2
        assert highs.max() == 100
        assert (lows < highs - 0.5).all()


def test_the_picture_is_drawn_and_its_bytes_depend_on_the_figures_alone(tmp_path):
    drawn = verdicts(k1=(0.5, 0.6, 0.4, 0.3), all=(0.8, 0.9, 0.9, 0.9))
    for name in ("a.png", "b.png"):
        draw_budgets(drawn, 10, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_a_start_that_was_not_trained_is_judged_by_its_name():
    judged = "the start (w.safetensors), without training,"
    found = verdicts(k1=HELPED, k5=HURT)
    assert overall(found, judged).startswith(
        "The start (w.safetensors), without training, helped with 1 label per class"
    )
    assert ": the start (w.safetensors), without training, hurt (p" in sentence(found[1], judged)
    assert "retraining" not in overall(found, judged)
