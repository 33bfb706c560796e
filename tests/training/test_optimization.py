import math
from itertools import pairwise

import pytest
import torch
from lightly.utils.lars import LARS
from torch import nn

from ssl_pipeline.config import Optimizer
from ssl_pipeline.training.optimization import build_optimizer, learning_rate, parameter_groups


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.batch_norm = nn.BatchNorm2d(4)
        self.layer_norm = nn.LayerNorm((4, 2, 2))  # its scale has three dimensions
        self.table_bias = nn.Parameter(torch.zeros(4, 4))  # a bias by its name, as in relative position tables
        self.linear = nn.Linear(4, 2)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)


def options(name, rate, decay, momentum, trust=0.02):
    return Optimizer(name=name, learning_rate=rate, weight_decay=decay, momentum=momentum, trust_coefficient=trust)


def names(model, group):
    wanted = {id(parameter) for parameter in group["params"]}
    return {name for name, parameter in model.named_parameters() if id(parameter) in wanted}


def test_biases_and_norms_do_not_decay_and_frozen_parameters_are_left_out():
    model = Model()
    decayed, free = parameter_groups(model, 0.1)
    assert decayed["weight_decay"] == 0.1
    assert free["weight_decay"] == 0.0
    assert names(model, decayed) == {"convolution.weight", "linear.weight"}
    assert names(model, free) == {
        "convolution.bias", "batch_norm.weight", "batch_norm.bias", "layer_norm.weight", "layer_norm.bias",
        "table_bias", "linear.bias",
    }  # fmt: skip


def test_a_module_of_norms_only_has_one_group():
    assert len(parameter_groups(nn.BatchNorm2d(3), 0.1)) == 1


@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_step_matches_the_formula_in_float64(name, momentum):
    """Three steps on a quadratic, against the published update rules written out."""
    rate, decay = 0.05, 0.1
    weight = nn.Linear(3, 2, bias=False).double()
    w = weight.weight.detach().clone()
    optimizer = build_optimizer(weight, options(name, rate, decay, momentum))
    m, v = torch.zeros_like(w), torch.zeros_like(w)
    for t in range(1, 4):
        optimizer.zero_grad()
        (0.5 * (weight.weight - 1.0) ** 2).sum().backward()
        optimizer.step()
        gradient = w - 1.0
        if name == "adamw":
            m = momentum * m + (1 - momentum) * gradient
            v = 0.999 * v + 0.001 * gradient**2
            step = (m / (1 - momentum**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
            w = w - rate * decay * w - rate * step
        else:
            gradient = gradient + decay * w
            m = momentum * m + gradient if t > 1 else gradient
            w = w - rate * (gradient + momentum * m if momentum else gradient)
        torch.testing.assert_close(weight.weight.detach(), w, rtol=1e-10, atol=1e-10)


def learn(model, optimizer, steps=6):
    """The model after some steps at falling rates; yields at each of them, before the step."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(8, 3, 6, 6, generator=generator, dtype=torch.float64)
    wanted = torch.randn(8, 2, generator=generator, dtype=torch.float64)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 3.0 / (1 + step)
        optimizer.zero_grad()
        (model(images) - wanted).square().mean().backward()
        yield group["lr"]
        optimizer.step()


def small_network():
    torch.manual_seed(0)
    layers = (
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, 5),
        nn.ReLU(),
        nn.Linear(5, 2),
    )
    return nn.Sequential(*layers).double()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 1e-2])
def test_lars_matches_the_formula_in_float64(momentum, decay):
    """You et al.'s equation 6 on weights, without decay too; plain momentum on biases and norms."""
    model, trust = small_network(), 0.02
    weights = {"0.weight", "4.weight", "6.weight"}
    expected = {name: value.detach().clone() for name, value in model.named_parameters()}
    velocity = {name: torch.zeros_like(value) for name, value in expected.items()}
    for rate in learn(model, build_optimizer(model, options("lars", 1.0, decay, momentum, trust))):
        for name, value in model.named_parameters():
            torch.testing.assert_close(value.detach(), expected[name], rtol=1e-7, atol=1e-9)
            w, step = expected[name], value.grad
            if name in weights:
                local = trust * w.square().sum().sqrt() / (step.square().sum().sqrt() + decay * w.square().sum().sqrt())
                step = local * (step + decay * w)
            velocity[name] = momentum * velocity[name] + step
            expected[name] = w - rate * velocity[name]


def test_lars_matches_lightly_s():
    ours, theirs = small_network(), small_network()
    optimizer = build_optimizer(ours, options("lars", 1.0, 1e-2, 0.9))
    reference = LARS(parameter_groups(theirs, 1e-2), lr=1.0, momentum=0.9, trust_coefficient=0.02)
    for _ in zip(learn(ours, optimizer), learn(theirs, reference), strict=True):
        for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(own, other, rtol=1e-10, atol=1e-12)


def test_lars_leaves_weights_of_norm_zero_to_plain_steps():
    """A layer that starts at zero would stay there."""
    layer = nn.Linear(3, 2, bias=False)
    nn.init.zeros_(layer.weight)
    layer(torch.ones(1, 3)).sum().backward()
    build_optimizer(layer, options("lars", 0.5, 0.1, 0.9)).step()
    assert torch.equal(layer.weight, torch.full((2, 3), -0.5))


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero():
    rates = [learning_rate(step, 100, 10, 2.0) for step in range(100)]
    assert rates[0] == pytest.approx(2.0 / 11)
    assert max(rates) == rates[10] == 2.0
    assert all(a < b for a, b in pairwise(rates[:11]))
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert rates[55] == pytest.approx(1.0)  # half way down
    assert 0 < rates[99] < 1e-3
    assert learning_rate(100, 100, 10, 2.0) == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize("warmup", [0.0, 0.5, 3.7])
def test_the_learning_rate_takes_any_warmup(warmup):
    rates = [learning_rate(step, 8, warmup, 1.0) for step in range(8)]
    assert all(0 < rate <= 1 and math.isfinite(rate) for rate in rates)
