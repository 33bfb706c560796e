"""A product that is damaged between stages is reported with its name and its stage, and nothing is computed from it."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from ssl_pipeline.data.store import Original
from ssl_pipeline.data.writer import write_originals
from ssl_pipeline_stages.export import export
from ssl_pipeline_stages.finetune import finetune
from ssl_pipeline_stages.linear_eval import linear_eval
from tests.stages.small_project import STORE, write_project


@pytest.fixture(scope="module")
def whole(models: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    shutil.copytree(models(), root, dirs_exist_ok=True)
    write_project(root, clusters={"images": 20, "runs": 2, "view": "plain"})
    write_originals(root / STORE, [Original(np.zeros((9, 7, 3), np.uint8), "val", 0)])
    return root


@pytest.fixture
def project(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    yield
    assert not Path("reports").exists()
    assert {path.name for path in Path("models").iterdir()} <= {"pretrain", "export"}


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("reader", "product", "maker"),
    [
        (export, "data/ingested/store/originals.npz", "ingest"),
        (export, "data/ingested/store/val/images-0000.npy", "ingest"),
        (export, "models/pretrain/model.json", "pretrain"),
        (export, "models/pretrain/encoder.safetensors", "pretrain"),
        (linear_eval, "data/augmented/policy.json", "augment"),
        (linear_eval, "data/ingested/store/labels.npz", "ingest"),
        (linear_eval, "data/ingested/store/train/split.json", "ingest"),
        (linear_eval, "data/ingested/store/train/ids.npy", "ingest"),
        (linear_eval, "data/ingested/store/train/images-0000.npy", "ingest"),
        (linear_eval, "models/export/backbone.onnx", "export"),
        (finetune, "models/export/backbone.onnx", "export"),
        (finetune, "models/pretrain/encoder.safetensors", "pretrain"),
        (finetune, "data/ingested/store/originals.npz", "ingest"),
    ],
)
def test_one_flipped_bit_is_told_and_nothing_is_made_of_it(reader: click.Command, product: str, maker: str):
    content = bytearray(Path(product).read_bytes())
    content[-3] ^= 1  # near the end: the file still opens, and only values differ
    Path(product).write_bytes(content)
    done = CliRunner().invoke(reader, [])
    assert done.exit_code == 1
    assert f"error: {product} is damaged (its digest differs from the one that the stage '{maker}'" in done.stderr
    assert done.stderr.endswith(f"run `dvc repro --force {maker}`.\n")
