"""Operations of plugins: policies name them beside the built-in ones, and all other random numbers stay the same."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from ssl_pipeline.augment.policy import Policies, Policy, check_colours
from ssl_pipeline.augment.views import PARAMETERS, make_views
from ssl_pipeline.data.image_spec import RGB8, ImageSpec
from ssl_pipeline.deployment.view_graph import export_views
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.loading import load_registry
from ssl_pipeline.operations import build_operations, load_policies, operations_used
from ssl_pipeline.products import write_product
from ssl_pipeline.randomness import uniforms
from ssl_pipeline.recipes import said_by
from ssl_pipeline.registry import Registry
from ssl_pipeline.training.preparation import check_operations
from ssl_pipeline.types import ViewNeeds, ViewOperation
from ssl_pipeline_plugins.operations.random_erasing import RandomErasing
from tests.test_registry import plugin

IDS = np.arange(12, dtype=np.uint64) * np.uint64(977)
GREY = RGB8.model_copy(update={"channels": 1, "rgb": None})
BANDS = RGB8.model_copy(update={"channels": 5, "rgb": (2, 1, 0)})


class SwapRedAndBlue(ViewOperation):
    """Swaps two colours."""

    needs = frozenset({"rgb"})

    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        return images.flip(1)


def no_operation() -> str:
    return "a string"


@pytest.fixture
def registry() -> Registry:
    registry = load_registry()
    registry.add(plugin("register_operations", swap=SwapRedAndBlue, text=no_operation), "someones-plugin", "0.1")
    return registry


def built(registry: Registry, *policies: Mapping[str, Any], kind: str = "global") -> Policy:
    return build_operations(registry, {kind: Policy.model_validate([{"size": 20, **each} for each in policies])})[kind]


def views(canvases: Tensor, policy: Policy, spec: ImageSpec = RGB8, count: int = 2) -> Tensor:
    return make_views({"global": policy}, {"global": count}, canvases, IDS, 0, 0, spec)["global"]


OTHERS = {"horizontal_flip": {"p": 0.5}, "gaussian_noise": {"p": 0.5, "std": 0.05}}


def test_a_view_receives_it_last_with_probability_p_and_all_else_stays_to_the_bit(registry: Registry, canvases: Tensor):
    without = views(canvases, built(registry, OTHERS))
    found = views(canvases, built(registry, {**OTHERS, "random_erasing": {"p": 0.5, "value": 1.0}}))
    operation, chosen = RandomErasing(value=1.0), []
    for number in range(2):
        columns = torch.from_numpy(uniforms(0, 0, IDS, f"global/{number}/random_erasing", 4))
        chosen.append(columns[:, 0] < 0.5)
        erased = operation(without[:, number], columns[:, 1:])
        expected = torch.where(chosen[-1][:, None, None, None], erased, without[:, number])
        assert torch.equal(found[:, number], expected)
    assert 0 < int(torch.cat(chosen).sum()) < 24
    assert not torch.equal(chosen[0], chosen[1])


def test_each_policy_of_a_list_has_its_own(registry: Registry, canvases: Tensor):
    found = views(canvases, built(registry, {}, {"swap": {"p": 1.0}}))
    plain = views(canvases, built(registry, {}))
    assert torch.equal(found, torch.stack([plain[:, 0], plain[:, 1].flip(1)], 1))


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        (
            {"random_erase": {"p": 0.5}},
            r"random_erase: unknown name 'random_erase'\. Did you mean 'random_erasing'\?",
        ),
        ({"colour_jitter": {"p": 0.5}}, r"Did you mean 'color_jitter'\?\nKnown: .*grayscale.*random_erasing"),
        ({"random_erasing": {"p": 0.5, "larges": 0.1}}, r"random_erasing\.larges: unknown key.*'largest'"),
        ({"random_erasing": {"p": 0.5, "largest": "wide"}}, r"random_erasing\.largest: 'wide' is not a number"),
        ({"random_erasing": {"p": 0.5, "value": 2.0}}, r"random_erasing: value must lie in \[0, 1\], got 2\.0"),
        ({"text": {"p": 0.0}}, r"text: someones-plugin 0\.1 registers a str, which is not an operation"),
    ],
)
def test_mistakes_are_told_where_they_stand(registry: Registry, operations: Mapping[str, Any], message: str):
    for policies in ([operations], [{}, operations]):
        with pytest.raises(ConfigError, match=rf"(?s)^augment\.views\.global\..*{message}"):
            built(registry, *policies)


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        ({"random_erasing": {"value": 0.5}}, r"random_erasing\.p\s+Field required"),
        ({"random_erasing": {"p": 1.5}}, r"random_erasing\.p\s+Input should be less than or equal to 1"),
        ({"siz": 20}, r"siz\s+Extra inputs are not permitted"),
        ({"random_erasing": None}, r"random_erasing\s+Extra inputs are not permitted"),
    ],
)
def test_a_policy_refuses_what_is_no_operation_without_asking_plugins(operations: Mapping[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        Policy.model_validate({"size": 20, **operations})


def test_one_that_needs_colours_changes_these_alone(registry: Registry, canvases: Tensor):
    images = torch.cat([canvases, canvases[..., :2]], dim=3)
    plain, found = (views(images, built(registry, each), BANDS, 1) for each in ({}, {"swap": {"p": 1.0}}))
    assert torch.equal(found, plain[:, :, [2, 1, 0, 3, 4]])


def test_one_that_needs_colours_is_refused_in_words_where_there_are_none(registry: Registry):
    policy = built(registry, {"swap": {"p": 0.1}, "random_erasing": {"p": 1.0}})
    check_colours({"global": policy}, RGB8)
    with pytest.raises(ConfigError, match=r"augment\.views\.global: swap: these images .* have no red, green and blue"):
        check_colours({"global": policy}, GREY)
    check_colours({"global": built(registry, {"swap": {"p": 0.0}})}, GREY)


def test_of_a_recipe_s_views_it_is_left_out_and_what_is_written_is_read(registry: Registry, tmp_path: Path):
    policy = built(registry, {"swap": {"p": 0.1}, "random_erasing": {"p": 1.0}}, {"swap": {"p": 1.0}})
    left = policy.without_colours()
    assert (left.on_colours(), left.active()) == ([], {"random_erasing"})
    path = tmp_path / "policy.json"
    write_product(path, Policies(seed=3, views={"global": left}).model_dump(mode="json"))
    found = load_policies(registry, path).views["global"]
    assert found.active() == {"random_erasing"}
    # All options are stored, so that a new default in the plugin does not change an existing run
    assert found.of_plugins["random_erasing"].options == {"smallest": 0.02, "largest": 0.33, "value": 0.5}
    canvases = torch.randint(256, (12, 24, 24, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(views(canvases, found, GREY), views(canvases, left, GREY))


def test_those_that_some_view_receives_are_used(registry: Registry):
    policy = Policy.model_validate([{"size": 20, "swap": {"p": 0.0}}, {"size": 20, "random_erasing": {"p": 0.1}}])
    assert [entry.name for entry in operations_used(registry, {"global": policy, "plain": Policy(size=8)})] == [
        "random_erasing"
    ]


def test_a_task_may_forbid_it(registry: Registry):
    class Task:
        views = ViewNeeds("global")
        forbidden = frozenset({"random_erasing"})

    policy = built(registry, {"random_erasing": {"p": 0.1}})
    with pytest.raises(ConfigError, match=r"augment\.views\.global\.random_erasing: pretext task 'mine' cannot be"):
        check_operations(Task(), "mine", {"global": policy})  # type: ignore[arg-type]
    check_operations(Task(), "mine", {"global": built(registry, {}), "plain": policy})  # type: ignore[arg-type]


def test_a_recipe_s_views_can_name_it(registry: Registry, canvases: Tensor):
    recipe = {
        "pretext_task": {"name": "rotation"},
        "views": {"plain": {"size": 20, "swap": {"p": 1.0}}},
        "small": {"views": {"global": {"size": 20, "random_erasing": {"p": 1.0}}}},
    }
    recipes = plugin("register_recipes", mine=lambda: recipe)
    recipes.__name__ = "someones_recipes"
    registry.add(recipes, "someones-plugin", "0.1")
    small = build_operations(registry, said_by(registry, "mine", "small")[1].views)
    paper = build_operations(registry, said_by(registry, "mine", "paper")[1].views)
    assert (small["global"].active(), paper["plain"].active()) == ({"random_erasing"}, {"swap"})
    assert not torch.equal(views(canvases, small["global"]), views(canvases, built(registry, {})))


def test_the_graph_of_a_policy_holds_it_and_is_proved(registry: Registry, tmp_path: Path):
    path = tmp_path / "augment.onnx"
    policy = built(registry, {"swap": {"p": 0.5}, "random_erasing": {"p": 0.5}})
    assert export_views(policy, 24, path).max_difference <= 1e-3
    facts = {item.key: item.value for item in onnx.load(path).metadata_props}
    own = ["random_erasing", *(f"random_erasing.{number}" for number in range(3)), "swap"]
    assert json.loads(facts["parameters"]) == [*PARAMETERS, *own]
    assert json.loads(facts["policy"])["random_erasing"]["largest"] == 0.33


@pytest.mark.parametrize("name", ["grayscale", "size", "further"])
def test_a_plugin_cannot_take_the_name_of_a_key_of_policies(name: str):
    with pytest.raises(TypeError, match=rf"registers operation '{name}', which is a key of every policy"):
        load_registry().add(plugin("register_operations", **{name: SwapRedAndBlue}), "someones-plugin", "0.1")


def test_random_erasing_covers_the_area_that_was_drawn():
    operation = RandomErasing(smallest=0.25, largest=0.25, value=1.0)
    corners = torch.tensor([[0.5, 0.0, 0.0], [0.5, 1 - 2.0**-24, 1 - 2.0**-24], [0.5, 0.1, 0.3]])
    erased = operation(torch.zeros(3, 2, 10, 10), corners)
    torch.testing.assert_close(erased.sum(dim=(2, 3)), torch.full((3, 2), 25.0))  # a quarter of 100 px
    assert torch.equal(erased[0, 0] == 1, torch.arange(10).lt(5)[:, None] & torch.arange(10).lt(5))
    assert erased[2, 0, 0, 0] == 0
    assert erased[2, 0, 0, 1] == pytest.approx(0.25)  # the square begins in the middle of a pixel on both axes
    with pytest.raises(ValueError, match="smallest <= largest <= 1, got 0.5 and 0.2"):
        RandomErasing(smallest=0.5, largest=0.2)
