"""The proposed start: random weights, or given ones that ship as they are, learn on, or teach a small network."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from ssl_pipeline.loading import load_registry
from ssl_pipeline.planning.draft import Draft
from ssl_pipeline.planning.proposal import Proposal, propose
from ssl_pipeline.planning.starts import Given, as_teacher, put_start, way_of
from ssl_pipeline.planning.words import told_proposal, told_shortly
from ssl_pipeline.teacher_config import Teacher
from ssl_pipeline.yaml_file import read_yaml
from ssl_pipeline_stages.shelf import SHELF, SHIPPED
from tests.planning.test_proposal import LAPTOP, PHOTOS, ROOT, measure

RESNET = Given("timm/resnet18", {"name": "timm/resnet18"})
OF_A_FILE = Given("weights.pth", {"name": "torchvision/resnet18"})


@pytest.mark.parametrize(
    ("given", "pool", "passes", "way"),
    [
        (None, 200, 50.0, "scratch"),
        (RESNET, 200, 50.0, "frozen"),
        (RESNET, 10_000, 1.0, "frozen"),
        (RESNET, 10_000, 50.0, "continued"),
        (Given("timm/resnet18", {"name": "timm/resnet18"}, "timm/resnet18"), 10_000, 50.0, "distilled"),
    ],
)
def test_few_images_or_little_time_leave_given_weights_as_they_are(given, pool, passes, way):
    assert way_of(given, pool, passes) == way


def plan(given: Given | None, hours: float = 1.0, fast: float = 500.0, content: Any = None) -> Proposal:
    content = content or read_yaml(ROOT / "params.yaml")
    return propose(load_registry(), SHELF, PHOTOS, LAPTOP, hours, content, (), measure(fast), given)


def reasons(proposal: Proposal) -> dict[str, str]:
    return {setting.key: setting.reason for setting in proposal.settings}


def test_training_goes_on_from_given_weights_with_what_keeps_them():
    proposal = plan(OF_A_FILE, fast=5000.0)
    section = proposal.config.pretrain
    assert (section.init, section.backbone.model_dump()) == ("weights.pth", {"name": "torchvision/resnet18"})
    assert section.freeze_epochs >= 1
    assert section.epochs <= 30
    assert section.freeze_epochs < section.epochs
    assert section.layer_decay == 0.75
    assert section.freeze_norms
    assert 0.9 <= section.ema < 1
    scratch = plan(None, fast=5000.0).config.pretrain
    assert section.optimizer.learning_rate < scratch.optimizer.learning_rate / 3
    assert reasons(proposal).keys() <= SHIPPED.keys()


def test_without_time_given_weights_ship_as_they_are():
    proposal = plan(RESNET, hours=0.05, fast=20.0)
    section = proposal.config.pretrain
    assert (section.init, section.epochs, section.freeze_epochs, section.layer_decay) == ("timm/resnet18", 0, 0, 1.0)
    assert "they ship unchanged" in reasons(proposal)["pretrain.init"]


def test_without_weights_it_is_said_that_some_would_help_where_images_are_few():
    proposal = plan(None)
    assert proposal.config.pretrain.init == "random"
    assert "name its weights with `ssl-pipeline plan --start`" in told_proposal(proposal)
    assert "--start" in "\n".join(told_shortly(PHOTOS, LAPTOP, proposal))
    assert "--start" not in told_proposal(plan(RESNET))


def test_what_an_earlier_plan_put_there_is_taken_back():
    before = plan(RESNET, fast=5000.0)
    again = plan(None, content=before.content)
    written = {setting.key for setting in again.settings}
    assert {"pretrain.init", "pretrain.freeze_epochs", "pretrain.layer_decay", "pretrain.ema"} <= written
    after = again.config.pretrain
    assert (after.init, after.freeze_epochs, after.layer_decay, after.ema) == ("random", 0, 1.0, 0.0)


def test_a_start_that_was_frozen_can_be_planned_again():
    before = plan(RESNET, hours=0.05, fast=20.0)
    assert plan(RESNET, fast=5000.0, content=before.content).config.pretrain.epochs > 0


def test_a_small_network_learns_from_given_weights():
    draft = Draft(read_yaml(ROOT / "params.yaml"), ())
    teacher = {"weights": "weights.safetensors", "backbone": {"name": "torchvision/resnet18"}}
    put_start(draft, "distilled", Given("weights.safetensors", teacher["backbone"], teacher), 10_000, 20, 1000)
    assert draft.content["pretrain"]["init"] == "random"
    assert draft.content["pretrain"]["pretext_task"] == {"teacher": teacher}


@pytest.mark.parametrize(("epochs", "frozen_epochs"), [(1, 0), (0, 0)])
def test_epochs_of_a_person_count(epochs, frozen_epochs):
    content = read_yaml(ROOT / "params.yaml")
    content["pretrain"]["epochs"] = epochs
    left = ["pretrain.epochs"]
    found = propose(load_registry(), SHELF, PHOTOS, LAPTOP, 1.0, content, left, measure(5000.0), RESNET)
    section = found.config.pretrain
    assert (section.epochs, section.freeze_epochs) == (epochs, frozen_epochs)
    assert (section.layer_decay < 1) == bool(epochs)


@pytest.mark.parametrize(
    ("weights", "network", "described", "named"),
    [
        ("timm/resnet18", "timm/resnet18", False, "timm/resnet18"),
        ("timm/resnet18.a1_in1k", "timm/resnet18", False, "timm/resnet18.a1_in1k"),
        ("pretrained", "timm/resnet18", False, "timm/resnet18"),
        ("big/encoder.safetensors", "timm/resnet18", True, "big/encoder.safetensors"),
        ("w.safetensors", "timm/resnet18", False, {"weights": "w.safetensors", "backbone": {"name": "timm/resnet18"}}),
    ],
)
def test_weights_are_named_as_a_teacher_that_the_recipe_takes(weights, network, described, named):
    found = as_teacher(weights, {"name": network}, described)
    assert found == named
    TypeAdapter(Teacher).validate_python(found)
