"""Variants of backbone.onnx in fewer bits: their weights, their bytes, and the gate that each has to pass."""

import json
from collections.abc import Callable, Mapping, Sequence
from errno import ENOSPC
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ssl_pipeline.config import load
from ssl_pipeline.data.store import Original, Split
from ssl_pipeline.deployment import gate, runtime, variants
from ssl_pipeline.deployment.gate import agreement, embed_each
from ssl_pipeline.deployment.halves import FITTED, Halves, joined, split
from ssl_pipeline.deployment.number_formats import Activations, half, integers
from ssl_pipeline.deployment.onnx_file import add_metadata, write_proto
from ssl_pipeline.deployment.runtime import open_session, read_metadata, run
from ssl_pipeline.deployment.variants import Pool, ship_variants
from ssl_pipeline.disk import disk_trouble_is_told
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.export_config import ExportConfig
from tests.deployment.conftest import Images, Model
from tests.deployment.graphs import invalid, onnx_session, unrunnable
from tests.factories import MEAN, STD, cpu_alone, digit_images

ROOT = Path(__file__).parents[2]
SECTION = load(ROOT / "params.yaml").export.model_dump() | {"variants": ["fp32", "fp16", "int8"]}
for bounds in SECTION["gate"].values():
    bounds["max_size"] = 1.1  # in such a small network, weights are a small part of the file


def section(**changes: Any) -> ExportConfig:
    return ExportConfig.model_validate(SECTION | changes)


def of_split(name: str, images: Images) -> Split:
    ids = np.arange(len(images), dtype=np.uint64)
    return Split(name, images.shape[1], ids, MEAN, STD, name, (images,))


@pytest.fixture(scope="module")
def pool(originals: list[Images]) -> Pool:
    digits = digit_images(240)
    kept = [Original(originals[0], "val", 3), Original(originals[1], "train", 5)]
    return Pool(of_split("train", digits[:140]), of_split("val", digits[140:]), kept)


@pytest.fixture
def folder(model: Model, tmp_path: Path) -> Path:
    (tmp_path / "backbone.onnx").write_bytes(model.backbone.read_bytes())
    return tmp_path


@pytest.fixture(scope="module")
def shipped(model: Model, pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, Any]]:
    """Return a folder with all variants, and the report."""
    made = tmp_path_factory.mktemp("shipped")
    (made / "backbone.onnx").write_bytes(model.backbone.read_bytes())
    add_metadata(made / "backbone.onnx", {"thresholds": json.dumps(thresholds(made / "backbone.onnx"))})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "wanted", cpu_alone)
        return made, ship_variants(made, section(), pool, thresholds)


def thresholds(path: Path) -> Any:
    return {"novel": {"cosine": 0.1, "of": path.name}}


def initializers(path: Path) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


def test_weights_of_int8_are_those_of_the_formula(shipped: tuple[Path, Mapping[str, Any]]):
    exact, found = (initializers(shipped[0] / name) for name in ("backbone.onnx", "backbone_int8.onnx"))
    names = [name for name in exact if f"{name}_quantized" in found and exact[name].ndim == 4]
    assert len(names) == 9  # all the convolutions
    for name in names:
        scale = np.abs(exact[name]).max(axis=(1, 2, 3)) / 64  # 7 bits
        np.testing.assert_allclose(found[f"{name}_scale"], scale, rtol=1e-6)
        integer = (exact[name] / scale[:, None, None, None]).round().clip(-64, 64)
        assert np.abs(found[f"{name}_quantized"] - integer).max() <= 1  # halves may be rounded differently
        assert (found[f"{name}_quantized"] == integer).mean() > 0.999


def test_weights_of_fp16_are_numpys(shipped: tuple[Path, Mapping[str, Any]]):
    exact, found = (initializers(shipped[0] / name) for name in ("backbone.onnx", "backbone_fp16.onnx"))
    names = [name for name in exact if exact[name].ndim == 4 and name.endswith("weight")]
    assert len(names) == 9
    for name in names:
        assert found[name].dtype == np.float16
        np.testing.assert_array_equal(found[name], exact[name].astype(np.float16))


@pytest.mark.parametrize("variant", ["fp16", "int8"])
def test_a_variant_is_used_as_backbone_onnx_is(
    shipped: tuple[Path, Mapping[str, Any]], originals: list[Images], variant: str
):
    exact, other = (open_session(shipped[0] / name) for name in ("backbone.onnx", f"backbone_{variant}.onnx"))
    for nodes in ("get_inputs", "get_outputs"):
        ours, theirs = (
            [(node.name, node.type, node.shape) for node in getattr(one, nodes)()] for one in (exact, other)
        )
        assert ours == theirs
    told, again = read_metadata(exact), read_metadata(other)
    assert told["variant"] == "fp32"
    assert json.loads(again["thresholds"]) == thresholds(Path(f"backbone_{variant}.onnx"))
    assert {**again, "variant": "fp32", "made": "", "thresholds": told["thresholds"]} == {**told, "made": ""}
    assert again["variant"] == variant
    for image in originals:  # photographs and digits in their own shapes
        rows = run(other, image[None])
        assert np.linalg.norm(rows) == pytest.approx(1, abs=1e-5)
        assert float((rows * run(exact, image[None])).sum()) > 0.99


@pytest.mark.parametrize("variant", ["fp16", "int8"])
def test_resizing_and_normalising_stay_as_they_are(shipped: tuple[Path, Mapping[str, Any]], variant: str):
    exact, other = (onnx.load(shipped[0] / name) for name in ("backbone.onnx", f"backbone_{variant}.onnx"))
    fronts = [split(model).front for model in (exact, other)]
    assert [node.op_type for node in fronts[0].graph.node] == [node.op_type for node in fronts[1].graph.node]
    left = [node for node in other.graph.node if node.op_type in ("Sub", "Div")][-3:]
    assert [node.op_type for node in left] == ["Sub", "Div", "Div"]  # for mean, std, and the length of embeddings
    known = {tensor.name: tensor.data_type for tensor in other.graph.initializer}
    kinds = {known[name] for node in left for name in node.input if name in known}
    assert kinds == {TensorProto.FLOAT}


def test_figures_of_the_gate_are_those_of_the_definition():
    generator = np.random.default_rng(0)
    exact = generator.normal(size=(60, 8)).astype(np.float32)
    other = exact + generator.normal(scale=0.3, size=exact.shape).astype(np.float32)
    kept = agreement(exact, other, 0.5)
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (exact, other)]
    cosines = (unit[0] * unit[1]).sum(axis=1)
    orders = [np.argsort(-(rows @ rows.T) + 9 * np.eye(60), axis=1)[:, :10] for rows in unit]
    recall = np.mean([len({*a} & {*b}) / 10 for a, b in zip(*map(np.ndarray.tolist, orders), strict=True)])
    assert kept.recall == pytest.approx(recall)
    assert kept.min_cosine == pytest.approx(cosines.min(), abs=1e-6)
    assert kept.mean_cosine == pytest.approx(cosines.mean(), abs=1e-6)
    assert kept.max_difference == pytest.approx((np.abs(exact - other) / np.abs(exact).max(1, keepdims=True)).max())
    assert agreement(exact, exact, 1.0).recall == 1.0


def test_all_bounds_are_judged_and_none_of_them_by_few_images():
    exact = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    bounds = section().gate.int8
    assert agreement(exact, exact, 0.3).broken(bounds) == []
    lines = agreement(exact, -exact, 1.5).broken(bounds)
    assert [line.partition(":")[0] for line in lines] == ["max_difference", "max_size", "min_cosine", "min_mean_cosine"]
    assert lines[1] == "max_size: 1.5, bound 1.1, missed by 0.4"
    (recall,) = agreement(exact, exact[::-1], 0.3).broken(bounds.model_copy(update={"max_difference": 99.0}))[2:]
    assert recall.startswith("min_recall: 0.")
    (few,) = agreement(exact[:49], exact[:49], 0.3).broken(bounds)
    assert few.startswith("49 validation images are too few for the gate, which needs 50")
    spoilt = exact.copy()
    spoilt[3, 2] = np.nan
    assert agreement(exact, spoilt, 0.3).broken(bounds)[0].startswith("1 values are NaN or infinite")


def spoil(
    network: onnx.ModelProto, calibrate: Callable[[], Sequence[Any]], method: str
) -> tuple[onnx.ModelProto, Activations]:
    """Make an int8 network with one wrong scale."""
    made, activations = integers(network, calibrate, method)
    scale = next(one for one in made.graph.initializer if one.name.endswith("relu_scale"))
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) / np.float32(30), scale.name))
    return made, activations


def test_a_variant_with_a_wrong_scale_does_not_ship(
    folder: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(variants, "integers", spoil)
    report = ship_variants(folder, section(), pool)
    assert report["fp16"]["ships"]
    assert not report["int8"]["ships"]
    assert any(line.startswith("min_recall: 0.") for line in report["int8"]["broken"])
    assert sorted(path.name for path in folder.glob("*.onnx")) == ["backbone.onnx", "backbone_fp16.onnx"]
    assert sorted(json.loads((folder / "digests.json").read_text())) == ["backbone_fp16.onnx"]
    said = capsys.readouterr().err
    assert "export: backbone_int8.onnx fails the gate and does not ship:\n- " in said
    with pytest.raises(
        PipelineError, match=r"backbone_int8.onnx fails the gate[^$]*min_recall: 0[^$]*bound 0.9"
    ) as told:
        ship_variants(folder, section(on_gate_failure="stop"), pool)
    assert "Leave int8 out of export.variants, loosen export.gate.int8" in str(told.value)


def test_too_few_validation_images_prove_nothing(folder: Path, pool: Pool):
    few = pool._replace(val=of_split("val", digit_images(gate.MIN_IMAGES - 1)))
    report = ship_variants(folder, section(variants=["fp32", "fp16"]), few)
    assert not report["fp16"]["ships"]
    assert "49 validation images are too few" in report["fp16"]["broken"][0]
    none = pool._replace(val=of_split("val", digit_images(1)[:0]), originals=[])
    assert not ship_variants(folder, section(variants=["fp32", "fp16"]), none)["fp16"]["ships"]


def test_calibration_takes_what_there_is_and_says_so(folder: Path, pool: Pool, capsys: pytest.CaptureFixture[str]):
    small = pool._replace(train=of_split("train", digit_images(20)))
    chosen = {"images": 256, "method": "percentile", "seed": 1}
    report = ship_variants(folder, section(variants=["fp32", "int8"], calibration=chosen), small)
    assert report["int8"]["made"] == {"activations": "static", "images": 20, "method": "percentile", "seed": 1}
    assert "the training split has only 20 images: int8 is calibrated on all of them" in capsys.readouterr().err


def test_calibration_images_are_those_of_the_seed_at_their_own_shapes(model: Model, pool: Pool):
    calibration = section(calibration={"images": 40, "method": "minmax", "seed": 3}).calibration
    front = split(onnx.load(model.backbone)).front
    rows = sorted(np.random.default_rng(3).permutation(140)[:40].tolist())
    kept = pool.originals[1]._replace(row=rows[7])
    batches = variants._calibration_batches(front, calibration, pool._replace(originals=[kept]))
    assert [len(batch) for batch in batches] == [16, 16, 8]
    images = [kept.image if row == rows[7] else pool.train.images(np.array([row]))[0] for row in rows]
    whole = split(onnx.load(model.backbone))
    session = open_session(model.backbone)
    network = onnx_session(whole.network)
    found = network.run(None, {FITTED: np.concatenate(batches)})[0]
    np.testing.assert_allclose(found, np.concatenate([run(session, image[None]) for image in images]), atol=1e-5)


@pytest.mark.parametrize("harm", [invalid, unrunnable])
def test_what_fails_behind_the_tools_is_a_gate_failure(
    harm: Callable[[onnx.ModelProto], None], folder: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch
):
    def harmed(network: onnx.ModelProto) -> onnx.ModelProto:
        made = half(network)
        harm(made)
        return made

    monkeypatch.setattr(variants, "half", harmed)
    report = ship_variants(folder, section(variants=["fp32", "fp16"]), pool)
    assert not report["fp16"]["ships"]
    (line,) = report["fp16"]["broken"]
    assert "this backbone as fp16" in line
    assert len(line) < 700
    assert not (folder / "backbone_fp16.onnx").exists()


@pytest.mark.parametrize("error", [KeyError("ours"), OSError(ENOSPC, "full"), MemoryError()])
def test_a_bug_of_ours_and_a_full_disk_are_no_gate_failure(
    error: Exception, folder: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch
):
    def broken(network: onnx.ModelProto) -> onnx.ModelProto:
        with disk_trouble_is_told(folder / "backbone_fp16.onnx"):
            raise error

    monkeypatch.setattr(variants, "half", broken)
    with pytest.raises(PipelineError if error.args[:1] == (ENOSPC,) else type(error)):
        ship_variants(folder, section(variants=["fp32", "fp16"]), pool)


def test_all_originals_of_validation_are_measured_at_their_own_shapes(pool: Pool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(variants, "_GATE_IMAGES", 2)
    images, own_shapes = variants._gate_images(pool)
    assert own_shapes == 1
    assert [image.shape for image in images] == [(8, 8, 3), pool.originals[0].image.shape, (8, 8, 3)]


def test_an_operator_that_onnxruntime_does_not_run_is_named(folder: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch):
    def strange(network: onnx.ModelProto) -> onnx.ModelProto:
        made = half(network)
        made.graph.node[-1].op_type, made.graph.node[-1].domain = "Frobnicate", "elsewhere"
        made.opset_import.append(helper.make_opsetid("elsewhere", 1))
        return made

    monkeypatch.setattr(variants, "half", strange)
    chosen = {"variants": ["fp32", "fp16"], "on_gate_failure": "stop"}
    with pytest.raises(PipelineError, match=r"Frobnicate[^$]*Leave fp16 out of export.variants"):
        ship_variants(folder, section(**chosen), pool)
    report = ship_variants(folder, section(**chosen | {"on_gate_failure": "drop"}), pool)
    assert not report["fp16"]["ships"]
    assert "Frobnicate" in report["fp16"]["broken"][0]


def test_the_two_halves_are_the_whole(model: Model, originals: list[Images], tmp_path: Path):
    whole = joined(split(onnx.load(model.backbone)))
    said = read_metadata(open_session(model.backbone))
    write_proto(whole, tmp_path / "whole.onnx", said)
    exact, found = (embed_each(path, originals) for path in (model.backbone, tmp_path / "whole.onnx"))
    np.testing.assert_array_equal(exact, found)


def test_images_of_many_shapes_are_embedded_in_their_order(model: Model, originals: list[Images]):
    session = open_session(model.backbone)
    alone = np.concatenate([run(session, image[None]) for image in originals])
    np.testing.assert_allclose(embed_each(model.backbone, originals), alone, atol=1e-5)
    assert isinstance(split(onnx.load(model.backbone)), Halves)
