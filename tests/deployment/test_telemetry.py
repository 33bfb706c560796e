"""No part of this project lets onnxruntime report to Microsoft, as it does by default since version 1.29."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.project import ROOT
from tests.deployment.conftest import Model

ALONE = (
    "examples/deploy/nearest.py",
    "ssl_pipeline/bundle/verify.py",
    "ssl_pipeline/bundle/templates/example.py",
    "ssl_pipeline/bundle/templates/example_text.py",
)


def reports(home: Path, *words: object) -> list[Path]:
    """Run Python as on a user's machine; return the files that onnxruntime has written for its reports."""
    home.mkdir()
    silenced = ("ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "CI", "XDG_CACHE_HOME")
    variables = {name: value for name, value in os.environ.items() if name not in silenced}
    done = subprocess.run(
        [sys.executable, *map(str, words)], env={**variables, "HOME": str(home)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [path for path in home.rglob("*") if "onnxruntime" in path.name]


def test_a_program_that_imports_this_package_first_reports_nothing(tmp_path: Path):
    assert reports(tmp_path / "home", "-c", "import ssl_pipeline.runtime, onnxruntime") == []


def test_the_shipped_examples_report_nothing(model: Model, tmp_path: Path):
    Image.effect_noise((20, 20), 60).convert("RGB").save(tmp_path / "photo.png")
    example = tmp_path / "example.py"
    example.write_text((ROOT / "ssl_pipeline/bundle/templates/example.py").read_text(encoding="utf-8"))
    (tmp_path / "backbone.onnx").write_bytes(model.backbone.read_bytes())
    assert reports(tmp_path / "one", example, tmp_path / "photo.png") == []
    nearest = ROOT / "examples/deploy/nearest.py"
    assert reports(tmp_path / "two", nearest, model.backbone, tmp_path / "photo.png", tmp_path) == []


@pytest.mark.parametrize("script", ALONE)
def test_each_file_that_runs_alone_says_so_before_it_imports_onnxruntime(script: str):
    code = (ROOT / script).read_text(encoding="utf-8")
    assert 0 < code.index('os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")') < code.index("import onnxruntime\n")
