"""How long stages are expected to take, and the trial that it is judged by."""

from dataclasses import replace
from typing import Any

import pytest

from ssl_pipeline.config import load
from ssl_pipeline.data.image_spec import RGB8
from ssl_pipeline.planning.estimate import FIXED
from ssl_pipeline.planning.machine import Speed, trial
from ssl_pipeline.planning.proposal import estimate_all
from ssl_pipeline.recipes import method_of, resolve_views
from tests.planning.test_proposal import LAPTOP, PHOTOS, REGISTRY, ROOT, measure


def test_estimates_of_parameters_as_they_are():
    config = load(ROOT / "params.yaml")
    stages = {stage.stage: stage for stage in estimate_all(REGISTRY, config, PHOTOS, LAPTOP, measure(500.0))}
    assert list(stages) == ["ingest", "augment", "pretrain", "export", "linear_eval", "finetune", "report"]
    pool = 10_000 * 0.75 * 0.85
    seconds = 40 * (pool // 256 * 256) / (500 * 4)  # at 16 px
    assert stages["pretrain"].minutes == pytest.approx(seconds / 60, rel=0.3)
    more = config.model_copy(update={"pretrain": config.pretrain.model_copy(update={"epochs": 80})})
    twice = {stage.stage: stage for stage in estimate_all(REGISTRY, more, PHOTOS, LAPTOP, measure(500.0))}
    assert twice["pretrain"].minutes - stages["pretrain"].minutes == pytest.approx(seconds / 60)
    assert twice["finetune"] == stages["finetune"]


def test_a_trial_says_which_share_of_its_time_views_take():
    config = load(ROOT / "params.yaml")
    method = method_of(REGISTRY, config.pretrain)
    views = resolve_views(method, config.augment.views)
    few = method.pretrain.model_copy(update={"batch_size": 16})
    found = trial(REGISTRY, method.recipe, few, views, 16, RGB8, 0.1)
    assert 0.02 < found.making < 0.9


def test_fine_tuning_is_estimated_by_its_steps_and_by_the_network_without_its_views():
    config = load(ROOT / "params.yaml")

    def minutes(making: float, **changes: Any) -> float:
        changed = config.model_copy(update={"finetune": config.finetune.model_copy(update=changes)})

        def measured(*given: Any) -> Speed:
            return replace(measure(500.0)(*given), making=making)

        estimates = estimate_all(REGISTRY, changed, PHOTOS, LAPTOP, measured)
        return {stage.stage: stage.minutes for stage in estimates}["finetune"] - FIXED["finetune"] / 60

    assert minutes(0.5) == pytest.approx(minutes(0.0) / 2, rel=0.15)  # the optimizer's part stays
    # a batch is full, however few the images: one label a class costs as much as twenty
    assert minutes(0.0, budgets=[1]) == minutes(0.0, budgets=[20])
    assert minutes(0.0, budgets=[1], steps=80) == pytest.approx(2 * minutes(0.0, budgets=[1]), rel=0.3)
