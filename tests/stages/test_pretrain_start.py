"""Before the first step, pretrain tries to export the network, and stores the initial weights that it was given."""

import pytest
import safetensors.torch
import torch

from benchmarks.project import change
from ssl_pipeline.artifacts.card import read_card
from ssl_pipeline.artifacts.start import started
from ssl_pipeline.deployment import rehearsal
from ssl_pipeline.loading import load_registry
from ssl_pipeline.products import sha256
from ssl_pipeline.training.checkpoint import Checkpoints
from ssl_pipeline_plugins.backbones.resnet_cifar import ResNetCifar
from tests.stages.small_pretraining import INTERRUPT, SMALL, in_process, prepare


@pytest.fixture
def project(tmp_path):
    return prepare(tmp_path / "project")


def test_what_it_started_from_is_kept_though_the_run_was_killed_and_the_file_is_gone(run, project):
    """An encoder from another run is given as the file; random initial weights are not stored."""
    run(project)
    assert not (project / "models" / "pretrain" / "start.safetensors").exists()
    first = project / "models" / "pretrain" / "encoder.safetensors"
    learned, given = sha256(first), project / "given.safetensors"
    safetensors.torch.save_file(safetensors.torch.load_file(first) | {"fc.weight": torch.zeros(10, 16)}, given)
    change(project, pretrain=SMALL | {"init": "given.safetensors", "seed": 1, "epochs": 2})
    assert "given.safetensors: left out, as the backbone has no such tensors (1): fc.weight" in run(
        project, INTERRUPT, 130
    )
    assert "after step 1 of 6" in run(project)
    digest = sha256(given)
    given.unlink()
    card = read_card(project / "models" / "pretrain")
    assert (card.init, card.init_sha256) == ("given.safetensors", digest)
    before, after = started(load_registry(), project / "models" / "pretrain"), safetensors.torch.load_file(first)
    assert learned == card.start_sha256  # both runs have the same pool, and thus the same mean and std
    assert not torch.equal(before.state_dict()["backbone.stem.0.weight"], after["backbone.stem.0.weight"])


def test_a_network_that_cannot_be_exported_is_refused_before_the_first_step(project, monkeypatch):
    """Once training has begun, the trial has passed and is not repeated."""
    plain = ResNetCifar.forward
    monkeypatch.setattr(
        ResNetCifar, "forward", lambda self, images: plain(self, images if images.sum() > 0 else -images)
    )
    status, said = in_process(project, monkeypatch)
    assert status == 2
    assert "pretrain.backbone: 'resnet_cifar' cannot be exported to ONNX" in said
    assert not (project / "models").exists()
    assert not list(project.glob(".work/*/"))
    monkeypatch.undo()
    monkeypatch.setattr(Checkpoints, "exist", lambda self: True)
    monkeypatch.setattr(rehearsal, "export_backbone", lambda *_, **__: pytest.fail("the export was tried again"))
    assert in_process(project, monkeypatch)[0] == 0
