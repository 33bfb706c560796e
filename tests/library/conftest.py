"""A small, untrained backbone and its exported files."""

from pathlib import Path

import pytest
import torch

from ssl_pipeline.artifacts.assembly import build_encoder
from ssl_pipeline.artifacts.files import save_model
from ssl_pipeline.deployment.backbone_graph import export_backbone
from ssl_pipeline.loading import load_registry
from tests.factories import BACKBONE, MEAN, STD, model_card


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """backbone.onnx, encoder.safetensors and model.json in one folder; transparent pixels are put on orange."""
    folder = tmp_path_factory.mktemp("model")
    encoder = build_encoder(load_registry(), BACKBONE, MEAN, STD, 0, 8).eval()
    card = save_model(folder, encoder, None, model_card(background=(255, 128, 0)))
    export_backbone(encoder, card, folder / "backbone.onnx", l2_normalize=True, opset=18)
    return folder / "backbone.onnx"


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
