"""What is wrong with a run is said by name, and of a run with which nothing is wrong nothing is said."""

from pathlib import Path

import pytest
import yaml

from benchmarks.diagnoses import BROKEN, merged
from benchmarks.project import BACKBONES
from plugins import load_registry
from ssl_pipeline.config import PretrainConfig
from ssl_pipeline.training.checkpoint import Checkpoints
from ssl_pipeline.training.monitors import DivergedError
from ssl_pipeline.training.precision import Precision
from ssl_pipeline.training.pretraining import train

SMALL = {
    "backbone": {"name": "resnet_cifar", "depth": 8, "width": 4},
    "epochs": 8,
    "warmup_epochs": 1,
    "batch_size": 64,
    "precision": "fp32",
}
"""What makes a run of the section `pretrain` of params.yaml take half a second, bounds of collapse as they are there."""


@pytest.fixture
def said(make_pool, policies, build_small, cpu, tmp_path):
    """A function of values of `pretrain` that trains on digits and returns what was said."""

    def go(values, coloured=False):
        section = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))["pretrain"]
        config = PretrainConfig.model_validate(merged({**section, **SMALL}, values))
        pool = make_pool(128 if config.batch_size > 2 else 24, coloured)
        checkpoints = Checkpoints(tmp_path / ".work", "run", {})
        try:
            history = train(build_small(config), pool, policies, config, Precision("fp32", cpu), checkpoints)
        except DivergedError as error:
            return [str(error)]
        return [found["warning"] for found in history.warnings]

    return go


@pytest.mark.parametrize("trouble", BROKEN)
def test_a_broken_configuration_is_diagnosed_by_name(trouble, said):
    values, words = BROKEN[trouble]
    (found,) = said(values)  # and of nothing else
    assert words in found
    assert "pretrain." in found  # what to change


@pytest.mark.parametrize("recipe", load_registry().names("recipe"))
def test_nothing_is_said_of_a_recipe(recipe, said):
    own = {name: {"pretext_task": {"view": "large"}} for name in ("flip", "jigsaw", "relative_patch")}
    own |= {name: {"backbone": backbone} for name, backbone in BACKBONES.items()}
    assert said({"recipe": recipe, **own.get(recipe, {})}, coloured=True) == []
