"""The stage bundle gathers the products of the other stages, and its bundle verifies itself."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from ssl_pipeline.bundle.drift_reference import reference_in
from ssl_pipeline.data.framing import Framing, write_framing
from ssl_pipeline.data.labels import write_labels
from ssl_pipeline.data.writer import write_split
from ssl_pipeline.embeddings.drift import Reference
from ssl_pipeline.products import record, write_json, write_product
from ssl_pipeline_stages.bundle import bundle
from ssl_pipeline_stages.main import main
from tests.bundle.small_models import told, write_models
from tests.factories import digit_images, digits_store, read_index
from tests.stages.small_project import PARAMS, SIZES, STORE, run_stage

BUNDLE = Path("models/bundle")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project with a backbone, but without a probe or a classifier."""
    root = tmp_path_factory.mktemp("project")
    shutil.copy(PARAMS, root)
    said = told(write_models(root, classes=()), labelled=False)
    (root / "models/pretrain").mkdir()
    write_product(root / "models/pretrain/model.json", said.trained)
    digits_store(root / STORE, SIZES)
    write_framing(root / STORE, Framing(8, "squash", (255, 255, 255)))
    write_json(root / "data/ingested/manifest.json", said.manifest)
    for stage, details in {"export": said.export, "linear_eval": said.linear, "finetune": said.finetune}.items():
        write_json(root / "reports" / stage / "details.json", details)
    return root


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project in the current folder."""
    shutil.copytree(made, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def names() -> set[str]:
    return {path.relative_to(BUNDLE).as_posix() for path in BUNDLE.rglob("*") if path.is_file()}


def test_the_bundle_proves_itself_and_its_example_runs(project: Path):
    said = run_stage(bundle).stderr
    assert "bundle: models/bundle, 8 files" in said
    assert names() == {
        "backbone.onnx",
        "bundle.json",
        "checksums.txt",
        "drift.npz",
        "example.py",
        "golden.npz",
        "model_card.md",
        "verify.py",
    }
    assert CliRunner().invoke(main, ["verify"]).exit_code == 0
    photo, scan = project / "ein Föto.png", project / "scan.npy"
    Image.fromarray(digit_images(1)[0]).save(photo)
    np.save(scan, digit_images(1)[0])
    command = [sys.executable, str(BUNDLE / "example.py"), str(photo), str(scan)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [f"1.0000  {photo}", f"1.0000  {scan}"], done.stderr
    (project / "broken.png").write_bytes(photo.read_bytes()[:60])
    done = subprocess.run([*command, "broken.png"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: broken.png cannot be embedded: ")
    shutil.copy(BUNDLE / "example.py", project)
    done = subprocess.run([sys.executable, "example.py", str(photo)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {project / 'backbone.onnx'} cannot be used (")
    assert done.stderr.endswith("keep example.py in its bundle, and run verify.py there\n")
    usage = subprocess.run(command[:2], capture_output=True, text=True, check=False)
    assert (usage.returncode, usage.stderr[:14]) == (2, "Embed images: ")


def test_a_variant_that_the_stage_export_has_not_recorded_is_not_in_it(project: Path):
    shutil.copy("models/export/backbone.onnx", "models/export/backbone_int8.onnx")
    run_stage(bundle)
    assert "backbone_int8.onnx" not in names()
    record(Path("models/export/backbone_int8.onnx"))
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    params["bundle"] |= {"triton": True, "contact": "us@example.com"}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    run_stage(bundle)
    assert {"backbone_int8.onnx", "triton/backbone_int8/config.pbtxt"} <= names()
    assert "us\\@example\\.com" in (BUNDLE / "model_card.md").read_text(encoding="utf-8")


def test_it_needs_no_torch(project: Path):
    code = "import sys; from ssl_pipeline_stages.bundle import bundle; bundle(standalone_mode=False)"
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    imported = {line.rsplit("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "onnxruntime" in imported
    assert "torch" not in imported


def test_new_images_are_compared_with_those_of_validation_alone(project: Path):
    run_stage(bundle)
    reference = Reference.read(BUNDLE / "drift.npz")
    assert (len(reference.rows), reference.about["canvas"]) == (SIZES["val"], 8)
    digits_store(STORE, SIZES | {"test": 1})  # test images are ignored
    write_framing(STORE, Framing(8, "squash", (255, 255, 255)))
    again = reference_in(STORE, BUNDLE / "backbone.onnx")
    assert again is not None
    np.testing.assert_array_equal(again.rows, reference.rows)
    assert again.resembles_training
    digits_store(STORE, {"train": 300, "val": 160})
    write_labels(STORE, [row._replace(group=f"pair {row.row // 2}") for row in read_index(STORE)])
    shutil.rmtree(STORE / "val")
    write_split(STORE / "val", np.arange(300, 460, dtype=np.uint64), [255 - digit_images()[300:460]], 8)
    write_framing(STORE, Framing(8, "squash", (255, 255, 255)))
    foreign = reference_in(STORE, BUNDLE / "backbone.onnx")
    assert foreign is not None
    assert (len(foreign.rows), foreign.resembles_training) == (80, False)
    digits_store(STORE, SIZES | {"val": 49})
    write_framing(STORE, Framing(8, "squash", (255, 255, 255)))
    run_stage(bundle)
    assert "drift.npz" not in names()
    done = CliRunner().invoke(main, ["drift", "."])
    assert "drift.npz does not exist: name a bundle that contains one" in done.stderr
