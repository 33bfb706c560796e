"""Loss, strategy and pretext task: what the pipeline requires of every plugin, and what is special about these."""

import pytest
import torch
from example_plugin.circle import Circle
from example_plugin.curriculum import Curriculum
from example_plugin.mirror import Mirror
from torch.nn import functional as F

from ssl_pipeline.contrast.similarity import total_weight
from ssl_pipeline.testing import check_loss, check_negatives, check_pretext_task
from ssl_pipeline.testing.material import make_step, unit_vectors
from ssl_pipeline.types import Candidates, Negatives


def test_the_loss_is_as_promised():
    check_loss(Circle, margin=0.3, scale=8.0)


def test_the_strategy_is_as_promised():
    check_negatives(Curriculum, start=0.5)


def test_the_pretext_task_is_as_promised():
    check_pretext_task(Mirror)


def test_the_loss_is_the_paper_s():
    vectors = F.normalize(torch.randn(3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), dim=2)
    anchors, positives, keys = vectors
    of = torch.arange(5)
    negatives = Negatives(keys, of, of + 5)
    found = Circle(margin=0.25, scale=4.0)(anchors, positives[:, None], negatives, make_step(5)).loss
    near, far = anchors @ positives.T, anchors @ keys.T
    near = near.diagonal()
    pull = torch.exp(-4 * (1.25 - near) * (near - 0.75))  # no cosine is below its optimum
    push = torch.exp(4 * (far + 0.25).clamp(min=0) * (far - 0.25)).sum(dim=1)
    torch.testing.assert_close(found.double(), torch.log(1 + pull * push).mean(), rtol=1e-6, atol=0.0)


@pytest.mark.parametrize(("number", "share"), [(0, 0.25), (5, 0.625), (10, 1.0)])
def test_nearer_negatives_join_as_training_goes_on(number, share):
    keys, step = unit_vectors(40, 8, seed=0), make_step(40, number=number, total=10)
    negatives = Curriculum(start=0.25).select(Candidates(keys, keys, step.ids, keys, step.ids, step))
    assert negatives.figures["share"].item() == share
    assert total_weight(keys, negatives).mean().item() == pytest.approx(39 * share, abs=1.0)


@pytest.mark.parametrize(
    ("factory", "options", "message"),
    [
        (Circle, {"margin": 1.0}, r"margin must lie between 0 and 1, got 1\.0"),
        (Circle, {"scale": 0.0}, r"scale must be greater than 0, got 0\.0"),
        (Curriculum, {"start": 0.0}, r"start must lie in \(0, 1\], got 0\.0"),
    ],
)
def test_values_out_of_range_are_refused(factory, options, message):
    with pytest.raises(ValueError, match=message):
        factory(**options)
