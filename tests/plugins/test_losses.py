"""Every loss against its paper's formula, computed densely in float64, and against another library that has it."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline.testing.material import make_step
from ssl_pipeline.types import Candidates, Negatives
from ssl_pipeline_plugins.losses.alignment_uniformity import AlignmentUniformity
from ssl_pipeline_plugins.losses.contrastive import Contrastive
from ssl_pipeline_plugins.losses.decoupled import Decoupled
from ssl_pipeline_plugins.losses.generalised_margin import GeneralisedMargin
from ssl_pipeline_plugins.losses.mean_square_exponential import MeanSquareExponential
from ssl_pipeline_plugins.losses.nce import NCE
from ssl_pipeline_plugins.losses.negative_log_likelihood import NegativeLogLikelihood
from ssl_pipeline_plugins.losses.sigmoid import Sigmoid
from ssl_pipeline_plugins.losses.spectral import Spectral
from ssl_pipeline_plugins.losses.square_exponential import SquareExponential
from ssl_pipeline_plugins.losses.triplet import Triplet
from ssl_pipeline_plugins.losses.truncated_triplet import TruncatedTriplet
from ssl_pipeline_plugins.negatives.in_batch import InBatch
from ssl_pipeline_plugins.negatives.semi_hard import SemiHard


def dense(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cosines of positives (2N,) and of negatives (2N, 2N - 2)."""
    n = len(first)
    unit = F.normalize(torch.cat([first, second]), dim=1)
    cosine = unit @ unit.T
    samples = torch.arange(n).repeat(2)
    others = samples[:, None] != samples[None, :]
    return (unit * unit.roll(n, 0)).sum(1), cosine[others].view(2 * n, 2 * n - 2)


def nce(p: Tensor, s: Tensor) -> Tensor:
    odds = [value / 0.3 - 2.0 - math.log(s.shape[1]) + 1.5 for value in (p, s)]
    return (-odds[0].sigmoid().log() - (1 - odds[1].sigmoid()).log().sum(1)).mean()


def likelihood(p: Tensor, s: Tensor) -> Tensor:
    energy = 2 - 2 * torch.cat([p[:, None], s], dim=1)
    return (energy[:, 0] + (-3 * energy).exp().sum(1).log() / 3).mean()


def truncated(p: Tensor, deputy: Tensor, margin: float, weight: float) -> Tensor:
    """Compute the loss of the authors' head, whose distances are -2 cos."""
    return (margin + weight * (-2 * p) - (-2 * deputy)).clamp(min=0).mean()


def descending(s: Tensor) -> Tensor:
    return s.sort(dim=1, descending=True).values


FORMULAS = {  # functions of the cosines of positives p (A,) and of negatives s (A, K)
    "decoupled": lambda p, s: (-p / 0.2 + (s / 0.2).exp().sum(1).log()).mean(),
    "decoupled_weighted": lambda p, s: (
        -(2 - (p / 0.5).exp() / (p / 0.5).exp().mean()) * p / 0.2 + (s / 0.2).exp().sum(1).log()
    ).mean(),
    "sigmoid": lambda p, s: (-F.logsigmoid(5 * p - 3) - F.logsigmoid(-(5 * s - 3)).sum(1)).mean(),
    "nce": nce,
    "triplet_euclidean": lambda p, s: ((2 - 2 * p[:, None]) - (2 - 2 * s) + 0.5).clamp(min=0).mean(),
    "triplet_soft": lambda p, s: (1 + (s - p[:, None] + 0.1).exp()).log().mean(),
    "truncated_triplet": lambda p, s: truncated(p, descending(s)[:, 2], 2.8, 2.0),
    "truncated_band": lambda p, s: truncated(p, descending(s)[:, 1:4].mean(1), 2.8, 2.0),
    "truncated_alike": lambda p, s: truncated(p, descending(s)[:, 2], 0.8, 1.0),
    "contrastive": lambda p, s: (2 - 2 * p + (1.2 - (2 - 2 * s).sqrt()).clamp(min=0).square().mean(1)).mean(),
    "square_exponential": lambda p, s: ((1 - p).square() + 0.7 * (-(1 - s)).exp().amax(1)).mean(),
    "mean_square_exponential": lambda p, s: ((1 - p).square() + 0.7 * (-(1 - s)).exp().mean(1)).mean(),
    "generalised_margin": lambda p, s: (1 + (1.0 + (2 - 2 * p) - (2 - 2 * s).amin(1)).exp()).log().mean(),
    "negative_log_likelihood": likelihood,
    "spectral": lambda p, s: 2 * s.square().mean() - 2 * p.mean(),
    "alignment_uniformity": lambda p, s: (2 - 2 * p).pow(1.5).mean() + 0.5 * (-2 * (2 - 2 * s)).exp().mean().log(),
}
LOSSES = {
    "decoupled": lambda: Decoupled(temperature=0.2),
    "decoupled_weighted": lambda: Decoupled(temperature=0.2, sigma=0.5),
    "sigmoid": lambda: Sigmoid(scale=5.0, bias=-3.0),
    "nce": lambda: NCE(temperature=0.3, normaliser="fixed", constant=-2.0, log_noise=-1.5),
    "triplet_euclidean": lambda: Triplet(margin=0.5, distance="squared_euclidean"),
    "triplet_soft": lambda: Triplet(margin=0.1, soft=True),
    "truncated_triplet": lambda: TruncatedTriplet(margin=2.8 - 2, rank=3),
    "truncated_band": lambda: TruncatedTriplet(margin=2.8 - 2, rank=2, band=3),
    "truncated_alike": lambda: TruncatedTriplet(margin=0.8, rank=3, positive_weight=1.0),
    "contrastive": lambda: Contrastive(margin=1.2),
    "square_exponential": lambda: SquareExponential(energy="cosine", gamma=0.7),
    "mean_square_exponential": lambda: MeanSquareExponential(energy="cosine", gamma=0.7),
    "generalised_margin": lambda: GeneralisedMargin(),
    "negative_log_likelihood": lambda: NegativeLogLikelihood(beta=3.0),
    "spectral": lambda: Spectral(radius=2.0),
    "alignment_uniformity": lambda: AlignmentUniformity(alpha=3.0, weight=0.5),
}


@pytest.mark.parametrize("n", [4, 19])
@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_gradient_are_the_paper_s_formula(name: str, n: int, pairs, apply, same):
    first, second = pairs(n)
    loss = LOSSES[name]().double()
    if name == "nce":  # its constant would lose digits on the way through float32
        loss.constant.fill_(-2.0)
    same(apply(loss, InBatch(), first, second), FORMULAS[name](*dense(first, second)), (first, second), 1e-6)


@pytest.mark.filterwarnings("ignore:To copy construct:UserWarning")  # raised by lightly itself
def test_decoupled_is_lightly_s(pairs, apply, same):
    from lightly.loss import DCLLoss, DCLWLoss

    first, second = pairs(12)
    same(
        apply(Decoupled(temperature=0.2), InBatch(), first, second), DCLLoss(0.2)(first, second), (first, second), 1e-6
    )
    weighted = apply(
        Decoupled(temperature=0.2, sigma=0.5), InBatch(), first, second
    )  # its gradient differs, as in the authors' code
    assert weighted.item() == pytest.approx(DCLWLoss(0.2, 0.5)(first, second).item(), rel=1e-6)


@pytest.mark.parametrize("distance", ["cosine", "squared_euclidean"])
def test_triplet_is_pytorch_metric_learning_s(distance: str, pairs, apply, same):
    from pytorch_metric_learning.distances import CosineSimilarity, LpDistance
    from pytorch_metric_learning.losses import TripletMarginLoss
    from pytorch_metric_learning.reducers import MeanReducer

    first, second = pairs(10)
    theirs = CosineSimilarity() if distance == "cosine" else LpDistance(power=2)
    peer = TripletMarginLoss(margin=0.3, distance=theirs, reducer=MeanReducer())
    expected = peer(torch.cat([first, second]), torch.arange(10).repeat(2))
    same(apply(Triplet(margin=0.3, distance=distance), InBatch(), first, second), expected, (first, second), 1e-6)


def test_nce_recovers_a_known_density_and_its_normaliser():
    """On a circle of keys with density exp(<theta, k> / tau) / Z, the optimum is at that theta, with c = -log Z."""
    tau, count = 0.5, 12
    angles = 2 * math.pi * torch.arange(count, dtype=torch.float64) / count
    keys = torch.stack([angles.cos(), angles.sin()], dim=1)
    truth = torch.tensor([0.8, -0.3], dtype=torch.float64)
    log_z = (keys @ truth / tau).logsumexp(0)
    times = ((keys @ truth / tau - log_z).exp() * 60_000).round().long()  # number of samples of each key
    positives = keys.repeat_interleave(times, dim=0)[:, None]
    theta = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    loss = NCE(temperature=tau, normaliser="learned", log_noise=-math.log(count)).double()
    samples = torch.zeros(len(positives), dtype=torch.long)
    negatives = Negatives(keys, samples, torch.full((count,), -1))
    optimizer = torch.optim.LBFGS([theta, loss.constant], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(theta.expand(len(positives), 2), positives, negatives, make_step()).loss
        value.backward()
        return value

    optimizer.step(closure)
    assert theta.tolist() == pytest.approx(truth.tolist(), abs=1e-3)
    assert loss.constant.item() == pytest.approx(-log_z.item(), abs=1e-3)


def test_nce_estimates_its_normaliser_once_from_the_first_batch(pairs, apply):
    first, second = pairs(9)
    loss = NCE(temperature=0.4, normaliser="estimated", log_noise=-3.0)
    _, negative = dense(first, second)
    expected = -((negative / 0.4).exp().mean().log() + 3.0)
    for count in (9, 14):  # the first batch, then another one
        anchors = F.normalize(torch.cat(pairs(count)), dim=1).float()
        samples = torch.arange(count).repeat(2)
        negatives = Negatives(anchors, samples, samples)
        output = loss(anchors, anchors.roll(count, 0)[:, None], negatives, make_step(count))
        assert output.metrics["log_normaliser"].item() == pytest.approx(-expected.item(), rel=1e-5)
        loss.after_step(make_step(count), output.kept)
        assert loss.constant.item() == pytest.approx(expected.item(), rel=1e-5)
    fixed = NCE(temperature=0.4, normaliser="fixed", constant=expected.item(), log_noise=-3.0)
    first_loss = apply(NCE(temperature=0.4, normaliser="estimated", log_noise=-3.0), InBatch(), first, second)
    assert first_loss.item() == pytest.approx(apply(fixed, InBatch(), first, second).item(), rel=1e-6)
    again = NCE(temperature=0.4, normaliser="estimated", log_noise=-3.0)
    again.load_state_dict(loss.state_dict())
    assert again.estimated


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Triplet(margin=2.5), "margin must lie between 0 and 2, the largest cosine distance"),
        (lambda: Triplet(margin=0.0), "margin must lie between 0 and 2"),
        (
            lambda: TruncatedTriplet(margin=0.0, rank=2),
            "margin and positive_weight must be greater than 0, got 0 and 2",
        ),
        (lambda: TruncatedTriplet(margin=0.5, rank=2, positive_weight=-1.0), "must be greater than 0, got 0.5 and -1"),
        (lambda: TruncatedTriplet(margin=0.5), "set either rank, or classes and false_negative_probability"),
        (lambda: TruncatedTriplet(margin=0.5, rank=1, classes=3, false_negative_probability=0.1), "set either rank"),
        (lambda: TruncatedTriplet(margin=0.5, classes=1, false_negative_probability=0.1), "classes must be at least 2"),
        (lambda: Contrastive(margin=3.0), "margin must lie between 0 and 2"),
        (lambda: Contrastive(margin=1.5, energy="cosine"), "margin must lie between 0 and 1.41421"),
        (lambda: NegativeLogLikelihood(beta=0.0), "beta must be greater than 0, got 0"),
        (lambda: SquareExponential(gamma=0.0), "gamma must be greater than 0, got 0"),
        (lambda: MeanSquareExponential(gamma=-1.0), "gamma must be greater than 0, got -1"),
        (lambda: GeneralisedMargin(hidden_dim=8), "hidden_dim belongs to energy: network, but energy is squared_euc"),
        (lambda: NCE(temperature=0.1, log_noise=0.5), "log_noise must be at most 0"),
        (lambda: NCE(temperature=0.1, normaliser="estimated", constant=1.0), "constant is 1.0, but normaliser is est"),
        (lambda: Decoupled(temperature=0.0), "temperature must be greater than 0"),
        (lambda: Decoupled(temperature=0.1, sigma=-1.0), "sigma must be at least 0"),
        (lambda: Sigmoid(scale=0.0), "scale must be greater than 0"),
        (lambda: Spectral(radius=-1.0), "radius must be greater than 0"),
        (lambda: AlignmentUniformity(t=0.0), "t must be greater than 0"),
    ],
)
def test_what_makes_no_sense_is_refused(build, words: str):
    with pytest.raises(ValueError, match=words):
        build()


def test_the_truncated_triplet_s_rank_follows_from_the_probability():
    """With two classes and ten other images, P(at least 8 false) = 0.0547 and P(at least 9 false) = 0.0107."""

    def rank(views: int, **options: Any) -> float:
        keys, samples = F.normalize(torch.randn(11 * views, 4), dim=1), torch.arange(11).repeat(views)
        negatives = Negatives(keys, torch.arange(11), samples)
        return (
            TruncatedTriplet(margin=0.5, **options)(keys[:11], keys[:11, None], negatives, make_step())
            .metrics["deputy_rank"]
            .item()
        )

    assert rank(1, classes=2, false_negative_probability=0.05) == 9
    assert rank(1, classes=2, false_negative_probability=0.06) == 8
    assert rank(1, classes=2, false_negative_probability=1e-9) == 10
    assert rank(2, classes=2, false_negative_probability=0.05) == 17  # eight images are false, with all of their keys
    assert rank(2, classes=2, false_negative_probability=0.06) == 15
    assert rank(1, rank=30) == 10


def test_troubles_are_named():
    def fine(loss, **figures):
        return " ".join(finding.message for finding in loss.diagnose({"negatives": 100.0, **figures}))

    stuck = fine(Triplet(margin=0.5), violating_share=1.0, loss_over_margin=1.001)
    assert "stuck at the margin (0.5)" in stuck
    assert "margin is too large (1.9)" in fine(Triplet(margin=1.9), violating_share=1.0, loss_over_margin=0.7)
    assert fine(Triplet(margin=0.5), violating_share=0.3, loss_over_margin=0.1) == ""
    assert "temperature is too small (0.001)" in fine(Decoupled(temperature=0.001), negatives_seen=1.1)
    assert "temperature is too large (10)" in fine(Decoupled(temperature=10.0), negatives_seen=99.9)
    assert fine(Decoupled(temperature=0.1), negatives_seen=30.0) == ""
    assert (
        fine(Decoupled(temperature=0.1), negatives=3.0, negatives_seen=3.0) == ""
    )  # too few negatives to judge a temperature
    assert "deputy is the farthest" in fine(TruncatedTriplet(margin=0.5, rank=100), deputy_rank=100.0)
    assert "margin is too large (1.9)" in fine(
        TruncatedTriplet(margin=1.9, rank=3), deputy_rank=3.0, too_near_share=1.0
    )
    assert fine(TruncatedTriplet(margin=0.5, rank=3), deputy_rank=3.0, too_near_share=0.8) == ""
    assert (
        fine(TruncatedTriplet(margin=98.0, rank=3), deputy_rank=3.0, too_near_share=1.0) == ""
    )  # as the authors intend


def test_a_strategy_that_keeps_violations_alone_is_not_a_margin_that_is_too_large(pairs):
    first, second = pairs(12)
    anchors = F.normalize(torch.cat([first, second]), dim=1)
    samples, positives = torch.arange(12).repeat(2), anchors.roll(12, 0)
    negatives = SemiHard(margin=0.3).select(Candidates(anchors, positives, samples, anchors, samples, make_step()))
    loss = Triplet(margin=0.3)
    metrics = loss(anchors, positives[:, None], negatives, make_step()).metrics
    figures = {name: value.item() for name, value in metrics.items()}
    assert figures["active_share"] == 1.0
    positive, negative = dense(first, second)
    assert figures["violating_share"] == pytest.approx((negative > positive[:, None] - 0.3).double().mean().item())
    assert loss.diagnose(figures) == []
