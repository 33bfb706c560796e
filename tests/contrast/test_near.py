"""Frames near each other in time are never negatives: not in sums, ranks and counts, in a batch or in a memory."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline.config import Choice
from ssl_pipeline.contrast.fold import tiles_of
from ssl_pipeline.contrast.ranking import nearest
from ssl_pipeline.contrast.similarity import log_mass, negative_sum, total_weight
from ssl_pipeline.loading import load_registry
from ssl_pipeline.testing.material import make_ids, make_step, unit_vectors
from ssl_pipeline.types import Candidates, Near, Negatives

COUNT, WITHIN = 30, 2
IDS = make_ids(COUNT, 0)
PLACES = torch.arange(COUNT) + 10 * (torch.arange(COUNT) // 10)  # three clips of ten frames, one tick apart
ORDER = IDS.argsort()
NEAR = Near(IDS[ORDER], PLACES[ORDER], WITHIN)
STEP = replace(make_step(COUNT), near=NEAR)
STRATEGIES = [
    "in_batch",
    Choice(name="debiased", class_prior=0.1),
    Choice(name="hard", beta=2.0),
    Choice(name="hard_debiased", beta=2.0, class_prior=0.1),
    Choice(name="ring", lower=0.2, upper=0.9),
    Choice(name="semi_hard", margin=0.5),
    Choice(name="truncated", drop=2),
    Choice(name="false_negative", count=2),
    Choice(name="queue", queue_size=24),
    Choice(name="cross_batch", memory_size=24, start=0.0),
]


def far() -> Tensor:
    """Return which pairs are negatives, as (30, 30) bool."""
    return (PLACES[:, None] - PLACES).abs() > WITHIN


def vectors(seed: int) -> Tensor:
    return unit_vectors(COUNT, 8, seed).double()


@pytest.mark.parametrize("side", [7, 512])
def test_sums_and_their_gradients_are_those_over_all_other_pairs(side: int):
    anchors = vectors(0).requires_grad_()
    unit = F.normalize(anchors, dim=1)
    for keys, samples in ((unit, IDS), (vectors(1), IDS.clone())):
        negatives = Negatives(keys, IDS, samples if keys is not unit else IDS, near=NEAR)
        cosine = (unit @ keys.T).masked_fill(~far(), -torch.inf)
        with tiles_of(side):
            found = log_mass(unit, negatives, 5.0), negative_sum(unit, negatives, lambda s: (s + 0.3).clamp(min=0))
            gradient = torch.autograd.grad(sum(each.sum() for each in found), anchors, retain_graph=True)[0]
            assert torch.equal(total_weight(unit, negatives), far().sum(dim=1).double())
            best = nearest(unit, negatives, 1).keys[:, 0]
        expected = (5 * cosine).logsumexp(dim=1), (cosine + 0.3).clamp(min=0).sum(dim=1)
        wanted = torch.autograd.grad(sum(each.sum() for each in expected), anchors, retain_graph=True)[0]
        for own, theirs in zip((*found, gradient), (*expected, wanted), strict=True):
            torch.testing.assert_close(own, theirs, rtol=1e-10, atol=1e-10)
        assert torch.equal(best, cosine.argmax(dim=1))


@pytest.mark.parametrize("choice", STRATEGIES, ids=lambda choice: getattr(choice, "name", choice))
def test_a_strategy_chooses_as_if_near_frames_were_not_there(choice: Choice | str):
    """The reference gives each anchor alone to the strategy, with only the keys that are far from it."""
    registry = load_registry()
    choice = choice if isinstance(choice, Choice) else Choice(name=choice)
    anchors, past = vectors(0), vectors(1)

    def chosen(rows: Tensor, keys: Tensor, near: Near | None) -> tuple[Tensor, Tensor]:
        strategy = registry.build("negatives", choice)
        step = replace(STEP, near=near)
        for number, each in enumerate((past, anchors)):  # a strategy with a memory remembers the first batch
            candidates = Candidates(anchors[rows], each[rows], IDS[rows], each[keys], IDS[keys], step)
            negatives = strategy.select(candidates)
            if not number:
                strategy.after_step(step, negatives.kept)
        assert negatives.near is near
        weight = total_weight(anchors[rows], negatives)
        return weight, log_mass(anchors[rows], negatives, 5.0, positives=torch.ones(len(rows), 1).double())

    everybody = torch.arange(COUNT)
    weights, masses = chosen(everybody, everybody, NEAR)
    memory = {"queue": 24, "cross_batch": 24}.get(choice.name)
    for row in everybody:
        keys = far()[row].nonzero()[:, 0]
        if memory:  # the memory holds the last keys, whether near or not
            held = keys[keys >= COUNT - memory]
            own = torch.cat([anchors[keys] if choice.name == "cross_batch" else anchors[:0], past[held]])
            weight, mass = torch.tensor([len(own)]).double(), (5 * anchors[row] @ own.T).logsumexp(0)[None]
        else:
            weight, mass = chosen(row[None], keys, None)
        torch.testing.assert_close(weights[row], weight[0], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(masses[row], mass[0], rtol=1e-6, atol=1e-6)


def test_without_a_time_nothing_but_the_own_image_is_left_out():
    negatives = Negatives(vectors(0), IDS, IDS)
    assert torch.equal(total_weight(vectors(0), negatives), torch.full((COUNT,), COUNT - 1.0).double())
