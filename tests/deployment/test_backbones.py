"""Backbones other than the default also go from pixels to embeddings: squeeze-and-excitation, and attention."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ssl_pipeline.artifacts.assembly import build_encoder
from ssl_pipeline.artifacts.files import save_model
from ssl_pipeline.config import Choice
from ssl_pipeline.deployment import parity
from ssl_pipeline.deployment.backbone_graph import export_backbone
from ssl_pipeline.loading import load_registry
from tests.deployment.conftest import Images, describe, settle
from tests.factories import MEAN, STD

BACKBONES = [
    ({"name": "timm/test_efficientnet"}, 32, "crop"),
    ({"name": "timm/test_vit", "patch_size": 8}, 16, "letterbox"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "size", "resize"), BACKBONES)
def test_a_backbone_exports(
    backbone: dict[str, object],
    size: int,
    resize: str,
    originals: list[Images],
    make_replay: Callable[..., list[str]],
    tmp_path: Path,
):
    choice = Choice.model_validate(backbone)
    encoder = settle(build_encoder(load_registry(), choice, MEAN, STD, 0, size), size)
    card = describe(encoder, size, resize).model_copy(update={"backbone": choice})
    card = save_model(tmp_path, encoder, None, card)
    export_backbone(encoder, card, tmp_path / "backbone.onnx", l2_normalize=False, opset=18)
    command = make_replay(tmp_path, card, originals, l2_normalize=False)
    figures = parity.verify(tmp_path / "backbone.onnx", originals, command)
    assert figures["max_difference"] < 1e-4
