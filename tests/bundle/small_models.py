"""Small, quick models that need no torch, as the stages leave them: graphs that see an image's mean colour."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ssl_pipeline.bundle.model_card import Told
from ssl_pipeline.bundle.writing import Shipped
from ssl_pipeline.data.image_spec import RGB8, ImageSpec
from ssl_pipeline.products import record, sha256

SIZE, DIM = 8, 16
KINDS = {"uint8": TensorProto.UINT8, "uint16": TensorProto.UINT16, "float32": TensorProto.FLOAT}
BANDS = ImageSpec(channels=13, dtype="float32", low=0.0, high=2.5)


def metadata(spec: ImageSpec, **more: str) -> dict[str, str]:
    """Return the metadata of a graph."""
    return {
        "size": str(SIZE),
        "channels": str(spec.channels),
        "dtype": spec.dtype,
        "scale": json.dumps([spec.low, spec.high]),
        "rgb": json.dumps(spec.rgb),
        "nodata": json.dumps(spec.nodata),
        "background": json.dumps([255] * spec.channels),
        "embedding_dim": str(DIM),
        "l2_normalized": "false",
        "resize": "squash",
        "input": "images",
        "output": "rows",
        "recipe": json.dumps({"name": "simclr"}),
        "backbone": json.dumps({"name": "small", "depth": 1}),
        "weights_sha256": "ab" * 32,
        "params_sha256": "cd" * 32,
        **more,
    }


def write_graph(
    path: Path, spec: ImageSpec = RGB8, output: str = "embedding", dim: int = DIM, scale: float = 1.0, **more: str
) -> None:
    """Write a graph from images of any size to (N, dim), recorded as a stage records it."""
    weights = scale * np.random.default_rng(dim).normal(size=(spec.channels, dim)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["images"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("IsNaN", ["numbers"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "numbers"], ["measured"]),
        helper.make_node("Div", ["measured", "high"], ["shares"]),
        helper.make_node("ReduceMean", ["shares", "sides"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["product"]),
        helper.make_node("Softmax" if output == "probabilities" else "Tanh", ["product"], [output]),
    ]
    constants = {
        "zero": np.float32(0),
        "high": np.float32(spec.high),
        "sides": np.array([1, 2], np.int64),
        "weights": weights.astype(np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", KINDS[spec.dtype], ["N", "H", "W", spec.channels])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", dim])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, metadata(spec, **more))
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    record(path)


def told(shipped: Shipped | None = None, labelled: bool = True, contact: str | None = None) -> Told:
    """Return the results of a run, in the form in which the stages write them."""
    evaluated = {"backbone_sha256": sha256(shipped.export / "backbone.onnx") if shipped else "ab" * 32}
    accuracy = {"accuracy": 0.9, "accuracy_low": 0.85, "accuracy_high": 0.94}
    split = {"images": 10, "labelled": 10 if labelled else 0}
    counts = {"train": 10, "val": 10, "test": 10, "duplicates": 1, "rejected": 2}
    parity = {"max_difference": 1e-6, "min_cosine": 1.0, "originals": 4, "shapes": ["8x8"], "providers": ["CPU"]}
    recipe = {"name": "simclr", "loss": {"name": "info_nce", "temperature": 0.2}, "negatives": None}
    start = "/srv/somebody/start.safetensors"
    pretrain = {"recipe": "simclr", "loss": {"temperature": 0.2}, "init": start, "epochs": 3, "devices": 4}
    budget = {"images": 2, "finding": "no_clear_difference", "finetune": accuracy, "random": accuracy}
    return Told(
        manifest={
            "counts": counts,
            "splits": dict.fromkeys(("train", "val", "test"), split),
            "source": {"sha256": "ef" * 32},
        },
        trained={
            "recipe": recipe,
            "init": start,
            "init_sha256": "ab" * 32,
            "pretrain": pretrain,
            "versions": {"torch": "2.9"},
            "weights_sha256": "ab" * 32,
        },
        export={
            "parity": parity,
            "canvas_cosine": {"mean": 1.0},
            "energy": {"auroc": None, "max_difference": 0.0},
            "embedding_dim": DIM,
        },
        linear={
            **evaluated,
            **accuracy,
            "knn": accuracy,
            "random_encoder": accuracy,
            "rivals": {"/srv/somebody/x.onnx": accuracy},
        }
        if labelled
        else {
            **evaluated,
            "no_probe": "the labels of the training images name no class, so there is nothing to distinguish",
        },
        finetune={"labelled": True, "budgets": {"1": budget}} if labelled else {"labelled": False},
        contact=contact,
    )


def write_models(
    root: Path, spec: ImageSpec = RGB8, classes: tuple[str, ...] = ("cat", "dog"), scale: float = 1.0
) -> Shipped:
    """Write a backbone, and also a probe and a classifier if there are classes."""
    write_graph(root / "models/export/backbone.onnx", spec, scale=scale)
    backbone = sha256(root / "models/export/backbone.onnx")
    shipped = Shipped(
        root / "models/export", root / "models/linear_eval/linear_probe.onnx", root / "models/finetune/classifier.onnx"
    )
    for path in (shipped.probe, shipped.classifier) if classes else ():
        write_graph(path, spec, "probabilities", len(classes), classes=json.dumps(classes), backbone_sha256=backbone)
    return shipped
