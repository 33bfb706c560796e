"""Every strategy does what its paper says, and every loss works with every strategy or is refused."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline.artifacts.assembly import build_task
from ssl_pipeline.config import Choice
from ssl_pipeline.contrast.similarity import total_weight
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.health.negatives import few_negatives
from ssl_pipeline.loading import load_registry
from ssl_pipeline.recipes import Recipe
from ssl_pipeline.testing.material import make_step
from ssl_pipeline.types import Backbone, Candidates, Encoder, NegativeStrategy, TaughtLoss, ViewLoss
from ssl_pipeline_plugins.losses.info_nce import InfoNCE
from ssl_pipeline_plugins.losses.triplet import Triplet
from ssl_pipeline_plugins.negatives.cross_batch import CrossBatch
from ssl_pipeline_plugins.negatives.debiased import Debiased
from ssl_pipeline_plugins.negatives.false_negative import FalseNegative
from ssl_pipeline_plugins.negatives.hard import Hard, HardDebiased
from ssl_pipeline_plugins.negatives.in_batch import InBatch
from ssl_pipeline_plugins.negatives.queue import Queue
from ssl_pipeline_plugins.negatives.ring import Ring
from ssl_pipeline_plugins.negatives.semi_hard import SemiHard
from ssl_pipeline_plugins.negatives.truncated import Truncated


def hcl(first: Tensor, second: Tensor, tau: float, prior: float, beta: float) -> Tensor:
    """Compute the algorithm of Robinson et al.; with beta = 0 it is that of Chuang et al."""
    n = len(first)
    unit = F.normalize(torch.cat([first, second]), dim=1)
    samples = torch.arange(n).repeat(2)
    negative = (unit @ unit.T / tau).exp()[samples[:, None] != samples[None, :]].view(2 * n, -1)
    positive = ((unit * unit.roll(n, 0)).sum(1) / tau).exp()
    size = 2 * n - 2
    importance = negative**beta
    weighted = (importance * negative).sum(1) / importance.mean(1)
    corrected = ((weighted - prior * size * positive) / (1 - prior)).clamp(min=size * math.exp(-1 / tau))
    return -(positive / (positive + corrected)).log().mean()


@pytest.mark.parametrize("tau", [0.2, 0.7])
@pytest.mark.parametrize("prior", [0.0, 0.1, 0.6])
@pytest.mark.parametrize("beta", [0.0, 1.5])
def test_info_nce_with_hard_and_debiased_negatives_is_the_papers_loss(beta, prior, tau, pairs, apply, same):
    first, second = pairs(11)
    strategy = {
        (False, False): InBatch,
        (False, True): lambda: Debiased(class_prior=prior),
        (True, False): lambda: Hard(beta=beta / tau),
        (True, True): lambda: HardDebiased(beta=beta / tau, class_prior=prior),
    }[beta > 0, prior > 0]()
    same(
        apply(InfoNCE(temperature=tau), strategy, first, second), hcl(first, second, tau, prior, beta), (first, second)
    )


def test_hard_weights_average_one_and_the_gradient_goes_through_them(pairs, apply):
    first, second = pairs(11)
    through = torch.autograd.grad(apply(InfoNCE(temperature=0.5), Hard(beta=2.0), first, second), first)[0]

    class Fixed(Hard):
        def _log_weight(self, tile):
            return super()._log_weight(tile).detach()

    fixed = torch.autograd.grad(apply(InfoNCE(temperature=0.5), Fixed(beta=2.0), first, second), first)[0]
    assert (through - fixed).norm() > 0.05 * through.norm()


def test_debiased_sums_are_rid_of_the_positives_share(pairs, apply, same):
    first, second = pairs(9)
    unit = F.normalize(torch.cat([first, second]), dim=1)
    samples = torch.arange(9).repeat(2)
    negative = (unit @ unit.T)[samples[:, None] != samples[None, :]].view(18, -1)
    positive = (unit * unit.roll(9, 0)).sum(1, keepdim=True)
    hinge = (negative - positive + 0.8).clamp(min=0).mean(1)
    expected = ((hinge - 0.1 * 0.8) / 0.9).clamp(min=0).mean()
    same(apply(Triplet(margin=0.8), Debiased(class_prior=0.1), first, second), expected, (first, second))


@pytest.mark.parametrize(
    ("strategy", "keep"),
    [
        (SemiHard(margin=0.4), lambda s, p: (s < p) & (s > p - 0.4)),
        (Truncated(drop=3), lambda s, p: s < s.sort(dim=1, descending=True).values[:, 2:3]),
        (Truncated(classes=2, false_negative_probability=0.3), lambda s, p: s < s.sort(dim=1).values[:, 6:7]),
    ],
)
def test_selecting_strategies_keep_the_pairs_that_they_name(strategy, keep, pairs, apply, same):
    first, second = pairs(9)
    unit = F.normalize(torch.cat([first, second]), dim=1)
    samples = torch.arange(9).repeat(2)
    negative = (unit @ unit.T)[samples[:, None] != samples[None, :]].view(18, -1)
    positive = (unit * unit.roll(9, 0)).sum(1, keepdim=True)
    kept = keep(negative.detach(), positive.detach())
    assert 0 < kept.sum() < kept.numel()
    mass = ((negative / 0.3).exp() * kept).sum(1)
    expected = (torch.log((positive[:, 0] / 0.3).exp() + mass) - positive[:, 0] / 0.3).mean()
    same(apply(InfoNCE(temperature=0.3), strategy, first, second), expected, (first, second))


def test_the_ring_keeps_its_share_of_the_keys(pairs, apply):

    unit = F.normalize(torch.cat(pairs(200)).detach(), dim=1)
    samples = torch.arange(200).repeat(2)
    negatives = Ring(lower=0.5, upper=0.8).select(
        Candidates(unit, unit.roll(200, 0), samples, unit, samples, make_step())
    )
    kept = total_weight(unit, negatives)
    assert (kept - 0.3 * 398).abs().max() <= 1


def test_cross_batch_remembers_past_keys_without_gradient_and_survives_a_checkpoint(pairs, apply, same):
    strategy = CrossBatch(memory_size=20, start=0.5)
    past = pairs(5)
    remembered = F.normalize(torch.cat(past), dim=1)
    samples = torch.arange(5).repeat(2)
    for number, held in ((3, 0), (4, 10)):  # at a progress of 0.4, which is too early, and of 0.5
        step = make_step(number=number, total=10)
        found = strategy.select(Candidates(remembered, remembered.roll(5, 0), samples, remembered, samples, step))
        strategy.after_step(step, found.kept)
        assert len(strategy.memory.held()) == held
    restored = CrossBatch(memory_size=20, start=0.5)
    restored.load_state_dict(strategy.state_dict())
    first, second = pairs(6)
    unit = F.normalize(torch.cat([first, second]), dim=1)
    samples = torch.arange(6).repeat(2)
    negative = (unit @ unit.T / 0.3).exp()[samples[:, None] != samples[None, :]].view(12, -1)
    mass = negative.sum(1) + (unit @ remembered.detach().T / 0.3).exp().sum(1)
    positive = (unit * unit.roll(6, 0)).sum(1) / 0.3
    expected = (torch.log(positive.exp() + mass) - positive).mean()
    for one in (strategy, restored):
        same(apply(InfoNCE(temperature=0.3), one, first, second, start=5), expected, (first, second))


@pytest.mark.parametrize(("strategy", "own"), [(Queue(queue_size=100), 0), (CrossBatch(memory_size=100), 12)])
def test_an_image_does_not_meet_its_own_old_keys(pairs, strategy, own: int):
    for start in (0, 4, 9):  # images 0 to 5, 4 to 9, 9 to 14
        unit = F.normalize(torch.cat(pairs(6)).detach(), dim=1)
        samples = torch.arange(start, start + 6).repeat(2) - 3  # so that one id is -1, which is as good as any other
        found = strategy.select(Candidates(unit, unit.roll(6, 0), samples, unit, samples, make_step()))
        strategy.after_step(make_step(), found.kept)
    old = torch.tensor([22, 24, 24, 24, 24, 24]).repeat(2)  # image 9 was also in the previous step
    assert torch.equal(total_weight(unit, found).long(), old + max(0, own - 2))


OPTIONS = {
    "loss": {
        "info_nce": {"temperature": 0.2},
        "decoupled": {"temperature": 0.2},
        "sigmoid": {},
        "nce": {"temperature": 0.2},
        "triplet": {"margin": 0.5},
        "truncated_triplet": {"margin": 0.5, "rank": 2},
        "contrastive": {},
        "square_exponential": {"energy": "network"},
        "mean_square_exponential": {"energy": "network"},
        "generalised_margin": {},
        "negative_log_likelihood": {},
        "spectral": {},
        "alignment_uniformity": {},
    },
    "negatives": {
        "in_batch": {},
        "queue": {"queue_size": 32},
        "cross_batch": {"memory_size": 32, "start": 0.0},
        "hard": {"beta": 2.0},
        "debiased": {"class_prior": 0.02},
        "hard_debiased": {"beta": 2.0, "class_prior": 0.02},
        "semi_hard": {"margin": 0.5},
        "ring": {"lower": 0.2, "upper": 0.9},
        "truncated": {"drop": 2},
        "false_negative": {"count": 2, "threshold": 0.6, "mode": "attract"},
    },
}
REFUSED = {
    ("nce", "hard"),
    ("nce", "debiased"),
    ("nce", "hard_debiased"),
    ("nce", "semi_hard"),
    ("nce", "ring"),
    ("nce", "truncated"),
    ("nce", "false_negative"),
    ("truncated_triplet", "hard"),
    ("truncated_triplet", "debiased"),
    ("truncated_triplet", "hard_debiased"),
    ("generalised_margin", "hard"),
    ("generalised_margin", "debiased"),
    ("generalised_margin", "hard_debiased"),
    ("square_exponential", "hard"),
    ("square_exponential", "debiased"),
    ("square_exponential", "hard_debiased"),
    ("mean_square_exponential", "hard"),
    ("mean_square_exponential", "hard_debiased"),
}


class Flat(Backbone):
    """A linear map of the pixels, the smallest possible backbone."""

    embedding_dim = 12

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3 * 4 * 4, 12)

    def forward(self, images):
        return self.linear(images.flatten(1))


@pytest.mark.parametrize("loss", OPTIONS["loss"])
@pytest.mark.parametrize("negatives", OPTIONS["negatives"])
def test_any_loss_learns_with_any_strategy_or_is_refused_with_the_reason(loss: str, negatives: str):
    registry = load_registry()
    recipe = Recipe(
        name="grid",
        pretext_task=Choice(name="joint_embedding", hidden_dim=16, out_dim=8),
        loss=Choice(name=loss, **OPTIONS["loss"][loss]),
        negatives=Choice(name=negatives, **OPTIONS["negatives"][negatives]),
    )
    torch.manual_seed(0)
    encoder = Encoder(Flat(), (0.5,) * 3, (0.25,) * 3)
    if (loss, negatives) in REFUSED:
        with pytest.raises(ConfigError, match=f"'{loss}' makes no sense with pretrain.negatives '{negatives}'"):
            build_task(registry, recipe, encoder, 0, 16)
        return
    task = build_task(registry, recipe, encoder, 0, 16)
    optimizer = torch.optim.Adam(task.parameters(), lr=1e-2)
    losses = []
    for number in range(30):
        step = replace(make_step(number=number, total=30), ids=torch.arange(16) + 16 * number)
        images = torch.rand(16, 1, 3, 4, 4) + 0.3 * torch.rand(16, 2, 3, 4, 4)  # new images in each step
        optimizer.zero_grad()
        output = task.compare(task({"global": images}), step)
        output.loss.backward()
        assert encoder.backbone.linear.weight.grad is not None
        optimizer.step()
        task.after_step(step, output.kept)
        losses.append(output.loss.item())
        assert all(not value.requires_grad for value in output.metrics.values())
    assert all(map(math.isfinite, losses))
    settled = (
        losses if negatives not in ("cross_batch", "queue") else losses[1:]
    )  # memories provide negatives from step 2 on
    assert sum(settled[-5:]) < sum(settled[:5])
    assert isinstance(
        task.diagnose({name: value.item() for name, value in output.metrics.items()} | {"progress": 1.0}), list
    )


def test_the_grid_is_the_whole_registry():
    registry = load_registry()
    for kind in ("loss", "negatives"):
        own = [entry for entry in registry.entries() if entry.kind == kind and entry.distribution == "ssl-pipeline"]
        assert {entry.name for entry in own if not issubclass(entry.factory, (ViewLoss, TaughtLoss))} == set(
            OPTIONS[kind]
        )


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Hard(beta=0.0), "beta must be greater than 0"),
        (lambda: Debiased(class_prior=1.0), "class_prior must lie between 0 and 1"),
        (lambda: HardDebiased(beta=1.0, class_prior=0.0), "class_prior must lie between 0 and 1"),
        (lambda: SemiHard(margin=3.0), "margin must lie in"),
        (lambda: Ring(lower=0.6, upper=0.5), "0 <= lower < upper <= 1"),
        (lambda: Truncated(), "set either drop, or classes"),
        (lambda: Truncated(drop=0), "drop must be at least 1"),
        (lambda: FalseNegative(count=0), "count must be at least 1, got 0"),
        (lambda: FalseNegative(count=1, threshold=1.0), "threshold must lie in"),
        (lambda: CrossBatch(memory_size=0), "size must be at least 1"),
        (lambda: CrossBatch(memory_size=4, start=1.0), "start must lie in"),
    ],
)
def test_what_makes_no_sense_is_refused(build, words: str):
    with pytest.raises(ValueError, match=words):
        build()


@pytest.mark.parametrize(
    ("strategy", "option"),
    [
        (InBatch(), "pretrain.batch_size"),
        (Queue(queue_size=8), "queue_size"),
        (CrossBatch(memory_size=8), "memory_size"),
    ],
)
def test_a_strategy_says_itself_how_it_comes_to_more_negatives(strategy: NegativeStrategy, option: str):
    (found,) = few_negatives({"negatives": 1.0}, strategy.remedy)
    assert found.kind == "too few negatives"
    assert found.message.startswith("too few negatives (1.0 per anchor)")
    assert option in found.message
    assert few_negatives({"negatives": 4.0}, strategy.remedy) == few_negatives({}, strategy.remedy) == []
