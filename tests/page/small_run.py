"""A small project with everything that a page shows, and with names that would break a careless page."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import helper, numpy_helper
from PIL import Image

from ssl_pipeline.config import IngestConfig
from ssl_pipeline.data.decode import Canvas
from ssl_pipeline.data.ingest import Shares, ingest
from ssl_pipeline.loading import load_source
from ssl_pipeline.products import record
from tests.factories import digit_images

PARAMS = Path(__file__).parents[2] / "params.yaml"
IMAGES = 60
SIDE = 8
SCRIPT = "<script>alert(1)</script>.png"
MARKUP = '"><img src=x onerror=alert(2)>'
TURNED = "\u202egnp.exe\u202c"
ACCURACY = {"accuracy": 0.9, "accuracy_low": 0.85, "accuracy_high": 0.94}
VERDICT = [
    "Pretraining helped with 1 label per class.",
    "With 1 label per class: 90.0% [85.0, 94.0]: pretraining helped (p = 0.04).",
    "Accuracy on 15 test images.",
]


def write_images(folder: Path, labelled: bool) -> None:
    """Write digits, in two classes or unlabelled; one class and two files have hostile names, and one is unreadable."""
    for number, pixels in enumerate(digit_images(IMAGES)):
        name = {0: SCRIPT, 2: f"{MARKUP}{TURNED}.png", 4: "two\nlines.png"}.get(number, f"{number:03}.png")
        path = folder / (("plain", MARKUP)[number % 2 == 0] if labelled else "unlabelled") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    (path.parent / SCRIPT.replace("/", "")).write_bytes(b"no image")


def write_store(root: Path, labelled: bool = True) -> None:
    """Write the store that ingest would make of these images."""
    write_images(root / "images", labelled)
    section = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))["ingest"]
    settings = IngestConfig.model_validate(section | {"source": {"name": "folder", "path": str(root / "images")}})
    (root / "data/ingested").mkdir(parents=True)
    shape = SIDE, settings.resize, settings.background, settings.min_side, settings.max_megapixels, settings.pixels
    ingest(
        load_source(settings.source).open(),
        root / "data/ingested",
        Canvas(*shape),
        Shares(0, settings.val_fraction, settings.test_fraction, settings.max_reject_fraction),
        root / "reports/ingest",
        workers=1,
        source=settings.source.model_dump(mode="json"),
    )


def write_backbone(path: Path) -> None:
    """Write a graph that multiplies the pixels by a fixed matrix."""
    weights = np.random.default_rng(0).normal(size=(SIDE * SIDE * 3, 16)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["numbers"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Flatten", ["numbers"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["embedding"]),
        ],
        "backbone",
        [helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, ["N", 16])],
        [numpy_helper.from_array(weights, "weights")],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    record(path)


def write(root: Path, path: str, content: Any) -> None:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def draw(root: Path, path: str) -> None:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), "teal").save(target)


def write_reports(root: Path) -> None:
    """Write reports of the other stages in their own formats."""
    card = {"versions": {"torch": "2.9"}, "weights_sha256": "ab" * 32}
    parity = {"max_difference": 1e-6, "min_cosine": 1.0, "originals": 4, "shapes": ["1x1", "8x8"], "providers": ["CPU"]}
    clusters = {
        "images": 40,
        "verdict": "balanced",
        "k_star": 2,
        "stability": 0.9,
        "merged_pairs": {"plain + x": 0.4},
        "split_classes": {"plain": 1.6},
    }
    write(root, "models/pretrain/model.json", card)
    write(root, "data/augmented/policy.json", {"views": {"plain": {"size": SIDE}}})
    write(root, "reports/pretrain/details.json", {"step": 9, "loss": 1.5, "effective_rank": None})
    write(root, "reports/pretrain/warnings.json", [{"step": 3, "kind": "x", "warning": f"odd {MARKUP}"}])
    kept = {"size": 0.5, "recall": 0.98}
    gate = {
        "fp16": {"ships": True, "broken": [], "gate": kept},
        "int8": {"ships": False, "broken": [f"min_recall: 0.1, bound 0.8 {MARKUP}"], "gate": kept},
    }
    energy = {"auroc": 0.97, "max_difference": 1e-7}
    write(
        root,
        "reports/export/details.json",
        {"parity": parity, "energy": energy, "canvas_cosine": {"mean": 1.0}, "embedding_dim": 16, "variants": gate},
    )
    latency = {size: {"milliseconds": 1.0, "of_torch": 0.25} for size in ("1", "32")}
    files = {"fp32": {"latency": latency}, "fp16": {"latency": latency, "difference": {"knn": ACCURACY}}}
    variants = {"files": files, "recommended": "fp16"}
    linear = {**ACCURACY, "knn": ACCURACY, "random_encoder": ACCURACY, "clusters": clusters, "variants": variants}
    write(root, "reports/linear_eval/details.json", linear)
    budget = {"images": 2, "finding": "helped", "finetune": ACCURACY, "random": ACCURACY}
    write(root, "reports/finetune/details.json", {"labelled": True, "budgets": {"1": budget}})
    write(root, "reports/finetune/verdict.txt", "\n".join(VERDICT) + "\n")
    for path in (
        "data/augmented/preview.png",
        "reports/pretrain/pictures/curves.png",
        "reports/linear_eval/pictures/clusters.png",
        "reports/linear_eval/pictures/confusion.png",
        "reports/linear_eval/pictures/variants.png",
        "reports/finetune/pictures/label_budget.png",
    ):
        draw(root, path)


def write_curated(root: Path, paths: list[str]) -> None:
    """Write the findings of curate: two clusters, an outlier score per image, a label probability for all but one."""
    from ssl_pipeline.data.tables import harmless, write_table

    clusters = [{"images": number, "central": paths[number], "label": MARKUP, "share": 0.75} for number in (0, 1)]
    header = ("path", "split", "nearest", "near_duplicates", "outlier_score", "own_label", "suspected_label", "cluster")
    rows = [
        (
            harmless(path, True),
            "train",
            paths[0],
            "",
            f"{1 + number / 10:.4f}",
            "" if number == 0 else "0.5000",
            "" if number else "7",
            number % 2,
        )
        for number, path in enumerate(paths)
    ]
    write_table(root / "reports/curate/images.csv", header, rows[::-1])
    shortcuts = {
        f"the {MARKUP}": {"images": 200, "accuracy": 0.91, "by_label": 0.5, "chance": 0.25, "told": 0.88},
        f"{MARKUP} by chance": {"images": 200, "accuracy": 0.27, "by_label": 0.5, "chance": 0.25, "told": 0.03},
    }
    found = {"clusters": clusters, "label_errors": {"probe_accuracy": 0.875}, "shortcuts": shortcuts}
    write(root, "reports/curate/details.json", found)
    write(
        root,
        "reports/curate/metrics.json",
        {"near_duplicates_across_splits": 12345, "suspected_labels": 3, "other": 0.25},
    )
    draw(root, "reports/curate/pictures/outliers.png")


def write_confusion(root: Path, labels: list[str]) -> None:
    """Write predictions for the labelled test images; all of them name the first class."""
    from ssl_pipeline.data.tables import write_table

    folder = root / "reports/linear_eval"
    write_table(folder / "confusion.csv", ("actual", "predicted"), [(label, "plain") for label in labels])
    write_table(folder / "recalls.csv", ("class", "images", "recall"), [("plain", len(labels), 0.5)])
