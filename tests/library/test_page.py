"""The code blocks of docs/library.md run in order; only `pretrain` itself is replaced by a stub."""

import inspect
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

import ssl_pipeline
from ssl_pipeline.artifacts.assembly import build_encoder
from ssl_pipeline.artifacts.files import save_model
from ssl_pipeline.config import Choice
from ssl_pipeline.library.settings import read_settings
from ssl_pipeline.loading import load_registry
from tests.factories import MEAN, STD, digit_images, model_card

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch, backbone: Path, tmp_path: Path) -> None:
    """Create the files that the page refers to, and a `pretrain` that checks its arguments but trains nothing."""
    monkeypatch.chdir(tmp_path)
    Path("models/export").mkdir(parents=True)
    shutil.copy(backbone, "models/export/backbone.onnx")
    for name, image in zip(("cat.jpg", "dog.png"), digit_images(2), strict=True):
        Image.fromarray(image).save(name)
    real = inspect.signature(ssl_pipeline.pretrain)

    def pretrain(**arguments: Any) -> ssl_pipeline.Pretrained:
        given = real.bind(**arguments).arguments
        read_settings(given["recipe"], given["settings"])
        folder, choice = Path(given["out"]), Choice(name="torchvision/resnet18")
        encoder = build_encoder(load_registry(), choice, MEAN, STD, 0, 32).eval()
        card = save_model(folder, encoder, None, model_card(backbone=choice, size=32, embedding_dim=512))
        shutil.copy(backbone, folder)
        return ssl_pipeline.Pretrained(folder, encoder, card)

    monkeypatch.setattr(ssl_pipeline, "pretrain", pretrain)


@pytest.mark.usefixtures("untrained")
def test_the_code_of_the_page_runs():
    images, network = digit_images(6), nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 16))
    space: dict[str, Any] = {"images": images, "network": network}
    space["optimizer"] = torch.optim.SGD(network.parameters(), lr=0.1)
    space["batches"] = (tuple(ssl_pipeline.Views("simclr", seed=seed)(images).unbind(1)) for seed in range(2))
    before = network[1].weight.clone()
    for code in BLOCKS:
        exec(compile(code, "docs/library.md", "exec"), space)
    assert space["embeddings"].shape == (2, 16)
    assert space["batch"].shape == (6, 2, 3, 32, 32)
    assert space["value"].isfinite()
    assert not torch.equal(network[1].weight, before)
    assert isinstance(space["run"], ssl_pipeline.Pretrained)
    assert space["network"] is not network  # torchvision's network, which loaded the weights with strict=True


def test_the_table_names_all_that_the_library_has_and_its_arguments():
    rows = dict(re.findall(r"^\| `(\w+)\((.*?)\)` \|", PAGE, re.MULTILINE))
    assert rows.keys() == set(ssl_pipeline.__all__) - {"Criterion", "Pretrained", "__version__", "hookimpl"}
    for name, arguments in rows.items():
        known = inspect.signature(getattr(ssl_pipeline, name)).parameters
        assert [word.strip("*") for word in arguments.split(", ")] == [word for word in known if word in arguments], (
            name
        )
