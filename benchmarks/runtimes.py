"""Shipped graphs in OpenVINO, compared with onnxruntime: `python -m benchmarks.runtimes [BUNDLE]`.

Without BUNDLE, the graphs are those that the stages write in float32 (backbone, backbone_core, backbone_maps and
linear_probe), for a ResNet-18 at 96 px and a ViT-Tiny at 64 px with random weights. Each graph receives the golden
inputs of a bundle: batches of one and of several images, in several sizes. A line of JSON for each graph states the
largest difference of an output, in units of the largest component of its row, and the operators that OpenVINO does not
support. OpenVINO computes in float32 on the CPU; by default, it would use bfloat16 if the processor supports it.
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import torch

from benchmarks.interleaved import machine
from benchmarks.large_photographs import describe
from ssl_pipeline.artifacts.assembly import build_encoder
from ssl_pipeline.bundle.golden import golden_of, precision_of
from ssl_pipeline.bundle.verify import compare
from ssl_pipeline.config import Choice
from ssl_pipeline.deployment.backbone_graph import export_backbone_and_core
from ssl_pipeline.deployment.classifier_graph import append_classifier
from ssl_pipeline.deployment.core_graph import Core
from ssl_pipeline.deployment.maps_graph import export_maps
from ssl_pipeline.loading import load_registry

NETWORKS = {"torchvision/resnet18": 96, "timm/vit_tiny_patch16_224": 64}
HALF = (0.5, 0.5, 0.5)
Arrays = Mapping[str, np.ndarray]


def write(folder: Path, name: str, side: int) -> None:
    """Write the graphs of a network with random weights, for images of `side` px."""
    choice = Choice(name=name)
    encoder = build_encoder(load_registry(), choice, HALF, HALF, 0, side).eval()
    card = describe(encoder, choice, side)
    backbone, core = folder / "backbone.onnx", Core(folder / "backbone_core.onnx", None)
    export_backbone_and_core(encoder, card, backbone, core, l2_normalize=True, opset=18)
    last = len(encoder.backbone.map_channels)
    export_maps(encoder, card, folder / "backbone_maps.onnx", [1, last], l2_normalize=True, opset=18)
    weight = np.random.default_rng(0).normal(size=(10, card.embedding_dim))
    append_classifier(backbone, weight, np.zeros(10), [str(digit) for digit in range(10)], folder / "linear_probe.onnx")


def beside(core: Any, path: Path) -> dict[str, Any]:
    """Run a graph in OpenVINO on its golden inputs; return the largest difference from the outputs of onnxruntime."""
    golden = golden_of(path)
    try:
        model = core.read_model(path)
        known = core.query_model(model, "CPU")
        lacking = sorted({node.get_type_name() for node in model.get_ops() if node.get_friendly_name() not in known})
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except RuntimeError as error:
        return {"unsupported": [str(error).strip().splitlines()[-1][:300]], "difference": None}
    differences = []
    for case in golden.cases:
        found = compiled({name: golden.arrays[key] for name, key in case["inputs"].items()})
        for name, key in case["outputs"].items():
            differences.append(compare(found[name], golden.arrays[key], golden.every[name])[0])
    return {"unsupported": lacking, "difference": float(f"{max(differences):.1e}")}


def graphs(folder: Path, bundle: Path | None) -> Iterator[tuple[str, Path]]:
    """Yield the name of a network and the path of a float32 graph, for all graphs of the bundle or of NETWORKS."""
    if bundle is None:
        for number, (name, side) in enumerate(NETWORKS.items()):
            own = folder / str(number)
            own.mkdir()
            write(own, name, side)
            yield from ((name, path) for path in sorted(own.glob("*.onnx")))
        return
    for path in sorted(bundle.glob("*.onnx")):
        if precision_of(onnx.load(path)) == "fp32":
            yield bundle.name, path


@click.command(help=__doc__)
@click.argument("bundle", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(bundle: Path | None) -> None:
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # openvino works without it, and sends no reports
    import openvino

    torch.set_num_threads(1)
    print(json.dumps(machine() | {"openvino": openvino.get_version()}), flush=True)
    runtime, lines = openvino.Core(), []
    with tempfile.TemporaryDirectory() as folder:
        for network, path in graphs(Path(folder), bundle):
            lines.append({"what": "graph", "network": network, "graph": path.name} | beside(runtime, path))
            print(json.dumps(lines[-1]), flush=True)
    ran = [line["difference"] for line in lines if line["difference"] is not None]
    total = {"graphs": len(lines), "not_run": len(lines) - len(ran), "largest_difference": max(ran, default=None)}
    print(json.dumps({"what": "openvino"} | total), flush=True)


if __name__ == "__main__":
    main()
