"""The stage bundle: which files are in it, and that the same files make the same bytes."""

import shutil
import subprocess
from pathlib import Path

import pytest

from ssl_pipeline.products import record
from ssl_pipeline_stages.bundle import bundle
from tests.stages.small_project import run_stage, write_models, write_project

BUNDLE = Path("models/bundle")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project with a backbone, and no probe and no classifier."""
    write_project(tmp_path)
    write_models(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_is_not_of_the_stage_export_is_not_in_it(project: Path):
    shutil.copy("models/export/backbone.onnx", "models/export/backbone_int8.onnx")
    run_stage(bundle)
    assert "backbone_int8.onnx" not in {path.name for path in BUNDLE.iterdir()}
    record(Path("models/export/backbone_int8.onnx"))
    run_stage(bundle)
    assert "backbone_int8.onnx" in {path.name for path in BUNDLE.iterdir()}
    assert subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "checksums.txt"], cwd=BUNDLE).returncode == 0
