"""The training loop resumes bit by bit, refuses pools that nothing can be learned from, and ends runs that diverge."""

import os
import signal
from itertools import pairwise

import numpy as np
import pytest
import torch

from ssl_pipeline.errors import PipelineError
from ssl_pipeline.training import pretraining
from ssl_pipeline.training.endings import DivergedError
from ssl_pipeline.training.pretraining import Plan
from tests.training.conftest import stopping

OPTIMIZER = {"weight_decay": 1e-4, "momentum": 0.9}


def same_bits(first, second):
    states = first.state_dict(), second.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][name], states[1][name]) for name in states[0]
    )


class WithDropout(torch.nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone, self.embedding_dim = backbone, backbone.embedding_dim

    def forward(self, images):
        return torch.nn.functional.dropout(self.backbone(images), 0.3, self.training)


def add_dropout(task):
    task.encoder.backbone = WithDropout(task.encoder.backbone)
    return task


@pytest.mark.parametrize(
    ("values", "change"),
    [
        ({}, lambda task: task),
        ({"recipe": "rotation", "clip_norm": 0.5}, lambda task: task),
        ({"negatives": {"name": "cross_batch", "memory_size": 40}}, lambda task: task),
        ({"recipe": "mocov2", "negatives": {"queue_size": 40}}, lambda task: task),
        ({"recipe": "nnclr", "pretext_task": {"neighbours": 40}}, lambda task: task),
        ({"loss": {"temperature": 0.001}}, lambda task: task),
        ({"recipe": "siglip_style"}, lambda task: task),
        ({"recipe": "energy", "loss": {"energy": "network"}}, lambda task: task),
        ({"recipe": "byol"}, lambda task: task),
        ({"recipe": "swav", "loss": {"queue_size": 40, "frozen": 0.4}}, lambda task: task),
        ({"recipe": "dino"}, lambda task: task),
        ({"recipe": "nce", "loss": {"normaliser": "estimated"}}, lambda task: task),
        ({"recipe": "mocov2", "pretext_task": {"local_views": 2}}, lambda task: task),
        ({"recipe": "colorization"}, lambda task: task),
        ({"recipe": "jigsaw", "pretext_task": {"view": "large"}}, lambda task: task),
        ({"recipe": "masked_tokens"}, lambda task: task),
        ({"recipe": "clip", "micro_batch": 6}, lambda task: task),
        ({"precision": "bf16"}, add_dropout),
        (
            {"optimizer": {**OPTIMIZER, "name": "sgd", "learning_rate": 0.05}},
            lambda task: task,
        ),
        (
            {"optimizer": {**OPTIMIZER, "name": "lars", "learning_rate": 1.0, "trust_coefficient": 1e-2}},
            lambda task: task,
        ),
    ],
    ids=[
        "simclr",
        "rotation",
        "memory",
        "teacher and queue",
        "neighbours",
        "warnings",
        "learned scale",
        "learned energy",
        "no negatives",
        "prototypes and queue",
        "centre",
        "estimated normaliser",
        "local views",
        "counted colours",
        "numbers of the task's own",
        "vocabulary",
        "captions",
        "bf16 and dropout",
        "sgd",
        "lars",
    ],
)
def test_a_stopped_run_ends_as_if_it_had_not_been(run, configure, monkeypatch, values, change):
    """It is stopped by Ctrl-C in step 5, amid an epoch, and by SIGTERM in step 9, and resumed both times."""
    config = configure(**values)
    whole, curves = run(config, name="whole", change=change)

    steps, compare = [], type(whole).compare
    signals = {5: signal.SIGINT, 9: signal.SIGTERM}

    def interrupted(task, encoded, step):
        steps.append(len(steps))
        if len(steps) in signals:
            os.kill(os.getpid(), signals[len(steps)])
        return compare(task, encoded, step)

    monkeypatch.setattr(type(whole), "compare", interrupted)
    for done in (5, 9):
        torch.rand(3)  # numbers drawn by something else between the two runs
        with pytest.raises(KeyboardInterrupt, match=rf"stopped after step {done} of 12.*dvc repro"):
            run(config, change=change)
    pieced, pieced_curves = run(config, change=change)

    assert len(steps) == 12  # no step was taken twice
    assert same_bits(whole, pieced)
    assert (curves.rows, curves.warnings) == (pieced_curves.rows, pieced_curves.warnings)
    warned = values in ({"loss": {"temperature": 0.001}}, {"recipe": "colorization"})  # digits are grey
    assert len(curves.warnings) == warned


def test_it_learns_and_logs(run, configure, tmp_path):
    _, history = run(configure(epochs=12))
    losses = [row["loss"] for row in history.rows]
    assert [row["step"] for row in history.rows] == list(range(1, 37))
    assert np.mean(losses[-6:]) < np.mean(losses[:6]) - 0.1
    assert history.rows[-1].keys() == {
        "step", "loss", "gradient_norm", "positive_probability", "negatives", "negatives_seen",
        "energy_compatible", "energy_incompatible", "energy_gap", "projection_std", "projection_rank",
        "learning_rate", "update_ratio", "embedding_std", "effective_rank", "alignment", "uniformity",
        "view_recall",
    }  # fmt: skip
    assert not list((tmp_path / ".work").iterdir())  # a finished run leaves nothing


def test_other_seeds_give_other_weights(run, configure):
    assert not same_bits(run(configure(epochs=2))[0], run(configure(epochs=2, seed=1))[0])


def test_a_pool_smaller_than_the_batch_is_the_batch(configure, capsys):
    plan = Plan.of(7, configure(batch_size=16))
    assert (plan.batch_size, plan.steps, plan.total) == (7, 1, 4)
    assert "the pool has only 7 images" in capsys.readouterr().err


def test_fewer_than_two_images_are_refused(run, configure, make_pool):
    with pytest.raises(PipelineError, match=r"at least 2 images, but the pool has 1\. .*ingest\.source"):
        run(configure(), data=make_pool(1))


def test_two_images_are_enough(run, configure, make_pool):
    assert len(run(configure(), data=make_pool(2))[1].rows) == 4


def test_batches_visit_every_image_once_an_epoch_and_resume_in_its_midst(configure, pool):
    plan = Plan.of(len(pool), configure(batch_size=12))
    steps = list(plan.batches(0, pool.ids, 0))
    assert [step for step, _, _ in steps] == list(range(16))
    for epoch in range(4):
        visited = np.concatenate([positions for _, number, positions in steps if number == epoch])
        assert sorted(visited) == list(range(48))
    assert not np.array_equal(steps[0][2], steps[4][2])  # each epoch has its own order
    later = list(plan.batches(0, pool.ids, 6))
    assert [step[:2] for step in later] == [step[:2] for step in steps[6:]]
    assert all(np.array_equal(a[2], b[2]) for a, b in zip(later, steps[6:], strict=True))


def test_what_remains_of_an_epoch_is_dropped(configure):
    plan = Plan.of(50, configure(batch_size=16))
    assert (plan.steps, plan.total) == (3, 12)
    assert all(len(positions) == 16 for _, _, positions in plan.batches(0, np.arange(50, dtype=np.uint64), 0))


@pytest.mark.parametrize(
    ("total", "batch_size", "looks"), [(1, 256, 1), (12, 16, 12), (30, 192, 10), (160, 256, 11), (2000, 256, 50)]
)
def test_the_encoder_is_looked_at_in_all_rows_of_a_long_run_and_some_of_a_short_one(total, batch_size, looks):
    plan = Plan(batch_size, total, 1, 0)
    seen = [done for done in range(1, total + 1) if plan.logs(done) and plan.looks(done)]
    assert len(seen) == looks
    assert seen[-1] == total
    if total > 12:
        assert max(later - sooner for sooner, later in pairwise([0, *seen])) <= total / 10  # evenly spaced


@pytest.mark.parametrize(("total", "rows"), [(1, 1), (12, 12), (160, 54), (1000, 50), (1003, 51)])
def test_a_run_logs_about_fifty_rows_and_its_last_step(configure, total, rows):
    plan = Plan(2, total, 1, 0.0)
    assert sum(plan.logs(done) for done in range(1, total + 1)) == rows
    assert plan.logs(total)


@pytest.mark.parametrize("then", ["a row ends", "a stop is requested", "an error is raised"])
def test_nan_between_two_rows_is_named_by_its_step_and_never_saved(run, configure, tmp_path, monkeypatch, then):
    monkeypatch.setattr(pretraining, "LOGGED_ROWS", 1)  # the only row ends with the last step

    def broken(task):
        compare = task.compare

        def diverging(encoded, step):
            output = compare(encoded, step)
            if step.number == 7 and then == "an error is raised":
                raise ValueError("of NaN no order can be made")
            return output._replace(loss=output.loss * float("nan")) if step.number == 4 else output

        task.compare = diverging
        return stopping(task, last=8) if then == "a stop is requested" else task

    message = r"(?s)^step 4: the loss is nan" + ".*of NaN no order can be made" * (then == "an error is raised")
    with pytest.raises(DivergedError, match=message):
        run(configure(), change=broken)
    assert not list((tmp_path / ".work").iterdir())


def test_nan_ends_the_run_with_a_diagnosis_and_leaves_nothing_to_resume(run, configure, tmp_path):
    config = configure(checkpoint_minutes=0.0, optimizer={**configure().optimizer.model_dump(), "learning_rate": 1e30})
    with pytest.raises(DivergedError, match=r"(?s)the loss is (nan|inf).*pretrain\.optimizer\.learning_rate"):
        run(config)
    assert not list((tmp_path / ".work").iterdir())
