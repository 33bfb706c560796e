"""The backbone, the optimizer and the recipe that names them: what the pipeline requires, and what is special."""

import pytest
import torch
from example_plugin.lion import Lion
from example_plugin.mixer import Mixer
from example_plugin.recipes import mirrored
from torch import nn

from ssl_pipeline.recipes import Registered
from ssl_pipeline.testing import check_backbone, check_optimizer
from ssl_pipeline.training.optimization import parameter_groups


def test_the_backbone_is_as_promised():
    check_backbone(Mixer, size=16, width=8, depth=1)


def test_the_optimizer_is_as_promised():
    check_optimizer(Lion, momentum=0.8)


def test_the_recipe_is_a_whole_method_in_both_sizes():
    recipe = Registered.model_validate(mirrored())
    for said in (recipe, recipe.small):
        assert {"global", "plain"} == set(said.views)
        assert said.backbone.name == "example_plugin_mixer"
        assert said.optimizer.name == "example_plugin_lion"
        check_backbone_and_optimizer_take(said)


def check_backbone_and_optimizer_take(said):
    Mixer(**said.backbone.options)
    Lion(parameter_groups(nn.Linear(2, 2), 0.0), 1e-3, **said.optimizer.choice.options)


def test_a_weight_moves_by_the_learning_rate_whatever_its_gradient():
    layer = nn.Linear(3, 2, bias=False)
    before = layer.weight.detach().clone()
    layer.weight.grad = torch.tensor([[1e-6, -5.0, 0.0], [-1e-6, 5.0, 0.0]])
    Lion(parameter_groups(layer, 0.0), 0.25).step()
    moved = torch.tensor([[-0.25, 0.25, 0.0], [0.25, -0.25, 0.0]])
    torch.testing.assert_close(layer.weight.detach() - before, moved)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width, depth and patch must be 1 or more, got 0, 4 and 2"),
        ({"kernel": 4}, "kernel must be an odd number, got 4"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Mixer(**options)
