"""What the arms of the label-budget study have in common and how they differ, on real digits of three classes."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from ssl_pipeline.artifacts.assembly import build_encoder, untrained
from ssl_pipeline.data.labelled import LabelledSplits
from ssl_pipeline.evaluation.budgets.arms import Learner
from ssl_pipeline.evaluation.budgets.budget_verdicts import judge_budgets
from ssl_pipeline.evaluation.budgets.outcome import ARMS
from ssl_pipeline.loading import load_registry
from ssl_pipeline.training.finetuning import Classifier, Lessons, finetune
from ssl_pipeline.types import Encoder
from tests.evaluation.budgets.test_study import (
    BACKBONE,
    CARD,
    FP32,
    MEAN,
    POLICY,
    STD,
    configure,
    data,
    figures,
    given,
    pretrained,
    reference,
    study,
    weights,
)

__all__ = ["data", "reference"]


def test_random_weights_are_like_the_pretrained_ones_in_all_but_the_weights(data):
    """If the pretrained encoder is the random encoder of a draw, both learn the same, bit for bit."""
    learner = Learner(configure(), given(data))
    drawn, own = learner.random().encoder(0), untrained(load_registry(), CARD, learner.seed(0))
    assert not torch.equal(own.backbone.stem[1].running_mean, drawn.backbone.stem[1].running_mean)  # calibrated
    outcomes = study(data, own, learning_rates=[1e-2], strengths=[1.0], draws=2, steps=6).outcomes
    first = {(one.budget, one.arm): one.correct.tolist() for one in outcomes if one.draw == 0}
    for budget in (1, "all"):  # with fixed statistics, and with statistics of the batches
        assert first[budget, "finetune"] == first[budget, "random"]
        assert first[budget, "finetune"] != first[budget, "scratch"]
    other = {(one.budget, one.arm): one.correct.tolist() for one in outcomes if one.draw == 1}
    assert other[1, "finetune"] != other[1, "random"]


def test_statistics_are_those_of_the_whole_training_split_and_the_momentum_is_as_it_was(data):
    learner = Learner(configure(), given(data))
    encoder = learner.given(pretrained()).encoder(0)
    norm, plain = encoder.backbone.stem[1], pretrained()
    images = torch.from_numpy(data.train.images(np.arange(40))).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        expected = plain.backbone.stem[0](plain.normalised(images)).mean(dim=(0, 2, 3))
    torch.testing.assert_close(norm.running_mean, expected, atol=1e-4, rtol=1e-3)
    assert norm.momentum == plain.backbone.stem[1].momentum == 0.1


def test_random_weights_see_as_much_of_colours_as_the_pretrained_ones(data):
    grey = given(data, card=CARD.model_copy(update={"grayscale": True}))
    assert Learner(configure(), grey).random().encoder(0).grayscale
    assert not Learner(configure(), given(data)).random().encoder(0).grayscale


def test_what_pretraining_started_from_learns_like_the_pretrained_encoder(data):
    outcomes = study(data, pretrained(), start=pretrained(), budgets=[1], learning_rates=[1e-2]).outcomes
    correct = {arm: [one.correct.tolist() for one in outcomes if one.arm == arm] for arm in ARMS}
    assert len(correct["start"]) == 3
    assert correct["start"] == correct["finetune"]  # as if pretraining had changed nothing
    assert judge_budgets(outcomes, data.test.groups)[0].control == "start"


def test_further_encoders_learn_from_the_same_draws_with_what_was_chosen_for_the_first(data, reference):
    second = build_encoder(load_registry(), BACKBONE, MEAN, STD, 10, 8)
    outcomes, classifier = study(data, further=[second])
    expected = reference.outcomes
    assert figures([one for one in outcomes if one.encoder == 0]) == figures(expected)
    assert weights(classifier) == weights(reference.classifier)
    others = [one for one in outcomes if one.encoder == 1]
    assert [(one.budget, one.arm, one.draw) for one in others] == [
        (budget, arm, draw) for budget in (1, "all") for arm in ("probe", "finetune") for draw in range(3)
    ]
    chosen = {(one.budget, one.arm): one.chosen for one in expected}
    assert all(one.chosen == chosen[one.budget, one.arm] for one in others)
    assert figures(others) != figures([one for one in expected if one.arm in ("probe", "finetune")])
    verdict = judge_budgets(outcomes, data.test.groups)[0]
    assert verdict.encoders == 2


def untaught(_: LabelledSplits, seed: int) -> Encoder:
    return build_encoder(load_registry(), BACKBONE, MEAN, STD, seed, 8)


def supervised(data: LabelledSplits, seed: int) -> Encoder:
    """Return a useful encoder, which has learned from more labels than any budget allows."""
    classifier = Classifier(untaught(data, seed), torch.zeros(3, 16), torch.zeros(3))
    lessons = Lessons(data.train, POLICY, 60, 32, seed)
    finetune(classifier, lessons, 1e-2, 1e-4, keep_statistics=False, precision=FP32)
    return classifier.encoder


@pytest.mark.parametrize(("make", "helps"), [(supervised, True), (untaught, False)])
def test_encoders_that_know_something_help_and_those_that_know_nothing_do_not(
    data: LabelledSplits, make: Callable[[LabelledSplits, int], Encoder], helps: bool
):
    first, *further = (make(data, seed) for seed in (9, 10, 11))
    outcomes = study(data, first, further=further, budgets=[1], draws=3, learning_rates=[1e-3], steps=8).outcomes
    assert (judge_budgets(outcomes, data.test.groups)[0].finding == 1) == helps
