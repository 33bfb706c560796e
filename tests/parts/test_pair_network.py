"""The learned energy of pairs, against a dense computation in float64."""

import pytest
import torch
from torch.nn import functional as F

from ssl_pipeline.artifacts.assembly import build_task
from ssl_pipeline.config import Choice
from ssl_pipeline.contrast.fold import tiles_of
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.loading import load_registry
from ssl_pipeline.recipes import Recipe
from ssl_pipeline.testing.material import small_encoder, unit_vectors
from ssl_pipeline.types import Encoder
from ssl_pipeline_plugins.losses.contrastive import Contrastive
from ssl_pipeline_plugins.losses.negative_log_likelihood import NegativeLogLikelihood
from ssl_pipeline_plugins.negatives.debiased import Debiased
from ssl_pipeline_plugins.negatives.false_negative import FalseNegative
from ssl_pipeline_plugins.negatives.in_batch import InBatch
from ssl_pipeline_plugins.negatives.semi_hard import SemiHard


@pytest.fixture
def loss():
    torch.manual_seed(0)
    loss = NegativeLogLikelihood(energy="network", beta=3.0, hidden_dim=5)
    loss.fit_to(8)
    return loss.double()


def moved(loss, vectors):
    first, _, second = loss.network.layers
    hidden = (vectors @ first.weight.T + first.bias).clamp(min=0)
    found = vectors + hidden @ second.weight.T + second.bias
    return found / found.square().sum(dim=-1, keepdim=True).sqrt()


def reference(loss, first, second, kept):
    """Compute the loss of two views; `kept` selects pairs by cosines of positives (2N, 1) and of all views (2N, 2N)."""
    unit = F.normalize(torch.cat([first, second]), dim=1)
    cosine = unit @ unit.T
    energy = torch.cdist(moved(loss, unit), moved(loss, unit)).square()
    n = len(first)
    samples = torch.arange(n).repeat(2)
    positive = torch.arange(2 * n).roll(n)
    others = (samples[:, None] != samples[None]) & kept(cosine.gather(1, positive[:, None]), cosine)
    terms = torch.exp(-3 * energy) * others
    compatible = energy.gather(1, positive[:, None])[:, 0]
    return (compatible + ((-3 * compatible).exp() + terms.sum(1)).log() / 3).mean()


STRATEGIES = {
    "in_batch": (InBatch(), lambda p, s: torch.ones_like(s, dtype=torch.bool)),
    "semi_hard": (SemiHard(margin=0.5), lambda p, s: (s < p) & (s > p - 0.5)),
}


@pytest.mark.parametrize("side", [4, 1024])
@pytest.mark.parametrize("name", STRATEGIES)
def test_the_loss_and_all_gradients_are_those_of_the_dense_formula(loss, name, side, pairs, apply, same):
    strategy, kept = STRATEGIES[name]
    leaves = pairs(11)
    with tiles_of(side):
        found = apply(loss, strategy, *leaves)
        same(found, reference(loss, *leaves, kept), (*leaves, *loss.network.parameters()))


def test_a_strategy_chooses_by_cosines_of_projections_as_it_does_for_other_losses(loss, pairs, apply):
    with torch.no_grad():
        loss.network.layers[2].weight.zero_()
        loss.network.layers[2].bias.copy_(torch.eye(8)[0] * 50)  # all energies are nearly 0, and their order is lost
    plain = NegativeLogLikelihood(beta=3.0)
    for strategy in (FalseNegative(count=3), SemiHard(margin=0.2)):
        leaves = pairs(9)
        counts = [apply(one, strategy, *leaves, wanted="negatives") for one in (loss, plain)]
        assert torch.equal(*counts)


def test_it_is_a_distance(loss):
    first, second = unit_vectors(6, 8, 0).double(), unit_vectors(6, 8, 1).double()
    energies = loss.energy(first, second)
    assert torch.equal(energies, loss.energy(second, first))
    assert (energies > 0).all()
    assert loss.energy(first, first).abs().max() < 1e-12
    torch.testing.assert_close(energies, (moved(loss, first) - moved(loss, second)).square().sum(1))
    assert not torch.allclose(energies, (first - second).square().sum(1), rtol=0.01)


def recipe(negatives):
    return Recipe(
        name="mine",
        pretext_task=Choice(name="joint_embedding", hidden_dim=16, out_dim=8),
        loss=Choice(name="negative_log_likelihood", energy="network", hidden_dim=4),
        negatives=negatives,
    )


def test_its_weights_are_the_task_s_and_the_energy_head_s():
    registry = load_registry()
    task = build_task(registry, recipe(Choice(name="in_batch")), small_encoder(0), 0, 16)
    wanted = {f"loss.network.layers.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")}
    assert wanted <= {name.removeprefix("energy_head.") for name, _ in task.named_parameters()}
    assert wanted <= set(task.energy_head.state_dict())
    assert task.energy_head.name == "network_distance_of_projections"
    again = build_task(registry, recipe(Choice(name="in_batch")), small_encoder(0), 0, 16)
    assert all(torch.equal(one, other) for one, other in zip(task.parameters(), again.parameters(), strict=True))


def test_weights_that_differentiate_through_cosines_are_refused():
    encoder: Encoder = small_encoder(0)
    with pytest.raises(
        ConfigError, match="'negative_log_likelihood' makes no sense with pretrain.negatives 'hard': weights are"
    ):
        build_task(load_registry(), recipe(Choice(name="hard", beta=1.0)), encoder, 0, 16)


def test_a_class_prior_is_heeded(loss, pairs, apply):
    leaves = pairs(7)
    assert apply(loss, Debiased(class_prior=0.1), *leaves) < apply(loss, InBatch(), *leaves)


def test_a_width_out_of_range_is_refused():
    with pytest.raises(ValueError, match="hidden_dim must be at least 1, got 0"):
        Contrastive(energy="network", hidden_dim=0)
