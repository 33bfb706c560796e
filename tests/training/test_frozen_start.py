"""A run of no epochs: the initial weights ship unchanged, and are evaluated once."""

import json

import pytest
import safetensors.torch
import torch

from ssl_pipeline.artifacts.assembly import build_encoder
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.training.preparation import starting_weights
from ssl_pipeline.training.saving import write_report
from ssl_pipeline.training.view_sizes import sides_over_time
from tests.factories import BACKBONE
from tests.training.conftest import REGISTRY


@pytest.fixture
def weights(pool, tmp_path):
    """A file of weights, and the weights in it."""
    encoder = build_encoder(REGISTRY, BACKBONE, pool.mean, pool.std, 5, 8)
    state = encoder.backbone.state_dict()
    safetensors.torch.save_file(state, tmp_path / "given.safetensors")
    return tmp_path / "given.safetensors", state


@pytest.mark.parametrize("recipe", ["simclr", "byol", "rotation"])
def test_the_given_weights_ship_as_they_are_and_are_looked_at_once(
    weights, run, pool, policies, configure, tmp_path, recipe
):
    path, state = weights
    config = configure(recipe=recipe, init=str(path), epochs=0, resolution=[[0, 0.5], [0.5, 1.0]])
    task, history = run(config)
    shipped = task.encoder.backbone.state_dict()
    assert shipped.keys() == state.keys()
    assert all(torch.equal(shipped[name], state[name]) for name in state)
    (row,) = history.rows
    assert row["step"] == 0
    assert 0 < row["embedding_std"] <= 1
    assert "loss" not in row  # nothing was learned
    assert starting_weights(task, config) == {}  # it is not compared with itself
    assert sides_over_time(task, policies, config) == ()  # it was trained on no views
    write_report(tmp_path / "report", task, config, history, pool, policies)
    details = json.loads((tmp_path / "report/details.json").read_text())
    assert details["effective_rank"] == row["effective_rank"]
    assert (tmp_path / "report/pictures/curves.png").stat().st_size > 1000


def test_random_weights_do_not_ship_untrained(build_small, configure):
    with pytest.raises(ConfigError, match=r"pretrain.epochs: 0 trains nothing, so with pretrain.init: random"):
        build_small(configure(epochs=0))


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        ("clip", "would ship a text tower of random weights"),
        ("colorization", "would ship an encoder that sees no colours"),
    ],
)
def test_recipes_that_would_ship_less_than_the_given_weights_are_refused(
    weights, build_small, configure, recipe, reason
):
    with pytest.raises(ConfigError, match=f"recipe '{recipe}' {reason}"):
        build_small(configure(recipe=recipe, epochs=0, init=str(weights[0])))


def test_a_negative_number_of_epochs_is_refused(configure):
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        configure(epochs=-1)
