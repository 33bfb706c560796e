"""Estimates of how long the stages take, and the trial that they are based on."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from ssl_pipeline.config import load
from ssl_pipeline.data.image_spec import RGB8
from ssl_pipeline.health.negatives import FEW_NEGATIVES
from ssl_pipeline.planning.estimate import FIXED, LIBRARIES, SHIPPING_SECONDS, StageEstimate
from ssl_pipeline.planning.machine import Machine, Speed, _scaling, trial
from ssl_pipeline.planning.proposal import estimate_all
from ssl_pipeline.planning.schedule import batch_size, micro_batch
from ssl_pipeline.planning.words import told_estimates
from ssl_pipeline.recipes import method_of, resolve_views
from ssl_pipeline_stages import STAGES
from tests.planning.test_proposal import LAPTOP, PHOTOS, REGISTRY, ROOT, SERVER, measure


def test_estimates_of_parameters_as_they_are():
    config = load(ROOT / "params.yaml")
    stages = {stage.stage: stage for stage in estimate_all(REGISTRY, config, PHOTOS, LAPTOP, measure(500.0))}
    assert list(stages) == list(STAGES)[1:]
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
        fixed = FIXED["finetune"] + SHIPPING_SECONDS
        return {stage.stage: stage.minutes for stage in estimates}["finetune"] - fixed / 60

    # half of the time is spent in the network; views for few steps are made once and shared by all models of a draw
    few, models = {"budgets": [1]}, 3 * (5 + 2)
    assert minutes(0.5, **few) == pytest.approx(minutes(0.0, **few) * (0.5 + 0.5 * 5 / models), rel=0.1)
    assert minutes(0.5, budgets=["all"]) == pytest.approx(minutes(0.0, budgets=["all"]), rel=0.1)  # one per model
    # a batch is always full: one label per class costs as much as twenty
    assert minutes(0.0, budgets=[1]) == minutes(0.0, budgets=[20])
    assert minutes(0.0, budgets=[1], steps=80) == pytest.approx(2 * minutes(0.0, budgets=[1]), rel=0.3)


def test_several_devices_share_pretraining_and_its_memory():
    config = load(ROOT / "params.yaml")

    def pretrain(machine: Machine, **changes: Any) -> StageEstimate:
        changed = config.model_copy(update={"pretrain": config.pretrain.model_copy(update=changes)})
        stages = estimate_all(REGISTRY, changed, PHOTOS, machine, measure(500.0))
        assert all(stage.processes == 1 for stage in stages if stage.stage != "pretrain")
        return next(stage for stage in stages if stage.stage == "pretrain")

    one, four = pretrain(SERVER), pretrain(replace(SERVER, gpus=4))
    assert (one.processes, four.processes) == (1, 4)
    fixed = FIXED["pretrain"] / 60
    assert four.minutes - fixed == pytest.approx((one.minutes - fixed) / 4)
    assert four.device_memory == pytest.approx(one.device_memory / 4)
    assert " GiB of each of 4 GPUs\n" in told_estimates([four])
    assert pretrain(replace(SERVER, gpus=4), devices=1) == one
    alone, both = pretrain(LAPTOP, devices=1), pretrain(LAPTOP, devices=2)
    assert both.minutes == alone.minutes  # they share the same cores
    assert both.memory == pytest.approx(alone.memory + LIBRARIES)
    assert " GiB for 2 processes, which share the cores\n" in told_estimates([both])


@pytest.mark.parametrize("pool", [4, 19, 38, 51])
def test_a_planned_batch_has_as_many_negatives_as_pretraining_asks_for(pool: int):
    assert 2 * (batch_size(pool, 1000.0, LAPTOP) - 1) >= FEW_NEGATIVES  # two views of each other image


def test_a_micro_batch_is_proposed_for_the_share_of_each_process():
    speed = Speed(500.0, bytes_per_image=2.0**30)
    assert micro_batch(64, speed, SERVER, 1) == 16  # half of 80 GiB; each image takes 1.5 GiB at the peak
    assert micro_batch(64, speed, SERVER, 4) is None
    assert micro_batch(8, speed, LAPTOP, 1) == 4
    assert micro_batch(8, speed, LAPTOP, 2) == 2  # processes share the memory


def test_processes_that_fine_tune_together_gain_what_threads_do_not():
    config = load(ROOT / "params.yaml")

    def minutes(threads: int, scaling: float) -> float:
        def measured(*given: Any) -> Speed:
            return replace(measure(500.0)(*given), scaling=scaling)

        machine = replace(LAPTOP, threads=threads)
        return {stage.stage: stage.minutes for stage in estimate_all(REGISTRY, config, PHOTOS, machine, measured)}[
            "finetune"
        ]

    alone = minutes(1, 1.0)
    assert minutes(2, 0.0) == pytest.approx(alone / 2, rel=0.1)  # a second thread adds nothing
    assert minutes(2, 1.0) == pytest.approx(alone, rel=0.1)
    assert alone / 5 < minutes(8, 0.0) < alone / 3  # at most four processes are used
    assert minutes(2, 0.5) == pytest.approx(alone / 2**0.5, rel=0.1)


def test_a_trial_in_several_threads_says_what_they_gain():
    config = load(ROOT / "params.yaml")
    method = method_of(REGISTRY, config.pretrain)
    views = resolve_views(method, config.augment.views)
    few = method.pretrain.model_copy(update={"batch_size": 16})
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        found = trial(REGISTRY, method.recipe, few, views, 16, RGB8, 0.1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert 0.0 <= found.scaling <= 1.0


def test_speed_grows_with_a_power_of_the_number_of_threads(monkeypatch):
    def scaling(threads: int, alone: float) -> float:
        """Return the scaling of steps that take 1 s in all threads and, for as many images, `alone` s in one."""
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
        monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
        return _scaling(lambda number, count: (alone * count / 64, 0.1), 3, 64, 1.0)

    assert scaling(1, 1.0) == 1.0
    assert scaling(4, 4.0) == pytest.approx(1.0)
    assert scaling(4, 2.0) == pytest.approx(0.5)
    assert scaling(4, 0.9) == 0.0  # threads slow each other down
    assert scaling(16, 16.0) == pytest.approx(1.0)
