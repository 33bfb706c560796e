import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from ssl_pipeline import hookimpl
from ssl_pipeline.config import Optimizer
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.registry import Registry
from ssl_pipeline.training.optimization import build_optimizer, learning_rate, parameter_groups
from ssl_pipeline.types import Register


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.batch_norm = nn.BatchNorm2d(4)
        self.layer_norm = nn.LayerNorm((4, 2, 2))  # its scale has three dimensions
        self.table_bias = nn.Parameter(torch.zeros(4, 4))  # named as a bias, as in tables of relative positions
        self.linear = nn.Linear(4, 2)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)


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


def test_what_is_no_optimizer_is_refused_by_its_author_s_name():
    class Plugin:
        @hookimpl
        def register_optimizers(self, register: Register) -> None:
            register("none", lambda groups, learning_rate: len(groups))

    registry = Registry()
    registry.add(Plugin(), "a-plugin", "1")
    words = (
        "pretrain.optimizer 'none': a-plugin 1 registers int, which is not an optimizer. Its author must derive it from"
    )
    with pytest.raises(ConfigError, match=words):
        build_optimizer(registry, Optimizer(name="none", learning_rate=1, weight_decay=0), Model())


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero():
    rates = [learning_rate(step, 100, 10, 2.0) for step in range(100)]
    assert rates[0] == pytest.approx(2.0 / 11)
    assert max(rates) == rates[10] == 2.0
    assert all(a < b for a, b in pairwise(rates[:11]))
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert rates[55] == pytest.approx(1.0)  # halfway down
    assert 0 < rates[99] < 1e-3
    assert learning_rate(100, 100, 10, 2.0) == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize("warmup", [0.0, 0.5, 3.7])
def test_the_learning_rate_takes_any_warmup(warmup):
    rates = [learning_rate(step, 8, warmup, 1.0) for step in range(8)]
    assert all(0 < rate <= 1 and math.isfinite(rate) for rate in rates)
