"""The notebook in examples/ runs, and its saved outputs are those that its cells print."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.project import ROOT

NOTEBOOK = json.loads((ROOT / "examples" / "library.ipynb").read_text(encoding="utf-8"))
CELLS = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def test_the_cells_run_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    space: dict[str, Any] = {}
    with torch.random.fork_rng(devices=[]):
        for code in CELLS:
            exec(compile(code, "examples/library.ipynb", "exec"), space)
    assert space["means"][-1] < space["means"][0] - 0.1  # the loop learns
    nearest, labels = space["nearest"], space["labels"]
    found = (labels[nearest[:, 0]] == labels).mean()
    assert found > 0.8  # chance is 0.1
    assert f"the same digit: {found:.1%}" in capsys.readouterr().out
    run = space["run"]
    assert [path.name for path in (run.weights, run.backbone, run.pretext) if not path.is_file()] == []


def test_outputs_are_kept_and_every_name_of_the_library_is_shown():
    import ssl_pipeline

    code = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] or "\nimport" in "".join(cell["source"]) for cell in code if "pretrain" not in str(cell))
    assert sum("image/png" in output.get("data", {}) for cell in code for output in cell["outputs"]) == 2
    used = {node.attr for text in CELLS for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute)}
    assert set(ssl_pipeline.__all__) - {"Criterion", "Pretrained", "__version__", "hookimpl"} <= used
