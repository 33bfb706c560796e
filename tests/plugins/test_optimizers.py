"""The built-in optimizers against the published update rules and other libraries, and what they refuse."""

import pytest
import torch
from lightly.utils.lars import LARS
from torch import nn

from ssl_pipeline.config import Optimizer
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.loading import load_registry
from ssl_pipeline.training.optimization import build_optimizer, parameter_groups

REGISTRY = load_registry()


def build(module, name, rate=1e-2, decay=0.0, **options):
    """Build the optimizer from its description in params.yaml."""
    values = {"name": name, "learning_rate": rate, "weight_decay": decay, **options}
    return build_optimizer(REGISTRY, Optimizer.model_validate(values), module)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("adamw", {}),
        ("adamw", {"second_beta": 0.95}),
        ("sgd", {}),
        ("sgd", {"nesterov": False}),
    ],
)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_step_matches_the_formula_in_float64(name, options, momentum):
    """Compare three steps on a quadratic with the published update rules."""
    beta, nesterov = options.get("second_beta", 0.999), options.get("nesterov", True)
    rate, decay = 0.05, 0.1
    weight = nn.Linear(3, 2, bias=False).double()
    w = weight.weight.detach().clone()
    optimizer = build(weight, name, rate, decay, momentum=momentum, **options)
    m, v = torch.zeros_like(w), torch.zeros_like(w)
    for t in range(1, 4):
        optimizer.zero_grad()
        (0.5 * (weight.weight - 1.0) ** 2).sum().backward()
        optimizer.step()
        gradient = w - 1.0
        if name == "adamw":
            m = momentum * m + (1 - momentum) * gradient
            v = beta * v + (1 - beta) * gradient**2
            step = (m / (1 - momentum**t)) / ((v / (1 - beta**t)).sqrt() + 1e-8)
            w = w - rate * decay * w - rate * step
        else:
            gradient = gradient + decay * w
            m = momentum * m + gradient if t > 1 else gradient
            w = w - rate * (gradient + momentum * m if nesterov else m)
        torch.testing.assert_close(weight.weight.detach(), w, rtol=1e-10, atol=1e-10)


def learn(model, optimizer, steps=6):
    """Train for some steps with falling learning rates; yield the rate before each step."""
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
    """Equation 6 of You et al. for weights, with and without decay; plain momentum for biases and norms."""
    model, trust = small_network(), 0.02
    weights = {"0.weight", "4.weight", "6.weight"}
    expected = {name: value.detach().clone() for name, value in model.named_parameters()}
    velocity = {name: torch.zeros_like(value) for name, value in expected.items()}
    for rate in learn(model, build(model, "lars", 1.0, decay, momentum=momentum, trust_coefficient=trust)):
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
    optimizer = build(ours, "lars", 1.0, 1e-2, momentum=0.9, trust_coefficient=0.02)
    reference = LARS(parameter_groups(theirs, 1e-2), lr=1.0, momentum=0.9, trust_coefficient=0.02)
    for _ in zip(learn(ours, optimizer), learn(theirs, reference), strict=True):
        for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(own, other, rtol=1e-10, atol=1e-12)


def test_lars_leaves_weights_of_norm_zero_to_plain_steps():
    """A layer that starts at zero would otherwise stay there."""
    layer = nn.Linear(3, 2, bias=False)
    nn.init.zeros_(layer.weight)
    layer(torch.ones(1, 3)).sum().backward()
    build(layer, "lars", 0.5, 0.1).step()
    assert torch.equal(layer.weight, torch.full((2, 3), -0.5))


def test_clipped_lars_moves_no_layer_faster_than_the_learning_rate_would():
    """LARC multiplies the gradient by min(trust ratio, learning rate)."""
    rate, trust = 0.5, 0.02
    for scale, clipped in ((1e-3, True), (10.0, False)):  # of the gradient; a small one has a large trust ratio
        layer = nn.Linear(3, 2, bias=False).double()
        before = layer.weight.detach().clone()
        layer.weight.grad = scale * torch.ones_like(before)
        build(layer, "lars", rate, trust_coefficient=trust, clip=True).step()
        ratio = trust * before.norm() / layer.weight.grad.norm()
        assert bool(ratio > rate) == clipped
        torch.testing.assert_close(layer.weight.detach(), before - min(ratio, rate) * layer.weight.grad)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("adam", {}, r"pretrain.optimizer: unknown name 'adam'. Did you mean 'adamw'"),
        ("adamw", {"momentum": 1.5}, r"pretrain.optimizer.momentum: 1.5 is too large; it must be less than 1"),
        ("adamw", {"second_beta": -1}, r"pretrain.optimizer.second_beta: -1 is too small; the smallest value is 0"),
        ("sgd", {"momentum": False}, r"pretrain.optimizer.momentum: must be a number \(found false\)"),
        ("sgd", {"nesterof": 1}, r"pretrain.optimizer.nesterof: unknown key. Did you mean 'nesterov'\? \(optimizer 'sgd'\)"),
        ("lars", {"trust_coefficient": 0}, r"pretrain.optimizer.trust_coefficient: 0 is too small; it must be greater than 0"),
        ("adamw", {"trust_coefficient": 1e-3}, "'trust_coefficient' belongs to an earlier version: only lars has this"),
        ("sgd", {"trust_coefficient": 1e-3}, "'trust_coefficient' belongs to an earlier version: only lars has this"),
    ],
)  # fmt: skip
def test_mistakes_are_named(name, options, words):
    with pytest.raises(ConfigError, match=words):
        build(nn.Linear(2, 2), name, **options)
