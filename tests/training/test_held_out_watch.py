"""Held-out images: training that ruins its initial weights causes a warning, and the best step can ship, bit by bit."""

import numpy as np
import pytest
import torch

from ssl_pipeline.artifacts.files import save_weights
from ssl_pipeline.data.store import Split
from ssl_pipeline.data.writer import write_split
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.training.held_out_watch import HeldOutWatch, open_held_out
from ssl_pipeline.training.precision import Precision
from tests.factories import digit_images
from tests.training.conftest import stopping

FIGURES = {"held_out_recall", "held_out_effective_rank", "neighbour_drift"}


@pytest.fixture(scope="module")
def held_out():
    """Digits that are never trained on."""
    images, ids = digit_images(148)[48:], np.arange(100, dtype=np.uint64)
    return Split("val", 8, ids, (0.3,) * 3, (0.4,) * 3, "held out", (images,))


@pytest.fixture
def going_on(run, configure, tmp_path):
    """Return a function of values that configures a run from the weights of a short one."""
    task, _ = run(configure(epochs=2), name="before")
    weights = tmp_path / "start.safetensors"
    save_weights(weights, task.encoder.state_dict())
    return lambda **values: configure(**{"init": str(weights), "seed": 1, **values})


def followed(states, ruined_from=99, then=lambda task: task):
    """Return a change of a task that records its states from the start on, and zeroes its weights from some step on."""

    def change(task):
        states.append(copied(task))
        after_step = task.after_step

        def follow(step, kept):
            after_step(step, kept)
            if step.number + 1 >= ruined_from:
                with torch.no_grad():
                    for weight in task.encoder.parameters():
                        weight.zero_()
            states.append(copied(task))

        task.after_step = follow
        return then(task)

    return change


def copied(task):
    return {name: value.clone() for name, value in task.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def kinds(history):
    return [warning["kind"] for warning in history.warnings]


def test_a_ruined_start_is_warned_of_and_an_unchanged_one_is_not(going_on, run, held_out):
    config = going_on(on_collapse="warn")
    _, history = run(config, held_out=held_out)
    first, *rows = history.rows
    assert first.keys() == {"step", *FIGURES}
    assert first["step"] == first["neighbour_drift"] == 0
    assert rows[-1].keys() > FIGURES
    assert "below its start" not in kinds(history)

    _, history = run(config, held_out=held_out, change=followed([], ruined_from=5))
    assert history.rows[0] == first
    assert history.rows[-1]["held_out_recall"] == 0
    (warning,) = (found for found in history.warnings if found["kind"] == "below its start")
    assert warning["step"] == 6  # the first evaluation afterwards


def test_looking_changes_no_bit_and_no_look_is_taken_unasked(run, configure, held_out):
    watched, history = run(configure(), held_out=held_out)
    alone, plain = run(configure())
    assert same(watched.state_dict(), alone.state_dict())
    assert [{name: row[name] for name in row if name not in FIGURES} for row in history.rows[1:]] == plain.rows
    assert not FIGURES & {name for row in plain.rows for name in row}


@pytest.mark.parametrize("values", [{}, {"ema": 0.5}], ids=["weights", "their average"])
def test_the_best_step_ships_to_the_bit_also_after_a_kill(going_on, run, held_out, policies, cpu, values):
    config, states = going_on(ship="best", on_collapse="warn", **values), []
    ruined = followed(states, ruined_from=7)
    task, history = run(config, name="whole", change=ruined, held_out=held_out)
    recalls = {row["step"]: row["held_out_recall"] for row in history.rows if row.keys() >= FIGURES}
    best = max(recalls, key=lambda step: (recalls[step], step))
    assert 0 < best < max(recalls)  # neither the first nor the last, which could be right by accident
    assert history.shipped_step == best
    assert same(task.state_dict(), states[best]) == (not values)  # an average differs from the weights of every step
    again = HeldOutWatch(held_out, task, policies, config, Precision("fp32", cpu), 16).look(task, 0)
    assert again["held_out_recall"] == recalls[best]

    for last in (best + 1, best + 3):
        with pytest.raises(KeyboardInterrupt):
            change = followed([], 7, then=lambda task, last=last: stopping(task, last))
            run(config, name="stopped", change=change, held_out=held_out)
    resumed, taken_up = run(config, name="stopped", change=followed([], 7), held_out=held_out)
    assert same(resumed.state_dict(), task.state_dict())
    assert taken_up.rows == history.rows
    assert taken_up.shipped_step == best


def test_the_start_ships_as_it_was_given_where_nothing_is_better(going_on, run, held_out):
    states = []
    config = going_on(ship="best", on_collapse="warn")
    task, history = run(config, change=followed(states, ruined_from=1), held_out=held_out)
    assert history.shipped_step == 0
    assert same(task.state_dict(), states[0])


def test_random_weights_never_ship_as_they_are(configure, run, held_out):
    _, history = run(configure(ship="best", on_collapse="warn"), held_out=held_out, change=followed([], ruined_from=1))
    assert history.shipped_step > 0


def test_what_is_looked_at_is_what_would_ship(build_small, configure, policies, held_out, cpu):
    config = configure(recipe="dino")  # it ships its teacher
    task = build_small(config)
    with torch.no_grad():
        for weight in task.encoder.parameters():
            weight.zero_()
    before = copied(task)
    watch = HeldOutWatch(held_out, task, policies, config, Precision("fp32", cpu), 16)
    assert watch.look(task, 0)["held_out_recall"] > 0
    assert same(task.state_dict(), before)


def test_too_few_held_out_images_are_said_or_refused(configure, tmp_path, capsys):
    write_split(tmp_path / "val", np.arange(12, dtype=np.uint64), [digit_images(12)], 8)
    assert open_held_out(tmp_path / "nowhere", configure()) is None  # a run from random weights needs none
    assert open_held_out(tmp_path, configure(init="weights.safetensors")) is None
    assert (
        "has 12 images, and at least 30 are needed. To enable this, raise ingest.val_fraction"
        in capsys.readouterr().err
    )
    with pytest.raises(PipelineError, match="pretrain.ship: best chooses a step on held-out images"):
        open_held_out(tmp_path, configure(ship="best"))
