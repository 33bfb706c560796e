"""Losses without negatives against their papers' formulas in float64, and against lightly."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline.artifacts.assembly import build_task
from ssl_pipeline.config import Choice
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.loading import load_registry
from ssl_pipeline.recipes import Recipe
from ssl_pipeline.testing.material import make_step, make_views, small_encoder
from ssl_pipeline_plugins.losses.barlow_twins import BarlowTwins
from ssl_pipeline_plugins.losses.coding_rate import CodingRate
from ssl_pipeline_plugins.losses.negative_cosine import NegativeCosine
from ssl_pipeline_plugins.losses.vicreg import VICReg
from ssl_pipeline_plugins.losses.w_mse import WMSE


def both(first: Tensor, second: Tensor) -> Tensor:
    return torch.stack([first, second])


def unit(first: Tensor, second: Tensor) -> Tensor:
    return F.normalize(both(first, second), dim=2)


def cosine(first: Tensor, second: Tensor) -> Tensor:
    return ((first * second).sum(1) / first.norm(dim=1) / second.norm(dim=1)).mean()


def barlow(first: Tensor, second: Tensor) -> Tensor:
    n, d = first.shape
    one, two = ((view - view.mean(0)) / (view.var(0, correction=0) + 1e-5).sqrt() for view in (first, second))
    total = torch.zeros((), dtype=first.dtype)
    for i in range(d):
        for j in range(d):
            c = (one[:, i] * two[:, j]).sum() / n
            total = total + ((1 - c) ** 2 if i == j else 0.01 * c**2)
    return total


def vicreg(first: Tensor, second: Tensor) -> Tensor:
    total = 20 * (first - second).pow(2).mean()
    for view in (first, second):
        total = total + 30 * (1 - (view.var(0) + 1e-4).sqrt()).clamp(min=0).mean() / 2
        off = torch.cov(view.T)
        off = off - off.diag().diag()
        total = total + 2 * off.pow(2).sum() / view.shape[1]
    return total


def whitened(view: Tensor) -> Tensor:
    covariance = torch.cov(view.T)
    return (view - view.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(covariance)).T


def w_mse(first: Tensor, second: Tensor) -> Tensor:
    halves = [(first[:20], second[:20]), (first[20:40], second[20:40])]
    return sum(2 - 2 * cosine(whitened(one), whitened(other)) for one, other in halves) / 2


def coding_rate(first: Tensor, second: Tensor) -> Tensor:
    unit = [F.normalize(view, dim=1) for view in (first, second)]
    n, d = first.shape
    mean = (unit[0] + unit[1]) / 2
    total = torch.zeros((), dtype=first.dtype)
    for view in unit:
        rate = torch.log(torch.linalg.det(torch.eye(d, dtype=view.dtype) + d / (n * 0.3) * view.T @ view)) / 2
        total = total - rate / 2 - 50 * cosine(view, mean) / 2
    return total


FORMULAS = {
    "negative_cosine": (NegativeCosine(stop_gradient=False), lambda a, b: -cosine(a, b)),
    "barlow_twins": (BarlowTwins(redundancy=0.01), barlow),
    "vicreg": (VICReg(invariance=20.0, variance=30.0, covariance=2.0), vicreg),
    "w_mse": (WMSE(sub_batch=20), w_mse),
    "coding_rate": (CodingRate(distortion=0.3, invariance=50.0), coding_rate),
}


@pytest.mark.parametrize("n", [40, 43])
@pytest.mark.parametrize("name", FORMULAS)
def test_loss_and_gradient_are_the_paper_s_formula(name: str, n: int, pairs, same):
    loss, formula = FORMULAS[name]
    leaves = pairs(n)
    same(loss(both(*leaves), both(*leaves), make_step()).loss, formula(*leaves), leaves)


@pytest.mark.parametrize("name", FORMULAS)
def test_loss_and_gradient_are_lightly_s(name: str, pairs, same):
    from lightly.loss import BarlowTwinsLoss, NegativeCosineSimilarity, VICRegLoss, WMSELoss
    from lightly.loss.emp_ssl_loss import invariance_loss, tcr_loss

    leaves = pairs(40)
    peers = {
        # lightly permutes the batch before it whitens it as a whole, which changes nothing
        "w_mse": lambda first, second: WMSELoss(8, w_size=40, track_running_stats=False)(torch.cat([first, second])),
        # lightly's EMPSSLLoss adds the rate, which the paper and the authors' code subtract
        "coding_rate": lambda first, second: (
            50 * invariance_loss(unit(first, second)) - tcr_loss(unit(first, second), 0.3)
        ),
        "negative_cosine": NegativeCosineSimilarity(),
        "barlow_twins": BarlowTwinsLoss(lambda_param=0.01),
        "vicreg": VICRegLoss(lambda_param=20.0, mu_param=30.0, nu_param=2.0),
    }
    # lightly divides by a different standard deviation with a different epsilon
    loss = WMSE() if name == "w_mse" else FORMULAS[name][0]
    same(loss(both(*leaves), both(*leaves), make_step()).loss, peers[name](*leaves), leaves, 1e-6)


def test_targets_are_constants_unless_asked_otherwise(pairs):
    predictions, targets = both(*pairs(6)), both(*pairs(7)).narrow(1, 0, 6)
    for stops in (True, False):
        loss = NegativeCosine(stop_gradient=stops)(predictions, targets, make_step()).loss
        found = torch.autograd.grad(loss, targets, allow_unused=True)[0]
        assert (found is None) == stops


@pytest.mark.parametrize("name", sorted(set(FORMULAS) - {"coding_rate"}))  # coding_rate takes all views at once
def test_local_views_are_held_against_both_global_ones(name: str, pairs):
    loss = WMSE(shrinkage=0.1) if name == "w_mse" else FORMULAS[name][0]
    first, second = pairs(9)
    local = first.flip(0) + 0.1
    predictions, targets = torch.stack([first, second, local]), both(first, second)
    found = loss(predictions, targets, make_step())
    if name == "negative_cosine":
        terms = [(second, first), (first, second), (local, first), (local, second)]
        wanted = -sum(cosine(*term) for term in terms) / 4
        assert found.loss.item() == pytest.approx(wanted.item())
        return
    terms = [(first, second), (first, local), (second, local)]
    each = [loss(both(*term), both(*term), make_step()).loss for term in terms]  # each of three views is in two pairs
    assert found.loss.item() == pytest.approx((sum(each) / 3).item())


def recipe(loss: Choice, **options: object) -> Recipe:
    task = Choice(name="non_contrastive", hidden_dim=16, out_dim=8, **options)
    return Recipe(name="mine", pretext_task=task, loss=loss)


@pytest.mark.parametrize("options", [{}, {"predictor_dim": 8}, {"predictor_dim": 8, "momentum": 0.9}])
def test_targets_are_the_teacher_s_projections_or_the_views_own(options: dict[str, object]):
    task = build_task(
        load_registry(), recipe(Choice(name="negative_cosine"), **options), small_encoder(0), 0, 16
    ).train()
    with torch.no_grad():
        for weight in task.encoder.parameters():
            weight.mul_(1.1)  # the teacher now differs from its student
    views = make_views(task, 12, 16)
    embeddings = task.encoder(views["global"].transpose(0, 1).flatten(0, 1))
    own = task.energy_head.projector(embeddings)
    targets = own
    if "momentum" in options:
        taught = task.teacher["encoder"](views["global"].transpose(0, 1).flatten(0, 1))
        targets = task.teacher["projector"](taught)
    predictions = F.normalize(task.predictor(own), dim=1)
    wanted = -(predictions * F.normalize(targets, dim=1).roll(12, dims=0)).sum(1).mean()
    assert task.compare(task(views), make_step(12)).loss.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_too_few_images_to_whiten_are_refused_with_what_to_do(pairs):
    leaves = pairs(8)
    with pytest.raises(ConfigError, match=r"'w_mse': 8 images are whitened together, and have 8 dimensions. Raise"):
        WMSE()(both(*leaves), both(*leaves), make_step())


def test_a_loss_of_the_other_kind_is_refused():
    with pytest.raises(ConfigError, match=r"'info_nce' does not fit pretext task 'non_contrastive', which .* without"):
        build_task(load_registry(), recipe(Choice(name="info_nce", temperature=0.2)), small_encoder(0), 0, 16)
    joint = Recipe(
        name="mine",
        pretext_task=Choice(name="joint_embedding", hidden_dim=16, out_dim=8),
        loss=Choice(name="vicreg"),
        negatives=Choice(name="in_batch"),
    )
    with pytest.raises(ConfigError, match=r"'vicreg' does not fit pretext task 'joint_embedding', .* with negatives"):
        build_task(load_registry(), joint, small_encoder(0), 0, 16)


@pytest.mark.parametrize(
    ("factory", "options", "message"),
    [
        (BarlowTwins, {"redundancy": 0.0}, "redundancy must be greater than 0, got 0.0"),
        (WMSE, {"sub_batch": -1}, "sub_batch must be at least 0, got -1"),
        (WMSE, {"shrinkage": 1.0}, r"shrinkage must lie in \[0, 1\), got 1.0"),
        (CodingRate, {"distortion": 0.0}, "distortion must be greater than 0, got 0.0"),
        (CodingRate, {"invariance": -1.0}, "invariance must be at least 0, got -1.0"),
        (VICReg, {"variance": -1.0}, "must be at least 0, got 25.0, -1.0, 1.0"),
    ],
)
def test_values_out_of_range_are_refused(factory, options, message):
    with pytest.raises(ValueError, match=message):
        factory(**options)


@pytest.mark.parametrize(
    ("loss", "sound", "broken", "words"),
    [
        (VICReg(), {"variance": 0.7}, {"variance": 0.8}, "complete collapse: dimensions fall short"),
        (VICReg(), {"covariance": 0.5}, {"covariance": 0.1}, "dimensional collapse"),
        (BarlowTwins(), {"off_diagonal": 100.0}, {"off_diagonal": 10.0}, "dimensional collapse"),
        (CodingRate(), {"coding_rate": 1.0}, {"coding_rate": 0.1, "projection_std": 0.2}, "complete collapse"),
    ],
)
def test_a_term_that_no_longer_counts_is_named(loss, sound, broken, words):
    """With a loss of 20 and projections that vary along few directions only."""
    loss.fit_to(64)
    figures = {"loss": 20.0, "projection_rank": 3.0, "projection_std": 0.9, "variance": 0.1, "covariance": 0.5}
    assert loss.diagnose({**figures, **sound}) == []
    (found,) = loss.diagnose({**figures, **broken})
    assert found.fatal
    assert found.message.startswith(words)
    assert "pretrain.loss" in found.message


def test_whitening_that_is_shrunk_away_is_named():
    figures = {"projection_std": 0.9, "projection_rank": 3.0}
    sound, broken = WMSE(shrinkage=0.9), WMSE(shrinkage=0.999)
    for loss in (sound, broken):
        loss.fit_to(32)
    assert sound.diagnose(figures) == []
    (found,) = broken.diagnose(figures)
    assert found.message.startswith("dimensional collapse")
    assert "{shrinkage: ...}" in found.message
