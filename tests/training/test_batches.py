"""Batches are made in a thread beside the steps if that helps: they are equal, and the thread ends with the run."""

import threading
import traceback

import numpy as np
import pytest
import torch

from ssl_pipeline.errors import PipelineError
from ssl_pipeline.training import batch_encoder, batches
from ssl_pipeline.training.batches import Batch, Place, made_ahead
from ssl_pipeline.training.endings import CollapsedError
from tests.training.conftest import stopping

PLACES = [Place(step, 0, np.arange(2)) for step in range(4)]


@pytest.fixture
def beside(monkeypatch):
    """Make batches in a thread on the CPU, too."""
    monkeypatch.setattr(batches, "HELPED", {"cpu"})


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


def weights(task):
    return torch.cat([weight.detach().flatten() for weight in task.state_dict().values()])


def test_a_run_is_the_same_to_the_bit_also_where_it_was_stopped(run, configure, monkeypatch):
    config = configure(resolution=[[0, 0.5], [0.5, 1.0]])
    alone, curves = run(config)
    monkeypatch.setattr(batches, "HELPED", {"cpu"})
    beside, same_curves = run(config, name="beside")
    assert torch.equal(weights(beside), weights(alone))
    assert same_curves.rows == curves.rows
    with pytest.raises(KeyboardInterrupt):
        run(config, name="stopped", change=lambda task: stopping(task, last=5))
    assert not threads()
    resumed, _ = run(config, name="stopped")
    assert torch.equal(weights(resumed), weights(alone))


@pytest.mark.usefixtures("beside")
def test_only_the_next_batch_is_made_ahead(cpu):
    made, begun = [], [threading.Event() for _ in PLACES]

    def make(place):
        made.append((place.step, threading.current_thread().name))
        begun[place.step].set()
        return Batch({}, torch.tensor([place.step]))

    with made_ahead(make, PLACES, cpu) as given:
        for place, batch in given:
            assert batch.ids == place.step
            if place.step + 1 < len(PLACES):
                assert begun[place.step + 1].wait(10)  # while this step is running
            assert len(made) <= place.step + 2
    assert [step for step, _ in made] == [0, 1, 2, 3]
    assert threading.current_thread().name not in {name for _, name in made}


@pytest.mark.usefixtures("beside")
def test_what_fails_in_the_thread_fails_in_the_loop_where_it_belongs(cpu):
    def make(place):
        if place.step == 2:
            raise ZeroDivisionError("of the maker")
        return Batch({}, torch.zeros(1))

    taken = []
    with pytest.raises(ZeroDivisionError, match="of the maker") as caught, made_ahead(make, PLACES, cpu) as given:
        taken.extend(place.step for place, _ in given)
    assert taken == [0, 1]
    assert any(frame.name == "make" for frame in traceback.extract_tb(caught.tb))
    assert not threads()


@pytest.mark.usefixtures("beside")
def test_a_damaged_store_ends_the_run_with_its_own_words_after_the_steps_before(run, configure, monkeypatch):
    made = batch_encoder.inputs

    def inputs(task, policies, images, ids, seed, epoch, *others):
        if epoch == 1:
            raise PipelineError("images-000.npy is damaged")
        return made(task, policies, images, ids, seed, epoch, *others)

    monkeypatch.setattr(batch_encoder, "inputs", inputs)
    done = []

    def noted(task):
        after_step = task.after_step
        task.after_step = lambda step, kept: (done.append(step.number), after_step(step, kept))
        return task

    with pytest.raises(PipelineError, match=r"images-000\.npy is damaged"):
        run(configure(), change=noted)
    assert done == [0, 1, 2]
    assert not threads()


@pytest.mark.usefixtures("beside")
def test_a_collapse_leaves_no_thread(run, configure):
    with pytest.raises(CollapsedError):
        run(configure(collapse={"min_embedding_std": 10.0, "min_effective_rank": 0.0}, warmup=0.0))
    assert not threads()
