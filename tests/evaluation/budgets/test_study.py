"""The protocol of label budgets, on real digits of three classes, 8 px."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import yaml
from sklearn.datasets import load_digits

from ssl_pipeline import processes
from ssl_pipeline.artifacts.assembly import build_encoder, cut
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.config import Choice, FinetuneConfig
from ssl_pipeline.data.labelled import Labelled, LabelledSplits
from ssl_pipeline.data.store import open_split
from ssl_pipeline.data.writer import write_split
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.evaluation.budgets import arms
from ssl_pipeline.evaluation.budgets.arms import Learner
from ssl_pipeline.evaluation.budgets.contest import compete
from ssl_pipeline.evaluation.budgets.inputs import BudgetInputs, view_policy
from ssl_pipeline.evaluation.budgets.label_draws import draw_labels
from ssl_pipeline.evaluation.budgets.outcome import ARMS, Outcome
from ssl_pipeline.loading import load_registry
from ssl_pipeline.processes import Crew
from ssl_pipeline.randomness import hash64
from ssl_pipeline.training.finetuning import Classifier, finetune
from ssl_pipeline.training.precision import Precision
from ssl_pipeline.types import Encoder
from tests.factories import model_card

BACKBONE = Choice.model_validate({"name": "resnet_cifar", "depth": 8, "width": 4})
MEAN, STD = (0.3, 0.31, 0.32), (0.36, 0.37, 0.38)
FP32 = Precision("fp32", torch.device("cpu"))
CROP = {"p": 1.0, "scale": [0.7, 1.0], "ratio": [0.85, 1.18]}
POLICY = Policy.model_validate({"size": 8, "random_resized_crop": CROP})
REGISTRY = load_registry()
CARD = model_card(mean=MEAN, std=STD)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> LabelledSplits:
    """Write a store of the digits 0, 1 and 2: 40 for training, 24 for validation and 90 for the test."""
    x, y = load_digits(return_X_y=True)
    keep = np.flatnonzero(y < 3)[:154]
    images = np.repeat((x[keep] * 15.9).astype(np.uint8).reshape(-1, 8, 8, 1), 3, axis=3)
    store, parts = tmp_path_factory.mktemp("store"), {}
    for name, part in (("train", slice(40)), ("val", slice(40, 64)), ("test", slice(64, 154))):
        ids = np.sort(hash64("digit", keep[part]))
        write_split(store / name, ids, [images[part]], 8)
        rows = np.arange(len(ids))
        parts[name] = Labelled(open_split(store, name), rows, y[keep[part]].astype(np.int64), rows)
    return LabelledSplits(**parts, classes=("zero", "one", "two"))


def configure(**changes: Any) -> FinetuneConfig:
    small = {"budgets": [1, "all"], "draws": 3, "learning_rates": [1e-3, 1e-2], "strengths": [0.1, 1.0]}
    small |= {"batch_size": 16, "steps": 3, "epochs": 1}
    params = yaml.safe_load((Path(__file__).parents[3] / "params.yaml").read_text(encoding="utf-8"))
    return FinetuneConfig.model_validate({**params["finetune"], **small, **changes})


def pretrained() -> Encoder:
    return build_encoder(load_registry(), BACKBONE, MEAN, STD, 9, 8)


def given(data: LabelledSplits, encoder: Encoder | None = None, **others: Any) -> BudgetInputs:
    """Return what is compared, with an untrained encoder unless another one is given."""
    changes = {"card": CARD, **others}
    return BudgetInputs(data, encoder or pretrained(), registry=REGISTRY, policy=POLICY, precision=FP32, **changes)


class Contest(NamedTuple):
    """The result of a study: all outcomes, and the classifier that ships."""

    outcomes: list[Outcome]
    classifier: Classifier


def contest(*arguments: Any) -> Contest:
    shipped: list[Classifier] = []
    outcomes = compete(*arguments, ship=shipped.append)
    return Contest(outcomes, *shipped)


def study(
    data: LabelledSplits,
    encoder: Encoder | None = None,
    *,
    further: Sequence[Encoder] = (),
    start: Encoder | None = None,
    **changes: Any,
) -> Contest:
    return contest(configure(**changes), given(data, encoder, further=further, start=start))


def figures(outcomes: list[Outcome]) -> list[tuple[Any, ...]]:
    return [(one.budget, one.arm, one.encoder, one.draw, one.chosen, one.correct.tolist()) for one in outcomes]


def weights(classifier: Classifier) -> bytes:
    return b"".join(value.numpy().tobytes() for value in classifier.state_dict().values())


@pytest.fixture(scope="module")
def reference(data: LabelledSplits) -> Contest:
    return study(data)


def relabelled(part: Labelled, keep: np.ndarray) -> Labelled:
    """Return the part with wrong labels for all images outside `keep`; the sizes of classes stay the same."""
    wrong = np.where(np.isin(np.arange(len(part)), keep), part.labels, (part.labels + 1) % 3)
    return Labelled(part.split, part.rows, wrong, part.groups)


def test_every_arm_meets_every_budget_and_draw_on_as_many_images(reference):
    outcomes, _ = reference
    found = [(one.budget, one.arm, one.draw) for one in outcomes]
    assert found == [(budget, arm, draw) for budget in (1, "all") for arm in ARMS[:4] for draw in range(3)]
    assert {(one.budget, one.images) for one in outcomes} == {(1, 3), ("all", 40)}
    assert all(one.correct.shape == (90,) for one in outcomes)


def test_two_runs_are_the_same_and_another_seed_is_not(data, reference):
    outcomes, classifier = reference
    again = study(data)
    assert figures(again.outcomes) == figures(outcomes)
    assert weights(again.classifier) == weights(classifier)
    assert figures(study(data, seed=1).outcomes) != figures(outcomes)


def test_another_process_that_helps_leaves_the_figures_as_they_are(data, monkeypatch):
    monkeypatch.setattr(processes, "SERIAL_SECONDS", -1.0)
    monkeypatch.setattr(processes, "WORTHWHILE_SECONDS", 0.0)
    threads, start, here = torch.get_num_threads(), Crew._start, []

    def start_and_wait(crew: Crew[Any]) -> None:
        start(crew)
        ends = time.monotonic() + 60
        while not crew._ledger._numbers[1] and time.monotonic() < ends:  # until the helper has taken a job
            time.sleep(0.05)

    monkeypatch.setattr(Crew, "_start", start_and_wait)
    original = Learner._train
    monkeypatch.setattr(
        Learner, "_train", lambda *given, **options: (here.append(given[1]), original(*given, **options))[1]
    )
    try:
        torch.set_num_threads(1)
        alone, models = study(data, budgets=["all"]), len(here)
        here.clear()
        torch.set_num_threads(2)
        shared = contest(configure(budgets=["all"]), given(data), partial(given, data))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert figures(shared.outcomes) == figures(alone.outcomes)
    assert weights(shared.classifier) == weights(alone.classifier)
    assert 0 < len(here) < models  # the helper trained the others


def test_the_classifier_ships_before_the_other_models_are_trained(data, reference, monkeypatch):
    trained, shipped = [], []
    original = Learner._train
    monkeypatch.setattr(
        Learner, "_train", lambda *given, **options: (trained.append(1), original(*given, **options))[1]
    )
    compete(configure(), given(data), ship=lambda model: shipped.append((model, len(trained))))
    ((model, models),) = shipped
    assert weights(model) == weights(reference.classifier)
    assert 0 < models < len(trained) / 2


def test_test_labels_change_nothing_but_the_figures(data, reference):
    outcomes, classifier = reference
    blind = study(data._replace(test=relabelled(data.test, np.arange(0))))
    found = blind.outcomes
    assert [one.chosen for one in found] == [one.chosen for one in outcomes]
    assert weights(blind.classifier) == weights(classifier)
    assert [one.accuracy for one in found] != [one.accuracy for one in outcomes]


def test_a_budget_uses_no_label_beyond_its_own_for_training_or_choosing(data):
    """All images but those of the draws (training) and of the draws for choosing (validation) can be removed."""
    honest = figures(study(data, budgets=[2]).outcomes)
    draws = {"train": range(3), "val": range(2)}
    parts = {}
    for name, numbers in draws.items():
        part: Labelled = getattr(data, name)
        kept = [draw_labels(part.ids, part.labels, 2, 0, draw) for draw in numbers]
        parts[name] = part.subset(np.unique(np.concatenate(kept)))
    assert len(parts["train"]) <= 3 * 6
    assert len(parts["val"]) <= 2 * 6
    assert figures(study(data._replace(**parts), budgets=[2]).outcomes) == honest


def test_what_is_chosen_does_best_on_validation_and_the_rest_of_the_grid_is_not_tested(data, monkeypatch):
    """Records the accuracy of each model whenever it is computed."""
    asked: list[tuple[str, int, float]] = []
    original = Learner.logits

    def spy(self, model, part, positions):
        logits = original(self, model, part, positions)
        right = float((logits.argmax(axis=1) == part.labels[positions]).mean())
        asked.append((part.split.name, id(model), right))
        return logits

    monkeypatch.setattr(Learner, "logits", spy)
    config = {"budgets": ["all"], "learning_rates": [1e-6, 1e-2], "steps": 20}
    found = [one for one in study(data, **config).outcomes if one.arm == "scratch"]
    assert {one.chosen for one in found} == {1e-2}
    held_out = [right for name, _, right in asked if name == "val"][-2:]  # scratch is last, once per learning rate
    assert held_out[1] > held_out[0]
    assert [name for name, *_ in asked].count("test") == 12  # four arms, three draws
    assert asked[-1][2] == found[-1].accuracy


def test_fine_tuning_starts_from_the_probe_and_leaves_the_encoder_alone(data):
    encoder = pretrained().eval()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    outcomes = study(data, encoder, learning_rates=[1e-12], steps=1).outcomes
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    few = {(one.arm, one.draw): one.correct.tolist() for one in outcomes if one.budget == 1}
    assert all(few["finetune", draw] == few["probe", draw] for draw in range(3))  # a step of size 0 changes nothing
    assert few["scratch", 0] != few["probe", 0]


def test_of_an_encoder_cut_at_a_layer_only_what_is_before_the_cut_learns(data):
    whole = pretrained()
    encoder, card = cut(whole, CARD, 2)
    done = contest(configure(budgets=["all"], draws=2, learning_rates=[1e-2]), given(data, encoder, card=card))
    assert done.classifier.encoder.layer == 2
    assert done.classifier.head.weight.shape == (3, 8)
    before, after = (dict(one.named_parameters()) for one in (whole, done.classifier.encoder))
    learned = {name.split(".")[2] for name in before if "block" in name and not torch.equal(before[name], after[name])}
    assert learned == {"0", "1"}  # depth 8: a block is a layer


def test_all_that_is_trained_sees_the_same_labels_steps_and_seeds(data, monkeypatch):
    calls = []

    def spy(classifier, lessons, peak_rate, weight_decay, *, keep_statistics, precision):
        shown = (lessons.data.rows.tolist(), lessons.policy, lessons.steps, lessons.batch_size, lessons.seed)
        calls.append((shown, peak_rate, weight_decay))
        statistics.append(keep_statistics)
        finetune(classifier, lessons, peak_rate, weight_decay, keep_statistics=keep_statistics, precision=precision)

    statistics: list[bool] = []
    monkeypatch.setattr(arms, "finetune", spy)
    study(data, learning_rates=[1e-3], epochs=2)
    everything, few = calls[:9], calls[9:]  # fine-tuned, random and scratch, three draws each
    for group in (few, everything):
        assert group[:3] == group[3:6] == group[6:]
    assert {(rate, decay) for _, rate, decay in few} == {(1e-3, 1e-4)}
    assert {(steps, size) for (_, _, steps, size, _), *_ in few} == {(3, 16)}
    assert {steps for (_, _, steps, _, _), *_ in everything} == {6}  # two passes over 40 images in batches of 16
    # if there are fewer images than a batch, arms like the pretrained encoder keep their statistics
    assert statistics == [False] * 9 + [True] * 6 + [False] * 3
    assert len({seed for (*_, seed), *_ in few}) == 3


def test_without_validation_images_the_middle_of_each_grid_is_taken(data):
    empty = data._replace(val=data.val.subset(np.arange(0)))
    outcomes = study(empty, budgets=[1], learning_rates=[1e-4, 1e-3, 1e-2], strengths=[0.1, 1.0, 10.0]).outcomes
    assert {(one.arm, one.chosen) for one in outcomes} == {
        ("probe", 1.0), ("finetune", 1e-3), ("random", 1e-3), ("scratch", 1e-3),
    }  # fmt: skip


def test_a_rate_at_which_training_diverges_is_not_chosen(data):
    outcomes = study(data, budgets=["all"], draws=2, learning_rates=[1e30, 1e-3]).outcomes
    assert {one.chosen for one in outcomes if one.arm != "probe"} == {1e-3}


def test_a_class_without_training_images_counts_against_every_arm(data):
    train = data.train.subset(np.flatnonzero(data.train.labels != 2))
    outcomes = study(data._replace(train=train), draws=2).outcomes
    twos = data.test.labels == 2
    assert not any(one.correct[twos].any() for one in outcomes if one.arm != "scratch")
    assert all(one.balanced_accuracy < 0.67 for one in outcomes if one.arm != "scratch")


def test_the_kind_of_view_must_exist_and_have_the_trained_size():
    assert view_policy({"plain": POLICY}, "plain", 8) is POLICY
    with pytest.raises(ConfigError, match=r"finetune\.view: unknown kind of view 'plane'. Known: global, plain\."):
        view_policy({"plain": POLICY, "global": POLICY}, "plane", 8)
    with pytest.raises(
        ConfigError, match=r"have 8 px, but the encoder was trained on 16 px: set augment\.views\.plain\.size: 16"
    ):
        view_policy({"plain": POLICY}, "plain", 16)
