"""False negatives, cancelled or attracted, against the losses computed densely in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline.contrast import ranking, similarity
from ssl_pipeline.contrast.similarity import total_weight
from ssl_pipeline.testing.material import make_step
from ssl_pipeline.types import Candidates, Loss
from ssl_pipeline_plugins.losses.info_nce import InfoNCE
from ssl_pipeline_plugins.losses.negative_log_likelihood import NegativeLogLikelihood
from ssl_pipeline_plugins.losses.triplet import Triplet
from ssl_pipeline_plugins.negatives.false_negative import FalseNegative

Formula = Callable[[Tensor, Tensor], Tensor]
"""Function of the cosines of an anchor's positives (M,) and of its negatives (K,)."""


def info_nce(p: Tensor, s: Tensor) -> Tensor:
    return ((p.div(0.3).exp().sum() + s.div(0.3).exp().sum()).log() - p / 0.3).mean()


def triplet(p: Tensor, s: Tensor) -> Tensor:
    return (s[None, :] - p[:, None] + 0.8).clamp(min=0).mean()


def likelihood(p: Tensor, s: Tensor) -> Tensor:
    mass = (-3 * (2 - 2 * s)).exp().sum()
    return ((2 - 2 * p) + ((-3 * (2 - 2 * p)).exp() + mass).log() / 3).mean()


LOSSES: dict[str, tuple[Callable[[], Loss], Formula]] = {
    "info_nce": (lambda: InfoNCE(temperature=0.3), info_nce),
    "triplet": (lambda: Triplet(margin=0.8), triplet),
    "negative_log_likelihood": (lambda: NegativeLogLikelihood(beta=3.0), likelihood),
}


def expected(first: Tensor, second: Tensor, formula: Formula, count: int, threshold: float, attract: bool) -> Tensor:
    """Compute the loss anchor by anchor, ranking the other keys by their cosine to the anchor's positive."""
    n = len(first)
    unit = F.normalize(torch.cat([first, second]), dim=1)
    near_to = (unit @ unit.T).tolist()
    losses = []
    for anchor in range(2 * n):
        positive = (anchor + n) % (2 * n)
        others = [key for key in range(2 * n) if key not in (anchor, positive)]
        ranked = sorted(others, key=near_to[positive].__getitem__, reverse=True)
        found = [key for key in ranked[: min(count, len(others) - 1)] if near_to[positive][key] > threshold]
        kept = [key for key in others if key not in found]
        near = [positive]
        if attract:
            near += found + [positive] * (min(count, len(others) - 1) - len(found))
        losses.append(formula(unit[near] @ unit[anchor], unit[kept] @ unit[anchor]))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("mode", ["cancel", "attract"])
@pytest.mark.parametrize(("count", "threshold"), [(1, -1.0), (4, -1.0), (6, 0.3), (99, -1.0)])
@pytest.mark.parametrize("loss", LOSSES)
def test_loss_and_gradient_are_those_of_the_pairs_that_are_left(
    loss: str, count: int, threshold: float, mode: str, pairs, apply, same, monkeypatch
):
    for module in (similarity, ranking):
        monkeypatch.setattr(module, "edge", lambda device: 7)  # spreads the keys of an anchor over several tiles
    first, second = pairs(9)
    build, formula = LOSSES[loss]
    found = apply(build(), FalseNegative(count=count, threshold=threshold, mode=mode), first, second)
    wanted = expected(first, second, formula, count, threshold, mode == "attract")
    same(found, wanted, (first, second), 1e-9)


def test_the_support_view_decides_and_not_the_anchor():
    """A key that resembles only the anchor stays; a key that resembles the anchor's positive is removed."""
    circle = torch.tensor([0.0, 80.0, -40.0, 120.0], dtype=torch.float64).deg2rad()
    anchor, positive, like_anchor, like_positive = torch.stack([circle.cos(), circle.sin()], dim=1)
    keys = torch.stack([positive, like_anchor, like_positive])
    candidates = Candidates(anchor[None], positive[None], torch.tensor([0]), keys, torch.tensor([0, 1, 2]), make_step())
    for mode, attracted in (("cancel", None), ("attract", like_positive)):
        negatives = FalseNegative(count=1, mode=mode).select(candidates)
        mass = similarity.log_mass(anchor[None], negatives, 5.0)
        assert mass.item() == pytest.approx(5 * (like_anchor @ anchor).item())
        near = negatives.compatible(positive[None])[0]
        assert torch.equal(near, positive[None] if attracted is None else torch.stack([positive, attracted]))


@pytest.mark.parametrize(("n", "left"), [(1, 0), (2, 1), (3, 1), (6, 7)])
def test_at_least_one_negative_remains(n: int, left: int, pairs):
    unit = F.normalize(torch.cat(pairs(n)).detach(), dim=1)
    samples = torch.arange(n).repeat(2)
    candidates = Candidates(unit, unit.roll(n, 0), samples, unit, samples, make_step())
    assert total_weight(unit, FalseNegative(count=3).select(candidates)).tolist() == [left] * (2 * n)
