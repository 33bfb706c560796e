"""Weights load into the original networks of timm and torchvision, which then compute the same embeddings."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

import ssl_pipeline
from ssl_pipeline.artifacts.assembly import build_encoder
from ssl_pipeline.artifacts.files import save_model
from ssl_pipeline.config import Choice
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.loading import load_registry
from ssl_pipeline.types import Encoder
from tests.factories import MEAN, STD, model_card


def saved(folder: Path, **choice: Any) -> Encoder:
    """Save an untrained encoder with a named backbone, and return it."""
    backbone = Choice.model_validate(choice)
    encoder = build_encoder(load_registry(), backbone, MEAN, STD, 0, 32).eval()
    save_model(folder, encoder, None, model_card(backbone=backbone, size=32, embedding_dim=encoder.embedding_dim))
    return encoder


def images() -> Tensor:
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_torchvision_takes_them_with_a_classifier_and_without(tmp_path: Path):
    encoder = saved(tmp_path, name="torchvision/resnet18")
    network = torchvision.models.resnet18(num_classes=7)
    network.load_state_dict(ssl_pipeline.state_dict(tmp_path, num_classes=7), strict=True)
    with torch.no_grad():
        assert torch.equal(network.eval()(encoder.normalised(images())), torch.zeros(2, 7))
        network.fc = nn.Identity()
        network.load_state_dict(ssl_pipeline.state_dict(tmp_path), strict=True)
        torch.testing.assert_close(network(encoder.normalised(images())), encoder(images()))


def test_a_small_stem_is_put_in_as_the_docstring_says(tmp_path: Path):
    encoder = saved(tmp_path, name="torchvision/resnet18", stem="small")
    network = torchvision.models.resnet18(num_classes=7)
    network.conv1, network.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    network.load_state_dict(ssl_pipeline.state_dict(tmp_path, num_classes=7), strict=True)
    network.fc = nn.Identity()
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(encoder.normalised(images())), encoder(images()))


@pytest.mark.parametrize(
    ("model", "options", "theirs"),
    [
        ("resnet10t", {}, {}),
        ("vit_tiny_patch16_224", {"patch_size": 8}, {"patch_size": 8, "img_size": 32}),
    ],
)
def test_timm_takes_them_with_a_classifier_and_without(
    tmp_path: Path, model: str, options: dict[str, int], theirs: dict[str, int]
):
    encoder = saved(tmp_path, name=f"timm/{model}", **options)
    network = timm.create_model(model, num_classes=0, **theirs)
    network.load_state_dict(ssl_pipeline.state_dict(tmp_path), strict=True)
    classifier = timm.create_model(model, num_classes=7, **theirs)
    classifier.load_state_dict(ssl_pipeline.state_dict(str(tmp_path), num_classes=7), strict=True)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(encoder.normalised(images())), encoder(images()))
        assert not classifier.eval()(encoder.normalised(images())).any()


def test_our_own_backbone_has_no_classifier(backbone: Path):
    network = load_registry().build("backbone", Choice.model_validate({"name": "resnet_cifar", "depth": 8, "width": 4}))
    network.load_state_dict(ssl_pipeline.state_dict(backbone.parent), strict=True)
    with pytest.raises(ConfigError, match="backbone 'resnet_cifar': this backbone has no classifier of its own"):
        ssl_pipeline.state_dict(backbone.parent, num_classes=3)


def test_a_folder_without_a_model_is_told_and_so_is_a_damaged_one(tmp_path: Path):
    with pytest.raises(PipelineError, match=r"there is no model.json in .*Give the folder of a trained model"):
        ssl_pipeline.state_dict(tmp_path)
    saved(tmp_path, name="resnet_cifar", depth=8, width=4)
    (tmp_path / "encoder.safetensors").write_bytes(b"0")
    with pytest.raises(PipelineError, match=r"damaged .*train it again, by `dvc repro --force pretrain` or by ssl_pip"):
        ssl_pipeline.state_dict(tmp_path)
