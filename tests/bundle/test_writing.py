"""What bundles of all kinds of models contain; each is complete, and the same files give the same bytes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ssl_pipeline.bundle import writing
from ssl_pipeline.bundle.verify import verify
from ssl_pipeline.bundle.writing import write_bundle
from ssl_pipeline.data.image_spec import RGB8, ImageSpec
from ssl_pipeline.errors import PipelineError
from tests.bundle.small_models import BANDS, told, write_graph, write_models


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_files_make_the_same_bytes_in_another_folder(made: Path, tmp_path: Path):
    shipped = write_models(tmp_path)
    write_bundle(tmp_path / "elsewhere", shipped, told(shipped))
    assert content(tmp_path / "elsewhere") == content(made)


def test_nothing_of_the_machine_is_in_it(made: Path):
    for name, text in content(made).items():
        assert str(made.parents[2]).encode() not in text, name
        assert b"somebody" not in text, name


def test_golden_inputs_have_several_sizes_and_batches_and_outputs_vary(made: Path):
    with np.load(made / "golden.npz") as golden:
        shapes = {golden[name].shape for name in golden if name.startswith("inputs/")}
        rows = np.concatenate([golden[f"backbone.onnx/{case}/embedding"] for case in range(3)])
    assert shapes == {(3, 8, 8, 3), (1, 5, 17, 3), (2, 19, 8, 3)}
    assert rows.std(axis=0).min() > 0.001
    assert len(np.unique(rows, axis=0)) == len(rows)


@pytest.mark.parametrize(
    "spec",
    [
        RGB8,
        BANDS,
        ImageSpec(channels=4, dtype="uint16", low=0, high=4095, nodata=0),
        ImageSpec(channels=1, dtype="float32", low=-1, high=1),
    ],
    ids=str,
)
def test_models_of_all_images_are_bundled_without_labels(tmp_path: Path, spec: ImageSpec):
    shipped = write_models(tmp_path, spec, classes=())
    names = write_bundle(tmp_path / "bundle", shipped, told(shipped, labelled=False))
    assert not {"classifier.onnx", "linear_probe.onnx"} & set(names)
    with np.load(tmp_path / "bundle/golden.npz") as golden:
        first = golden[f"inputs/{spec.dtype}-3x8x8x{spec.channels}/images"]
    assert first.dtype == spec.numpy_dtype
    corner = first[0, :2, :2]
    assert spec.may_lack_pixels == bool((np.isnan(corner) | (corner == spec.nodata)).all())
    measured = first[1]
    assert spec.low <= measured.min() < measured.max() <= spec.high
    verify(tmp_path / "bundle", say=lambda _: None)


def test_variants_ship_where_the_stage_export_has_recorded_them(tmp_path: Path):
    shipped = write_models(tmp_path)
    write_graph(shipped.export / "backbone_fp16.onnx")
    write_graph(shipped.export / "energy.onnx")
    (shipped.export / "backbone_int8.onnx").write_bytes(b"which failed")
    names = write_bundle(tmp_path / "bundle", shipped, told(shipped))
    graphs = json.loads((tmp_path / "bundle/bundle.json").read_text())["graphs"]
    assert list(graphs) == ["backbone.onnx", "backbone_fp16.onnx", "linear_probe.onnx", "classifier.onnx"]
    assert {name for name in names if name.endswith(".onnx")} == {*graphs}


def test_a_damaged_model_is_not_bundled(tmp_path: Path):
    shipped = write_models(tmp_path)
    with shipped.classifier.open("ab") as file:
        file.write(b"x")
    with pytest.raises(PipelineError, match=r"classifier.onnx is damaged .*: .*dvc repro --force finetune"):
        write_bundle(tmp_path / "bundle", shipped, told(shipped))
    assert not (tmp_path / "bundle").exists()


def test_a_model_that_computes_no_numbers_is_not_bundled(tmp_path: Path):
    shipped = write_models(tmp_path, scale=float("nan"))
    with pytest.raises(PipelineError, match="backbone.onnx returns infinite values or NaN"):
        write_bundle(tmp_path / "bundle", shipped, told(shipped))


@pytest.mark.parametrize("what", ["probe", "classifier", "variant", "report", "encoder"])
def test_what_was_made_of_another_backbone_is_not_bundled(tmp_path: Path, what: str):
    shipped = write_models(tmp_path)
    write_graph(shipped.export / "backbone_fp16.onnx", weights_sha256=("cd" if what == "variant" else "ab") * 32)
    said = told(shipped)
    if what in ("probe", "classifier"):
        path = getattr(shipped, what)
        write_graph(path, output="probabilities", dim=2, classes='["cat", "dog"]', backbone_sha256="cd" * 32)
    if what == "report":
        said = replace(said, linear={**said.linear, "backbone_sha256": "cd" * 32})
    if what == "encoder":
        said = replace(said, trained={**said.trained, "weights_sha256": "cd" * 32})
    names = {
        "probe": "linear_probe.onnx",
        "classifier": "classifier.onnx",
        "variant": "backbone_fp16.onnx",
        "report": "the report of linear_eval",
        "encoder": "backbone.onnx, backbone_fp16.onnx",
    }
    with pytest.raises(PipelineError, match=f"different runs: {names[what]} does not match .*Run `dvc repro`"):
        write_bundle(tmp_path / "bundle", shipped, said)
    assert not (tmp_path / "bundle").exists()


def test_a_run_that_is_stopped_leaves_the_bundle_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shipped = write_models(tmp_path)
    write_bundle(tmp_path / "bundle", shipped, told(shipped))
    before = content(tmp_path / "bundle")
    shipped = write_models(tmp_path, scale=2.0)

    def interrupt(folder: Path) -> list[str]:
        assert (folder / "backbone.onnx").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "seal", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bundle(tmp_path / "bundle", shipped, told(shipped))
    assert content(tmp_path / "bundle") == before
    assert {path.name for path in tmp_path.iterdir()} == {"bundle", "models"}


def test_triton_gets_a_repository_on_request(tmp_path: Path):
    shipped = write_models(tmp_path, BANDS, classes=("cat", "two\nlines"))
    names = write_bundle(tmp_path / "bundle", shipped, told(shipped), triton=True)
    assert [name for name in names if name.startswith("triton/")] == [
        "triton/backbone/config.pbtxt",
        "triton/classifier/config.pbtxt",
        "triton/classifier/labels.txt",
        "triton/linear_probe/config.pbtxt",
        "triton/linear_probe/labels.txt",
    ]
    assert (tmp_path / "bundle/triton/classifier/config.pbtxt").read_text().splitlines() == [
        'name: "classifier"',
        'platform: "onnxruntime_onnx"',
        "max_batch_size: 64",
        "input {",
        '  name: "images"',
        "  data_type: TYPE_FP32",
        "  dims: [ -1, -1, 13 ]",
        "}",
        "output {",
        '  name: "probabilities"',
        "  data_type: TYPE_FP32",
        "  dims: [ 2 ]",
        '  label_filename: "labels.txt"',
        "}",
        "dynamic_batching { }",
    ]
    assert "as `<graph>/1/model.onnx`" in (tmp_path / "bundle/model_card.md").read_text()
    assert (tmp_path / "bundle/triton/classifier/labels.txt").read_text().splitlines() == ["cat", "two\\nlines"]
    verify(tmp_path / "bundle", say=lambda _: None)
