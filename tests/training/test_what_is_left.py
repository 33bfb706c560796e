"""Products of a run: whose weights ship, and how many keys of each image a queue holds."""

import copy

import pytest
import torch
from scipy.stats import binom

from ssl_pipeline.training.checkpoint import Checkpoints
from ssl_pipeline.training.precision import Precision
from ssl_pipeline.training.pretraining import train
from tests.training.conftest import optimizer_of
from tests.training.test_pretraining import same_bits


@pytest.mark.parametrize(("recipe", "ships"), [("dino", "teacher"), ("byol", "student")])
def test_what_ships_is_who_should_after_a_resumed_run_too(
    pool, policies, configure, build_small, cpu, tmp_path, recipe, ships
):
    config, checkpoints = configure(recipe=recipe), Checkpoints(tmp_path / ".work", "run", {})
    tasks = [build_small(config), build_small(config)]
    for task in tasks:  # the second one resumes from the last checkpoint, with no steps left
        before, finish = {}, task.finish

        def finish_and_look(task=task, before=before, finish=finish):
            taught = {name: teacher.network for name, teacher in task.teacher.items()}
            before["teacher"] = copy.deepcopy(taught)
            before["student"] = copy.deepcopy({"encoder": task.encoder, "projector": task.energy_head.projector})
            finish()

        task.finish = finish_and_look
        floats = Precision(config.precision, cpu)
        train(task, pool, policies, config, optimizer_of(config), floats, checkpoints)
        left = {"encoder": task.encoder, "projector": task.energy_head.projector}
        for name, module in left.items():
            assert same_bits(module, before[ships][name])
            assert not same_bits(before["student"][name], before["teacher"][name])
        images = torch.rand(3, 3, 8, 8)
        task.eval()
        wanted = before[ships]["projector"].eval()(before[ships]["encoder"].eval()(images))
        torch.testing.assert_close(task.predict(images), torch.nn.functional.normalize(wanted, dim=1))
    assert same_bits(*tasks)


def test_a_queue_knows_how_many_keys_of_each_image_it_holds(pool, policies, configure, build_small, cpu, tmp_path):
    """With 48 images in batches of 16, a queue of 96 holds each image twice after two epochs."""
    options = {"name": "truncated_triplet", "margin": 1.0, "classes": 10, "false_negative_probability": 0.05}
    config = configure(recipe="mocov2", negatives={"queue_size": 96}, loss=options, epochs=3, batch_size=16)
    task, checkpoints = build_small(config), Checkpoints(tmp_path / ".work", "run", {})
    history = train(task, pool, policies, config, optimizer_of(config), Precision("fp32", cpu), checkpoints)
    held = task.negatives.memory.recall()[1].unique(return_counts=True)[1]
    assert held.tolist() == [2] * 48
    assert history.rows[-1]["deputy_rank"] > binom.isf(0.05, 96, 0.1) + 1  # the rank for keys of 96 different images
