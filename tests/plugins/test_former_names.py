"""A plugin's name or option from an earlier version is refused with what to write now."""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from ssl_pipeline import hookimpl
from ssl_pipeline.config import Choice, load
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.loading import load_registry
from ssl_pipeline.recipes import resolve
from ssl_pipeline.registry import Registry
from ssl_pipeline.testing.material import Plain

REGISTRY = load_registry()
PRETRAIN = load(Path(__file__).parents[2] / "params.yaml").pretrain


@pytest.mark.parametrize(
    ("loss", "key"),
    [
        ({"name": "energy", "functional": "contrastive", "margin": 1.2}, "pretrain.loss: 'energy'"),
        ({"functional": "square_exponential"}, "pretrain.loss: 'functional'"),
    ],
)
def test_the_loss_energy_is_answered_by_a_loss_for_each_functional(loss: dict[str, Any], key: str):
    recipe = resolve(REGISTRY, PRETRAIN.model_copy(update={"recipe": "energy", "loss": loss}))
    assert recipe.loss is not None
    with pytest.raises(ConfigError, match=f"{key} belongs to an earlier version: each functional") as caught:
        REGISTRY.build("loss", recipe.loss)
    advice = re.search(r"\{.*?\}", str(caught.value))
    assert advice is not None
    REGISTRY.build("loss", Choice.model_validate(yaml.safe_load(advice[0])))


class Renamed(Plain):
    """A loss of a plugin that had another name before."""

    formerly: Mapping[str, str] = {"old": "write {name: new} in its place"}


class Plugin:
    @hookimpl
    def register_losses(self, register: Any) -> None:
        register("new", partial(Renamed))


@pytest.mark.parametrize("kind", ["loss", "negatives"])
def test_a_former_name_is_answered_for_its_own_kind_alone(kind: str):
    registry = Registry()
    registry.add(Plugin(), "somebody-s", "1.0")
    words = (
        "'old' belongs to an earlier version: write {name: new} in its place."
        if kind == "loss"
        else "unknown name 'old'"
    )
    with pytest.raises(ConfigError, match=f"pretrain.{kind}: {words}"):
        registry.build(kind, Choice(name="old"))
