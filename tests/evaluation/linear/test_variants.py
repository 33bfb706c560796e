"""What is reported of variants: differences and their signs, the recommendation, times in turns, the picture."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from ssl_pipeline.config import load
from ssl_pipeline.data.labelled import Labelled, LabelledSplits
from ssl_pipeline.data.store import Split
from ssl_pipeline.deployment import latency
from ssl_pipeline.evaluation.features import Kept
from ssl_pipeline.evaluation.linear import knn
from ssl_pipeline.evaluation.linear.variants import (
    Variants,
    draw_variants,
    recommended,
    set_apart,
    study_variants,
    variant_lines,
)
from ssl_pipeline.evaluation.statistics.intervals import score
from tests.factories import MEAN, STD, digit_images

SETTINGS = load(Path(__file__).parents[3] / "params.yaml").linear_eval


def file(size: int, time: float, low: float | None = None) -> dict[str, Any]:
    validation = {} if low is None else {"validation": {"accuracy": low / 2, "accuracy_low": low, "accuracy_high": 0.1}}
    return {"bytes": size, "latency": {"1": {"milliseconds": 1.0, "of_torch": time}}, **validation}


@pytest.mark.parametrize(
    ("fp16", "int8", "chosen"),
    [
        (file(50, 0.5, -0.001), file(25, 0.3, -0.01), "int8"),  # the smallest
        (file(50, 0.5, -0.001), file(25, 0.3, -0.011), "fp16"),  # int8 may lose more than one point
        (file(50, 0.5, 0.0), file(25, 0.53, 0.0), "fp16"),  # int8 is slower, as on a CPU without int8 instructions
        (file(50, 0.6, 0.0), file(25, 0.6, 0.0), "fp32"),
        (file(50, 0.525, 0.0), file(25, 0.6, 0.01), "fp16"),
        (file(50, 0.5), file(25, 0.5), "fp32"),  # without labels nothing can be shown
    ],
)
def test_the_smallest_that_is_as_good_and_not_slower_is_recommended(
    fp16: dict[str, Any], int8: dict[str, Any], chosen: str
):
    assert recommended({"fp32": file(100, 0.5), "fp16": fp16, "int8": int8}) == chosen


@pytest.mark.parametrize(("images", "lost"), [(20, 0), (20, 2), (60, 2), (100, 0), (100, 3), (400, 0), (1000, 8)])
def test_what_validation_cannot_tell_is_not_recommended(images: int, lost: int):
    groups = np.arange(images)
    predicted = {"fp32": np.zeros(images, np.int64), "int8": (groups < lost).astype(np.int64)}
    gain = score(np.zeros(images, np.int64), predicted, groups, 200, 0).gain("int8", "fp32", "accuracy")
    found = {"accuracy": gain.value, "accuracy_low": gain.low, "accuracy_high": gain.high}
    files = {"fp32": file(100, 0.5), "int8": file(25, 0.3) | {"validation": found}}
    assert recommended(files) == "fp32"
    assert recommended(files | {"int8": file(25, 0.3) | {"validation": found | {"accuracy_low": -0.009}}}) == "int8"


def test_why_backbone_onnx_is_recommended_is_said():
    torch = times([])["torch"]
    for int8, words in (
        (file(25, 0.3), "without labelled validation images, no variant can be shown to be as good"),
        (file(25, 0.3, -0.05), "validation does not show that any variant loses less than 1 point of kNN accuracy"),
        (file(25, 0.9, 0.0), "variants that are as good are slower or larger"),
    ):
        found = {"files": {"fp32": file(100, 0.5), "int8": int8}, "torch": torch, "recommended": "fp32"}
        assert variant_lines({"variants": found})[-1] == f"  recommended: fp32 ({words})"


def split(name: str, part: slice) -> Labelled:
    from sklearn.datasets import load_digits

    images, labels = digit_images()[part], load_digits().target[part].astype(np.int64)
    rows = np.arange(len(images))
    return Labelled(Split(name, 8, rows.astype(np.uint64), MEAN, STD, name, (images,)), rows, labels, rows)


@pytest.fixture(scope="module")
def data() -> LabelledSplits:
    parts = {"train": slice(0, 200), "val": slice(200, 500), "test": slice(500, 600)}
    return LabelledSplits(*(split(name, part) for name, part in parts.items()), tuple("0123456789"))


def pixels(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float32)


def rough(images: np.ndarray) -> np.ndarray:
    """Return two rows of each image."""
    return pixels(images[:, 3:5])


def variants(folder: Path) -> Variants:
    files = {name: folder / f"{name}.onnx" for name in ("fp32", "int8")}
    for name, path in files.items():
        path.write_bytes(bytes(100 if name == "fp32" else 25))
    return Variants(files, {"int8": Kept(rough)})


def times(files: Any) -> dict[str, Any]:
    return {name: {"1": {"milliseconds": 2.0, "of_torch": 0.5}} for name in (*files, "torch")}


def test_on_validation_neighbours_are_compared_image_by_image(data: LabelledSplits, tmp_path: Path):
    found = study_variants(SETTINGS, Kept(pixels), variants(tmp_path), data, {}, times)
    right = []
    for embed in (pixels, rough):
        bank, queries = (embed(part.images(np.arange(len(part)))) for part in (data.train, data.val))
        votes = knn.predict(bank, data.train.labels, queries, SETTINGS.knn.k, SETTINGS.knn.temperature)
        right.append(votes == data.val.labels)
    gap = found["files"]["int8"]["validation"]
    assert gap["accuracy"] == pytest.approx(right[1].mean() - right[0].mean())
    assert gap["accuracy_low"] < gap["accuracy"] < gap["accuracy_high"] < 0
    assert found["files"]["int8"]["bytes"] == 25
    assert found["recommended"] == "fp32"  # the rough variant is a quarter of the size, but worse


def test_where_backbone_onnx_ships_alone_nothing_is_said(data: LabelledSplits):
    assert study_variants(SETTINGS, Kept(pixels), Variants({}, {}), data, {}, times) == {}
    assert variant_lines({"accuracy": 0.9}) == []
    assert set_apart({"accuracy": 0.9}, Variants({}, {})) == ({"accuracy": 0.9}, {})


def test_a_gain_of_the_backbone_is_a_loss_of_the_variant(tmp_path: Path):
    gain = {"accuracy": 0.02, "accuracy_low": -0.01, "accuracy_high": 0.05}
    metrics = {"accuracy": 0.9, "int8": {"accuracy": 0.88}, "gain_over_int8": {**gain, "knn": gain}}
    rest, judged = set_apart(metrics, variants(tmp_path))
    assert rest == {"accuracy": 0.9}
    turned = {"accuracy": -0.02, "accuracy_low": -0.05, "accuracy_high": 0.01}
    assert judged == {"int8": {"accuracy": 0.88, "difference": {**turned, "knn": turned}}}


def test_lines_and_picture(tmp_path: Path):
    gap = {"accuracy": -0.01, "accuracy_low": -0.02, "accuracy_high": 0.001}
    judged = {"knn": {"accuracy": 0.95}, "difference": {"knn": gap}, "validation": gap}
    files = {"fp32": file(400_000, 0.5), "int8": file(100_000, 0.2) | judged}
    metrics = {
        "knn": {"accuracy": 0.96},
        "variants": {"files": files, "torch": times([])["torch"], "recommended": "int8"},
    }
    lines = variant_lines(metrics)
    assert lines[2] == "  int8: 0.10 MB, 0.20 of torch's time, kNN -1.0 [-2.0, +0.1] points"
    assert lines[3].startswith("  recommended: int8 (0.25 of the size of fp32, kNN on validation -1.0 [")
    draw_variants(metrics, tmp_path)
    assert imread(tmp_path / "variants.png")[..., :3].std() > 0.01
    draw_variants(metrics | {"knn": {"k": 20}}, tmp_path / "nowhere")  # no test image has a label


def test_calls_take_turns_to_and_fro():
    order: list[str] = []
    names = ("fp32", "int8", latency.TORCH)
    rounds = latency._in_turns({name: partial(order.append, name) for name in names})
    assert tuple(order[:3]) == names  # warm-up
    assert tuple(order[3:9]) == (*names, *reversed(names))
    assert {len(found) for found in rounds.values()} == {(len(order) - 3) // 6}
