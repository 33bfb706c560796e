"""A project that is ready for pretrain, on a few real digits; patches for the stage, and its products."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.datasets import load_digits

from benchmarks.project import change, copy_project
from ssl_pipeline.data.framing import Framing, write_framing
from ssl_pipeline.data.writer import write_split
from ssl_pipeline.deployment import learning
from ssl_pipeline.products import read_product, sha256, write_product
from ssl_pipeline.randomness import hash64
from ssl_pipeline_stages.pretrain import pretrain
from tests.factories import digit_images

__all__ = ["INTERRUPT", "NO_GRAPH", "SMALL", "in_process", "leave_out_graphs", "prepare", "products"]

SMALL: dict[str, Any] = {
    "backbone": {"name": "resnet_cifar", "depth": 8, "width": 4},
    "epochs": 10,
    "warmup": 0.1,
    "batch_size": 16,
    "checkpoint_minutes": 0.0,
    "collapse": {"min_embedding_std": 0.0, "min_effective_rank": 0.0},
}
VIEW = {"size": 8, "random_resized_crop": {"p": 1.0, "scale": [0.5, 1.0], "ratio": [0.8, 1.25]}}

NO_GRAPH = (
    "import os, signal\n"
    "from ssl_pipeline.deployment import learning\n"
    "learning.rehearse = learning.write_pretext_graph = lambda *_: None\n"
)
"""A patch that leaves out the export of graphs, which takes seconds, for tests of something else."""

INTERRUPT = (
    f"{NO_GRAPH}from ssl_pipeline.training.run import Run\nreal = Run.step\n"
    "Run.step = lambda *a, **k: (os.kill(os.getpid(), signal.SIGINT), real(*a, **k))[1]"
)
"""A patch that interrupts the first step by Ctrl-C."""


def leave_out_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the export of graphs in this process."""
    monkeypatch.setattr(learning, "write_pretext_graph", lambda *_: None)
    monkeypatch.setattr(learning, "rehearse", lambda *_: None)


def prepare(folder: Path) -> Path:
    """Make a project with the products of `ingest` and `augment`, ready for `pretrain`."""
    copy_project(folder)
    change(folder, pretrain=SMALL)
    store = folder / "data" / "ingested" / "store"
    _write_store(store)
    write_framing(store, Framing(8, "squash", (0, 0, 0)))
    write_product(folder / "data" / "augmented" / "policy.json", {"seed": 0, "views": {"global": VIEW}})
    return folder


def _write_store(store: Path) -> None:
    """Write 48 digits for training, 16 for each of the other splits, and a file in place of their labels."""
    images, labels = digit_images(80), load_digits().target
    for name, rows in {"train": range(48), "val": range(48, 64), "test": range(64, 80)}.items():
        ids = np.sort(hash64("digit", np.array(rows)))
        write_split(store / name, ids, [images[list(rows)]], 8)
        facts = read_product(store / name / "split.json", "ingest")
        write_product(store / name / "split.json", facts | {"sha256": f"digits {rows}"})
    (store / "labels.npz").write_bytes(labels[:80].tobytes())


def in_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Run the command in this process; return its exit status and its output."""
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(pretrain, [])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result.exit_code, result.output


def products(folder: Path) -> dict[str, str]:
    """Return relative path -> SHA-256 for every product of the stage except the graph."""
    roots = (folder / "models" / "pretrain", folder / "reports" / "pretrain")
    files = (path for root in roots for path in root.rglob("*") if path.is_file() and path.suffix != ".onnx")
    return {str(path.relative_to(folder)): sha256(path) for path in files}
