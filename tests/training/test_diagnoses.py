"""Each failure of a run is reported by its name, and a sound run has no findings."""

import re

import numpy as np
import pytest

from benchmarks.diagnoses import BROKEN, COLLAPSED, merged
from benchmarks.project import needs
from ssl_pipeline.config import PretrainConfig
from ssl_pipeline.recipes import resolve
from ssl_pipeline.training.checkpoint import Checkpoints
from ssl_pipeline.training.endings import CollapsedError, DivergedError
from ssl_pipeline.training.precision import Precision
from ssl_pipeline.training.pretraining import train
from tests.training.conftest import REGISTRY, SECTION, optimizer_of, stopping, told_besides

SMALL = {
    "backbone": {"name": "resnet_cifar", "depth": 8, "width": 4},
    "epochs": 8,
    "warmup": 0.1,
    "batch_size": 64,
    "precision": "fp32",
}
"""Settings that make a run on digits take half a second, with the collapse bounds of params.yaml."""


OWN = needs("large")

RECIPES = REGISTRY.names("recipe")
TASKS = {
    resolve(REGISTRY, PretrainConfig.model_validate(SECTION | {"recipe": name})).pretext_task.name: name
    for name in RECIPES
}
"""Pretext task -> one of its recipes."""


@pytest.fixture
def said(make_pool, policies, build_small, cpu, tmp_path, without_pictures):
    """Return a function of values of `pretrain` that trains on digits and returns the findings."""

    def go(values, coloured=False):
        config = PretrainConfig.model_validate(merged({**SECTION, **SMALL}, values))
        pool = make_pool(128 if config.batch_size > 2 else 24, coloured)
        checkpoints = Checkpoints(tmp_path / ".work", "run", {})
        task = build_small(config)
        optimizer, precision, told = optimizer_of(config), Precision("fp32", cpu), told_besides(task, pool)
        try:
            history = train(task, pool, policies, config, optimizer, precision, checkpoints, **told)
        except (CollapsedError, DivergedError) as error:
            return [str(error)]
        return [found["warning"] for found in history.warnings]

    return go


@pytest.fixture
def begun(policies, build_small, cpu, tmp_path, without_pictures):
    """Return a function of values of `pretrain` that starts a run of 160 steps and returns how its first ones ended."""

    def go(values, pool, last=24):
        long = {**SECTION, **SMALL, "epochs": 80, "warmup": 0.1}
        config = PretrainConfig.model_validate(merged(long, values))
        checkpoints, task = Checkpoints(tmp_path / ".work", "run", {}), build_small(config)
        optimizer, precision, told = optimizer_of(config), Precision("fp32", cpu), told_besides(task, pool)
        try:
            train(stopping(task, last), pool, policies, config, optimizer, precision, checkpoints, **told)
        except CollapsedError as error:
            return str(error)
        except KeyboardInterrupt:
            return ""
        raise AssertionError("the run went on")

    return go


@pytest.mark.parametrize("trouble", COLLAPSED)
def test_what_collapses_is_named_in_the_first_tenth(trouble, begun, make_pool):
    values, words = COLLAPSED[trouble]
    said = begun(values, make_pool(128, True))
    assert words in said
    assert int(re.match(r"step (\d+): ", said)[1]) <= 16


def test_a_turn_that_a_tint_gives_away_is_named_in_the_first_tenth(begun, make_pool, monkeypatch, capsys):
    """All digits are lit from above, so that brightness reveals the rotation."""
    pool = make_pool(128)
    images = type(pool).images
    light = np.linspace(1, 0, 8).reshape(1, 8, 1, 1)

    def lit(self, positions):
        return (0.25 * images(self, positions) + 191 * light).round().astype(np.uint8)

    monkeypatch.setattr(type(pool), "images", lit)
    assert begun({"recipe": "rotation", "epochs": 300}, pool, last=60) == ""
    assert re.search(r"step [1-6]\d: warning: trivial pretext solution", capsys.readouterr().err)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_sound_recipe_does_not_end_early_and_nothing_is_said_of_it(recipe, begun, make_pool, capsys):
    assert begun({"recipe": recipe, **OWN.get(recipe, {})}, make_pool(128, True)) == ""
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "values",
    [{"recipe": name, "pretext_task": {"local_views": 4}} for name in ("simclr", "simsiam", "byol", "swav", "dino")]
    + [{"recipe": name, "pretext_task": {"out_dim": 8}} for name in ("vicreg", "barlow_twins", "w_mse", "simclr")],
)
def test_sound_recipes_with_local_views_or_short_projections_do_not_end_early(values, begun, make_pool):
    assert begun(values, make_pool(128, True)) == ""


@pytest.mark.parametrize("trouble", BROKEN)
def test_a_broken_configuration_is_diagnosed_by_name(trouble, said):
    values, words = BROKEN[trouble]
    (found,) = said(values)  # and no other finding
    assert words in found
    assert "pretrain." in found  # names the setting to change


@pytest.mark.parametrize("recipe", TASKS.values())
def test_a_sound_recipe_has_no_findings_at_the_end_of_a_run(recipe, said):
    assert said({"recipe": recipe, **OWN.get(recipe, {})}, coloured=True) == []
