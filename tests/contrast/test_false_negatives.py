"""How far up the ranking false negatives reach: the requested probability holds, as counted on simulated batches."""

import pytest
import torch
from scipy.stats import binom
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline.contrast.false_negatives import key_counts, rank_for
from ssl_pipeline.contrast.ranking import nearest
from ssl_pipeline.testing.material import make_step
from ssl_pipeline.types import Candidates, Negatives, NegativeStrategy
from ssl_pipeline_plugins.losses.truncated_triplet import TruncatedTriplet
from ssl_pipeline_plugins.negatives.cross_batch import CrossBatch
from ssl_pipeline_plugins.negatives.in_batch import InBatch
from ssl_pipeline_plugins.negatives.queue import Queue
from ssl_pipeline_plugins.negatives.truncated import Truncated

ASKED, CLASSES = 0.05, 10


@pytest.mark.parametrize(("probability", "classes", "count"), [(0.05, 10, 510), (0.3, 3, 20), (0.001, 100, 4000)])
@pytest.mark.parametrize("keys", [1, 2, 3])
def test_the_rank_is_the_smallest_that_keeps_the_probability(probability, classes, count, keys):
    rank = rank_for(probability, classes, keys * count, ((keys, count),))
    least = [-(-k // keys) for k in (rank, rank - 1)]  # images of the class that fill k and k - 1 ranks
    assert binom.sf(least[0] - 1, count, 1 / classes) <= probability < binom.sf(least[1] - 1, count, 1 / classes)


def test_images_with_different_numbers_of_keys_are_counted_as_they_are():
    """Five images have one key, and three have four: P(false keys > x) is summed over all 2^8 cases."""
    sizes = torch.tensor([1] * 5 + [4] * 3)
    cases = torch.cartesian_prod(*[torch.arange(2)] * 8)
    weights = (0.25**cases * 0.75 ** (1 - cases)).prod(1).double()
    false = cases @ sizes
    for probability in (0.3, 0.1, 0.01):
        wanted = next(x for x in range(18) if weights[false > x].sum() <= probability) + 1
        assert rank_for(probability, 4, 17, ((4, 3), (1, 5))) == wanted


def test_without_negatives_or_with_few_of_them_a_rank_stays_one_that_there_is():
    assert rank_for(0.5, 2, 0, ()) == 1
    assert rank_for(1e-9, 2, 6, ((2, 3),)) == 6
    assert rank_for(0.05, 2, 3, ((2, 30),)) == 3


def projections(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Return projections for which the rule is made: keys of the anchor's class are nearer than all others."""
    return F.normalize(
        torch.eye(CLASSES)[labels] + 0.05 * torch.randn(len(labels), CLASSES, generator=generator), dim=1
    )


def share_of_false_deputies(strategy: NegativeStrategy, images: int, pool: int, steps: int, trials: int) -> float:
    """Return the share of false negatives among the deputies in the last step, over pools of newly drawn classes.

    Both views of an image are keys.
    """
    generator = torch.Generator().manual_seed(0)
    loss = TruncatedTriplet(margin=1.0, classes=CLASSES, false_negative_probability=ASKED)
    found = []
    for _ in range(trials):
        labels = torch.randint(CLASSES, (pool,), generator=generator)
        for step in range(steps):
            ids = torch.arange(step * images, (step + 1) * images) % pool
            keys, samples = projections(labels[ids].repeat(2), generator), ids.repeat(2)
            negatives = strategy.select(Candidates(keys, keys.roll(images, 0), samples, keys, samples, make_step()))
            strategy.after_step(make_step(), negatives.kept)
        labels_of_keys = labels[negatives.key_samples]
        rank = int(loss(keys, keys.roll(images, 0)[:, None], negatives, make_step()).metrics["deputy_rank"])
        deputies = nearest(keys, negatives, rank).keys[:, -1]
        found.append((labels_of_keys[deputies] == labels[ids].repeat(2)).double().mean())
    return float(torch.stack(found).mean())


SIMULATED = {
    "in_batch": (InBatch, (64, 64, 1)),
    "queue of four keys per image": (lambda: Queue(queue_size=192), (16, 48, 7)),
    "queue of an epoch and a half": (lambda: Queue(queue_size=144), (16, 48, 8)),
    "cross_batch": (lambda: CrossBatch(memory_size=96, start=0.0), (16, 48, 6)),
}


@pytest.mark.parametrize("name", SIMULATED)
def test_a_deputy_is_a_false_negative_no_more_often_than_was_asked(name: str):
    make, sizes = SIMULATED[name]
    share = share_of_false_deputies(make(), *sizes, trials=120)
    assert 0.002 < share < ASKED + 0.015  # the share of 120 trials is accurate to 0.006


@pytest.mark.parametrize("images", [32, 64])
def test_the_nearest_key_that_is_not_dropped_is_a_false_negative_no_more_often_than_was_asked(images: int):
    generator = torch.Generator().manual_seed(1)
    strategy = Truncated(classes=CLASSES, false_negative_probability=ASKED)
    found = []
    for _ in range(250):
        labels = torch.randint(CLASSES, (images,), generator=generator).repeat(2)
        keys, samples = projections(labels, generator), torch.arange(images).repeat(2)
        kept = strategy.select(Candidates(keys, keys.roll(images, 0), samples, keys, samples, make_step()))
        found.append((labels[nearest(keys, kept, 1).keys[:, 0]] == labels).double().mean())
    assert 0.002 < torch.stack(found).mean() < ASKED + 0.01


def test_keys_are_counted_by_image_without_the_anchor_s_own():
    anchors, keys, unit = torch.tensor([7, -8]), torch.tensor([7, 7, -8, 9, 9, 9]), torch.eye(6)
    assert key_counts(Negatives(unit, anchors, keys)) == ((3, 1), (2, 1))
    assert key_counts(Negatives(unit, torch.tensor([-1, 5]), keys)) == ((3, 1), (2, 1), (1, 1))  # -1 is a valid id
    batch = torch.tensor([0, 1, 2, 0, 1, 2])
    assert key_counts(Negatives(unit, torch.arange(3), batch)) == ((2, 2),)
