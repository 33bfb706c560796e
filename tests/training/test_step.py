"""A step knows the progress of training, gives each image its own numbers, and passes on what losses keep."""

import pytest
import torch

from ssl_pipeline.randomness import uniforms
from ssl_pipeline.testing.material import make_step, unit_vectors
from ssl_pipeline.types import Candidates, Step
from ssl_pipeline_plugins.negatives.queue import Queue


def test_the_share_done_is_that_of_before_and_after_the_step():
    shares = [(make_step(number=number, total=4).progress, make_step(number=number, total=4).done) for number in (0, 3)]
    assert shares == [(0.0, 0.25), (0.75, 1.0)]


def test_numbers_belong_to_an_image_wherever_it_is():
    step = make_step(6)
    numbers = step.uniforms(step.ids, "dropped", 3)
    assert numbers.shape == (6, 3)
    assert torch.equal(step.uniforms(step.ids.flip(0)[:4], "dropped", 2), numbers.flip(0)[:4, :2])
    assert torch.equal(numbers, torch.from_numpy(uniforms(0, 0, step.ids.numpy(), "step/dropped", 3)))


@pytest.mark.parametrize("changes", [{"seed": 1}, {"epoch": 1}])
def test_numbers_differ_by_seed_epoch_and_purpose(changes):
    step = make_step(6)
    numbers = step.uniforms(step.ids, "dropped", 3)
    other = Step(**{"number": 0, "total": 1, "epoch": 0, "seed": 0, "ids": step.ids, **changes})
    assert not torch.isclose(numbers, other.uniforms(step.ids, "dropped", 3)).any()
    assert not torch.isclose(numbers, step.uniforms(step.ids, "kept", 3)).any()


def test_a_queue_is_filled_by_what_was_kept_and_not_by_who_selected():
    asked, told = Queue(queue_size=8), Queue(queue_size=8)
    keys, step = unit_vectors(4, 3, seed=0).requires_grad_(), make_step(4)
    kept = asked.select(Candidates(keys, keys, step.ids, keys, step.ids, step)).kept
    told.after_step(step, kept)
    assert len(asked.memory.held()) == 0
    held, samples = told.memory.recall()
    assert torch.equal(held, keys.detach())
    assert torch.equal(samples, step.ids)
