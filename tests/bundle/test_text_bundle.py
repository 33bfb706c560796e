"""A bundle with a text tower proves the tower and reports its figures; a bundle without one is unchanged."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_pipeline.bundle.golden_texts import GOLDEN_TEXTS
from ssl_pipeline.bundle.verify import BundleError, verify
from ssl_pipeline.bundle.writing import seal, write_bundle
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.evaluation.retrieval.ranks import pair
from ssl_pipeline.evaluation.retrieval.study import OURS, retrieval_figures
from ssl_pipeline.runtime import TextTower
from tests.bundle.small_models import DIM, told, write_models
from tests.factories import digit_images
from tests.text_graphs import write_text_tower

WEIGHTS = {"weights_sha256": "ab" * 32, "l2_normalized": True}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a project whose bundle has a text tower, with figures for three images."""
    root = tmp_path_factory.mktemp("made")
    shipped = write_models(root)
    write_text_tower(shipped.export, DIM, **WEIGHTS)
    said = told(shipped)
    space = np.eye(3), np.eye(3)
    found = retrieval_figures({OURS: space}, pair([("a dog",), ("a cat",), ("a fox",)]), np.arange(3), 100, 0)
    accuracy = {"accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6}
    zero_shot = {"prompts": ["{}"], "images": 10, "classes": 2, "chance": 0.5, **accuracy}
    zero_shot |= {"random_towers": accuracy, "majority": accuracy}
    linear = {**said.linear, "retrieval": {"split": "test", **found}, "zero_shot": zero_shot}
    export = {**said.export, "text": {"max_difference": 1e-7, "texts": 24}}
    write_bundle(root / "bundle", shipped, replace(said, linear=linear, export=export), triton=True)
    return root


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "bundle", tmp_path / "bundle"))


def test_verify_proves_the_text_tower_without_a_tokenizer(bundle: Path):
    code = (
        "import runpy, sys\nsys.modules['tokenizers'] = None\nsys.modules['ssl_pipeline'] = None\n"
        "sys.argv = ['verify.py']\nrunpy.run_path('verify.py', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=bundle, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "text.onnx: fp32 on CPUExecutionProvider: 2 cases" in done.stdout


def test_the_golden_tokens_are_those_of_the_golden_texts(bundle: Path):
    tower = TextTower(bundle / "text.onnx")
    graph = json.loads((bundle / "bundle.json").read_bytes())["graphs"]["text.onnx"]
    assert graph["texts"] == list(GOLDEN_TEXTS)
    with np.load(bundle / "golden.npz") as golden:
        whole, alone = (golden[case["outputs"]["embedding"]] for case in graph["cases"])
    np.testing.assert_allclose(tower(GOLDEN_TEXTS), np.concatenate([whole, alone]), atol=1e-6)


@pytest.mark.parametrize("how", ["weights", "padding"])
def test_another_text_tower_is_told(bundle: Path, tmp_path: Path, how: str):
    (tmp_path / "other").mkdir()
    shutil.copy(write_text_tower(tmp_path / "other", DIM, broken=how, **WEIGHTS), bundle)
    with pytest.raises(BundleError, match=r"text\.onnx: damaged"):
        verify(bundle, say=lambda _: None)
    seal(bundle)
    with pytest.raises(BundleError, match=r"text\.onnx: computes something else here"):
        verify(bundle, say=lambda _: None)


def test_its_tokenizer_cannot_go_missing_nor_change(bundle: Path):
    path = bundle / "tokenizer.json"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"tokenizer\.json: damaged"):
        verify(bundle, say=lambda _: None)
    path.unlink()
    with pytest.raises(BundleError, match=r"tokenizer\.json: missing"):
        verify(bundle, say=lambda _: None)


def test_the_example_compares_a_text_with_images(bundle: Path, tmp_path: Path):
    for number, digit in enumerate(digit_images(2)):
        Image.fromarray(digit).save(tmp_path / f"{number}.png")
    (tmp_path / os.fsdecode(b"\xe9.png")).write_bytes((tmp_path / "0.png").read_bytes())
    words = [sys.executable, str(bundle / "example_text.py"), b"un v\xe9lo", "0.png", "1.png", b"\xe9.png"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = [line.split("  ") for line in done.stdout.splitlines()]
    assert [name for _, name in lines] == ["0.png", "1.png", "?.png"]
    assert all(-1 <= float(cosine) <= 1 for cosine, _ in lines)
    assert lines[0][0] == lines[2][0]
    for wrong, reason in [("none.png", "error: none.png cannot be embedded: "), ("text.onnx", "error: ")]:
        (bundle / wrong).unlink(missing_ok=True)
        done = subprocess.run([*words[:3], "none.png"], cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr[: len(reason)]) == (1, "", reason)
    assert done.stderr.startswith(f"error: {bundle} cannot be used (")
    assert done.stderr.endswith("keep example_text.py in its bundle, and run verify.py there\n")
    usage = subprocess.run(words[:3], capture_output=True, text=True)
    assert (usage.returncode, usage.stdout) == (2, "")
    assert usage.stderr.startswith("Compare images with texts: python example_text.py")


def test_the_card_has_the_figures_of_texts(bundle: Path):
    card = (bundle / "model_card.md").read_text(encoding="utf-8")
    assert "| `text.onnx` |" in card
    assert 'python example_text.py "a red bicycle"' in card
    assert "| the exported towers | 100.0% [" in card
    assert "| chance | 33.3% |" in card
    assert "| Largest difference of a text embedding from torch's | 1.0e-07 |" in card
    assert "Zero-shot classification by the names of 2 classes, with 1 prompt each: 50.0% [40.0, 60.0]" in card.replace(
        "\\", ""
    )
    assert "TYPE_INT64" in (bundle / "triton/text/config.pbtxt").read_text(encoding="utf-8")


def test_a_text_tower_of_another_run_does_not_ship(tmp_path: Path):
    shipped = write_models(tmp_path)
    write_text_tower(shipped.export, DIM, weights_sha256="cd" * 32, l2_normalized=True)
    with pytest.raises(PipelineError, match=r"products of different runs: text\.onnx does not match backbone\.onnx"):
        write_bundle(tmp_path / "bundle", shipped, told(shipped))


def test_without_a_text_tower_nothing_of_it_is_there(tmp_path: Path):
    shipped = write_models(tmp_path)
    names = write_bundle(tmp_path / "bundle", shipped, told(shipped))
    assert not [name for name in names if "text" in name or "token" in name]
    assert "text" not in (tmp_path / "bundle/bundle.json").read_text(encoding="utf-8")
