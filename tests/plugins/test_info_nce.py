"""InfoNCE: value and gradient against the paper's formula in float64 and against two other libraries."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline.contrast.fold import tiles_of
from ssl_pipeline.testing.material import make_step
from ssl_pipeline.types import Candidates, Negatives
from ssl_pipeline_plugins.losses.info_nce import InfoNCE
from ssl_pipeline_plugins.negatives.in_batch import InBatch


def pairs(n: int, dim: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    first = torch.randn(n, dim, generator=generator, dtype=torch.float64)
    second = first + 0.5 * torch.randn(n, dim, generator=generator, dtype=torch.float64)
    return first.to(dtype).requires_grad_(), second.to(dtype).requires_grad_()


def ours(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    anchors = F.normalize(torch.cat([first, second]), dim=1)
    samples = torch.arange(len(first)).repeat(2)
    positives = anchors.roll(len(first), 0)
    negatives = InBatch().select(Candidates(anchors, positives, samples, anchors, samples, make_step()))
    with tiles_of(10):  # several tiles, except for the fewest images
        return InfoNCE(temperature=temperature)(anchors, positives[:, None], negatives, make_step()).loss


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Compute SimCLR's equation 1 term by term: l(i, j) over all 2N anchors, the sum over k != i."""
    views = [*F.normalize(first, dim=1), *F.normalize(second, dim=1)]
    n = len(first)
    terms = []
    for i, anchor in enumerate(views):
        j = (i + n) % (2 * n)
        total = sum(torch.exp(anchor @ other / temperature) for k, other in enumerate(views) if k != i)
        terms.append(-torch.log(torch.exp(anchor @ views[j] / temperature) / total))
    return torch.stack(terms).mean()


def value_and_gradients(loss: Tensor, *inputs: Tensor) -> list[Tensor]:
    return [loss.detach().double(), *(gradient.double() for gradient in torch.autograd.grad(loss, inputs))]


@pytest.mark.parametrize("temperature", [0.05, 0.2, 1.0])
@pytest.mark.parametrize("n", [2, 5, 16])
def test_with_the_batch_as_negatives_it_is_nt_xent(n: int, temperature: float):
    exact = pairs(n, 8, torch.float64)
    expected = value_and_gradients(nt_xent(*exact, temperature), *exact)
    for found, wanted in zip(value_and_gradients(ours(*exact, temperature), *exact), expected, strict=True):
        assert (found - wanted).norm() <= 1e-12 * wanted.norm()
    single = pairs(n, 8)
    rounding = 2e-6 / temperature  # float32 logits have a magnitude of 1/temperature
    for found, wanted in zip(value_and_gradients(ours(*single, temperature), *single), expected, strict=True):
        assert (found - wanted).norm() <= rounding * wanted.norm()


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_it_is_the_peers_loss(temperature: float):
    from lightly.loss import NTXentLoss as LightlyLoss
    from pytorch_metric_learning.losses import NTXentLoss as MetricLearningLoss

    first, second = pairs(12, 16, torch.float64)
    found = value_and_gradients(ours(first, second, temperature), first, second)
    lightly = LightlyLoss(temperature=temperature)(first, second)
    metric = MetricLearningLoss(temperature=temperature)(torch.cat([first, second]), torch.arange(12).repeat(2))
    for peer in (lightly, metric):
        for own, theirs in zip(found, value_and_gradients(peer, first, second), strict=True):
            assert (own - theirs).norm() <= 1e-6 * theirs.norm()


def test_weights_enter_the_denominator():
    first, second = pairs(6, 8, torch.float64)
    anchors = F.normalize(torch.cat([first, second]), dim=1)
    samples = torch.arange(6).repeat(2)
    tripled = Negatives(
        anchors, samples, samples, log_weight=lambda tile: torch.full_like(tile.similarities, 3.0).log()
    )
    loss = InfoNCE(temperature=0.3)(anchors, anchors.roll(6, 0)[:, None], tripled, make_step()).loss
    similarities = anchors @ anchors.T / 0.3
    negative = torch.exp(similarities) * (samples[:, None] != samples[None, :])
    positive = torch.exp((anchors * anchors.roll(6, 0)).sum(1) / 0.3)
    expected = -torch.log(positive / (positive + 3 * negative.sum(1))).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_energy_is_low_for_the_compatible():
    first, second = (F.normalize(view, dim=1) for view in pairs(4, 8))
    loss = InfoNCE(temperature=0.5)
    torch.testing.assert_close(loss.energy(first, first), torch.full((4,), -2.0))
    assert (loss.energy(first, second) > loss.energy(first, first)).all()


def test_without_any_negative_the_loss_is_zero():
    first = F.normalize(pairs(1, 8)[0], dim=1)
    nobody = Negatives(first, torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long))
    assert InfoNCE(temperature=0.1)(first, first[:, None], nobody, make_step()).loss.item() == 0.0


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_the_temperature_must_be_positive(temperature: float):
    with pytest.raises(ValueError, match=f"temperature must be greater than 0, got {temperature}"):
        InfoNCE(temperature=temperature)
