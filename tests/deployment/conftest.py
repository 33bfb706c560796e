"""A small model that plays a trained one, its exported graph, and real images of several shapes."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.datasets import load_sample_image

from ssl_pipeline.artifacts.assembly import build_encoder
from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.artifacts.files import save_model
from ssl_pipeline.data.image_spec import Pixels
from ssl_pipeline.deployment.backbone_graph import export_backbone_and_core
from ssl_pipeline.deployment.core_graph import Core
from ssl_pipeline.deployment.parity import probes
from ssl_pipeline.deployment.rebuilt import answer
from ssl_pipeline.loading import load_registry
from ssl_pipeline.types import Encoder
from tests.factories import BACKBONE, MEAN, STD, digit_images, model_card

Images = npt.NDArray[np.uint8]
REPLAY = "import shutil, sys; shutil.copy(sys.argv[1], sys.argv[3])"


class Model(NamedTuple):
    folder: Path
    encoder: Encoder
    card: ModelCard
    backbone: Path
    """The exported graph, with embeddings of unit length."""
    core: Path
    """The graph of the network alone."""


def settle(encoder: Encoder, size: int) -> Encoder:
    """Give batch normalisation the statistics of real images, as training would."""
    images = torch.from_numpy(digit_images(256)).permute(0, 3, 1, 2) / 255
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # adopt the statistics of the one batch
    with torch.no_grad():
        encoder.train()(torch.nn.functional.interpolate(images, size=size))
    return encoder.eval()


def describe(encoder: Encoder, size: int = 16, resize: str = "letterbox") -> ModelCard:
    return model_card(
        embedding_dim=encoder.embedding_dim, size=size, resize=resize, background=(255, 128, 0), params_sha256="0123"
    )


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("model")
    encoder = settle(build_encoder(load_registry(), BACKBONE, MEAN, STD, 0, 16), 16)
    card = save_model(folder, encoder, None, describe(encoder))
    backbone = folder / "export" / "backbone.onnx"
    core = folder / "export" / "backbone_core.onnx"
    export_backbone_and_core(encoder, card, backbone, Core(core), l2_normalize=True, opset=18)
    return Model(folder, encoder, card, backbone, core)


@pytest.fixture(scope="session")
def originals() -> list[Images]:
    """Return two photographs, one of them upright, and some digits."""
    china, flower = load_sample_image("china.jpg"), load_sample_image("flower.jpg")
    return [china, flower[:, 200:400].copy(), *digit_images(5)]


@pytest.fixture(scope="session")
def command(model: Model) -> list[str]:
    return [sys.executable, "-m", "ssl_pipeline", "reference", str(model.folder)]


@pytest.fixture(scope="session")
def make_replay(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """Return a function that makes a command that replays the reference's answers from a file.

    The reference's own function writes the file from the model's files: a torch process for each test would take too
    long. `command` is the real command.
    """

    def make(folder: Path, card: ModelCard, originals: list[Pixels], l2_normalize: bool) -> list[str]:
        answers = tmp_path_factory.mktemp("answers")
        inputs, outputs = answers / "inputs.npz", answers / "answers.npz"
        np.savez(inputs, **probes(originals, card.size, card.images))
        answer(load_registry(), folder, inputs, outputs, layer=None, l2_normalize=l2_normalize)
        return [sys.executable, "-c", REPLAY, str(outputs)]

    return make
