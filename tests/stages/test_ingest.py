"""The stage `ingest`: all its products, equal in two runs, and one clear message for each mistake."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from PIL import Image
from sklearn.datasets import load_digits

from ssl_pipeline.data.inventory import refresh
from ssl_pipeline.data.source import Images
from ssl_pipeline.data.store import open_split
from ssl_pipeline.products import read_json
from ssl_pipeline_plugins.sources.digits import Digits
from ssl_pipeline_plugins.sources.torchvision import Torchvision
from ssl_pipeline_stages.ingest import ingest
from ssl_pipeline_stages.paths import INVENTORY

PARAMS = Path(__file__).parents[2] / "params.yaml"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """A folder with params.yaml; calling it runs the stage with changes to its section."""
    monkeypatch.chdir(tmp_path)
    params = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))

    def run(later: dict[str, dict[str, Any]] | None = None, **changes: Any) -> Result:
        changed = {name: params[name] | values for name, values in {**(later or {}), "ingest": changes}.items()}
        Path("params.yaml").write_text(yaml.safe_dump(params | changed))
        return CliRunner().invoke(ingest, [])

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def write_digits(root: Path, number: int) -> dict[str, str]:
    """Write digits in class folders, and some of them in an unlabelled pool."""
    data = load_digits()
    for index in range(number):
        folder = root / ("unlabelled" if index % 4 == 0 else str(data.target[index]))
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((data.images[index] * 15).astype(np.uint8)).save(folder / f"{index}.png")
    return {"name": "folder", "path": str(root)}


def test_products_are_whole_and_the_same_each_time(project: Callable[..., Result], tmp_path: Path) -> None:
    source = write_digits(tmp_path / "pile", 120)
    (tmp_path / "pile" / "broken.png").write_text("no image")
    result = project(source=source)
    assert result.exit_code == 0, result.output
    first = contents(Path("data"))
    assert {name.removeprefix("ingested/") for name in first} == {
        "digests.json",
        "duplicates.csv",
        "near_copies.csv",
        "ignored.csv",
        "manifest.json",
        "notes.csv",
        "rejects.csv",
        "store/digests.json",
        "store/framing.json",
        "store/index.csv",
        "store/labels.npz",
        "store/originals.npz",
        *(
            f"store/{split}/{name}"
            for split in ("train", "val", "test")
            for name in ("images-0000.npy", "ids.npy", "split.json", "digests.json")
        ),
    }
    counts = read_json(Path("reports/ingest/details.json"), "ingest")
    assert counts["rejected"] == 1
    assert counts["labelled"] == 90
    assert counts["train"] + counts["val"] + counts["test"] == 120
    assert len(open_split(Path("data/ingested/store"), "train")) == counts["train"]
    assert "rejected 1" in result.stderr
    assert "1 file is rejected (1 not an image): see data/ingested/rejects.csv." in result.stderr
    assert sorted(path.name for path in Path("data").iterdir()) == ["ingested"]  # no temporary files remain

    assert project(source=source).exit_code == 0
    assert contents(Path("data")) == first


def test_data_that_is_refused_leaves_the_last_products(project: Callable[..., Result], tmp_path: Path) -> None:
    kept = tmp_path / "data" / "ingested" / "kept"
    kept.parent.mkdir(parents=True)
    kept.touch()
    pile = tmp_path / "pile"
    pile.mkdir()
    (pile / "a.png").write_text("no image")
    result = project(source={"name": "folder", "path": "pile"})
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "error: 1 of 1 images cannot be used, and none is left. They are listed in reports/ingest/rejects.csv:",
        "  a.png: not an image: its format cannot be read, or its header is damaged",
    ]
    assert (tmp_path / "reports" / "ingest" / "rejects.csv").is_file()
    assert [path.name for path in kept.parent.iterdir()] == ["kept"]
    assert [path.name for path in kept.parent.parent.iterdir()] == ["ingested"]


def test_what_torchvision_has_to_download_again_is_there_before_it_is_compared(
    project: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This happens in a clone that has pulled the inventory but not the images, after a change of the canvas."""

    def download(source: Torchvision) -> Images:
        Path(source.path).mkdir(exist_ok=True)
        Path(source.path, "archive.bin").write_text(source.dataset)
        digits = Digits().open()
        return Images(digits.records[:120], digits.read, portable=False)

    monkeypatch.setattr(Torchvision, "open", download)
    source = {"name": "torchvision", "path": "downloads", "dataset": "CIFAR10"}
    refresh(Torchvision(path="downloads", dataset="CIFAR10"), source, INVENTORY, tmp_path / "hashes")
    shutil.rmtree("downloads")
    result = project(source=source)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": {"name": "folder", "path": "nowhere"}}, "error: ingest.source.path: nowhere does not exist."),
        ({"source": {"name": "digit"}}, "error: ingest.source: unknown name 'digit'. Did you mean 'digits'?"),
        ({"source": {"name": "folder"}}, "error: ingest.source.path: missing"),
        (
            {"source": {"name": "digits", "size": 3}},
            "error: ingest.source.size: unknown key. Known keys: path. (source 'digits')",
        ),
        ({"resize": "stretch"}, "error: params.yaml: ingest.resize: "),
        ({"canvas": 4}, "error: params.yaml: ingest.canvas: "),
        ({"val_fraction": 0.5}, "error: params.yaml: ingest.val_fraction: "),
        ({"max_reject_fractoin": 0.1}, "error: params.yaml: ingest.max_reject_fractoin: unknown key. Did you mean"),
    ],
)
def test_mistakes_in_the_parameters(project: Callable[..., Result], changes: dict[str, Any], message: str) -> None:
    result = project(**changes)
    assert result.exit_code == 2
    assert result.stderr.startswith(message)
    assert not Path("data").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": "simclar"}, "pretrain.recipe: unknown name 'simclar'. Did you mean 'simclr'?"),
        ({"backbone": "resnet18"}, "unknown name 'resnet18'. Did you mean 'timm/resnet18' or 'torchvision/resnet18'?"),
        ({"backbone": {"name": "torchvision/resnet81"}}, "torchvision has no model 'resnet81'; the nearest: resnet18"),
        (
            {"backbone": {"name": "resnet_cifar", "dept": 8}},
            "pretrain.backbone.dept: unknown key. Did you mean 'depth'",
        ),
        ({"loss": {"temprature": 1}}, "pretrain.loss.temprature: unknown key. Did you mean 'temperature'?"),
        ({"loss": {"temperature": -1}}, "pretrain.loss info_nce: temperature must be"),
        ({"loss": {"name": "info_ncee"}}, "pretrain.loss: unknown name 'info_ncee'. Did you mean 'info_nce'?"),
        ({"negatives": {"name": "queue", "size": 4}}, "pretrain.negatives.size: unknown key."),
        (
            {"recipe": "flip", "pretext_task": {"view": "plan"}},
            "augment.views.plan: missing, but pretext task 'flip' le",
        ),
        ({"init": "nowhere.safetensors"}, "pretrain.init: 'nowhere.safetensors' does not exist."),
    ],
)
def test_what_pretrain_would_refuse_is_told_before_images_are_decoded(
    project: Callable[..., Result], changes: dict[str, Any], message: str
) -> None:
    result = project({"pretrain": changes})
    assert result.exit_code == 2
    assert message in result.stderr
    assert not Path("data").exists()


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        (
            "finetune",
            {"view": "globel"},
            "finetune.view: no such kind in augment.views: 'globel'. Did you mean 'global'?",
        ),
        (
            "linear_eval",
            {"clusters": {"images": 100, "runs": 2, "view": "x" * 10**5}},
            "linear_eval.clusters.view: no such kind in augment.views: 'xxx",
        ),
        ("finetune", {"encoders": ["nowhere"]}, "finetune.encoders: 'nowhere' is not a directory."),
        ("linear_eval", {"rivals": ["a.onnx"]}, "linear_eval.rivals, 'a.onnx': there is no such file."),
        ("linear_eval", {"rivals": ["a.safetensors"]}, "linear_eval.rivals, 'a.safetensors': there is no such file."),
        (
            "linear_eval",
            {"rivals": ["resnet18"]},
            "linear_eval.rivals: unknown name 'resnet18'. Did you mean 'timm/resnet18'",
        ),
        (
            "linear_eval",
            {"rivals": [{"weights": "theirs.safetensors", "backbone": {"name": "resnet_cifar", "dept": 8}}]},
            "linear_eval.rivals, 'theirs.safetensors': backbone.dept: unknown key. Did you mean 'depth'?",
        ),
    ],
)
def test_what_later_stages_would_refuse_is_told_before_images_are_decoded(
    project: Callable[..., Result], section: str, changes: dict[str, Any], message: str
) -> None:
    Path("theirs.safetensors").touch()
    result = project({section: changes})
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr) < 2000
    assert not Path("data").exists()
