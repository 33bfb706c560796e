"""classifier.onnx and linear_probe.onnx: from pixels to class probabilities, with a linear head on a backbone."""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper
from torch import nn

from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.artifacts.files import save_model, save_weights
from ssl_pipeline.deployment.backbone_graph import export_backbone
from ssl_pipeline.deployment.bounds import LINEAR_PROBE
from ssl_pipeline.deployment.onnx_file import write_proto
from ssl_pipeline.deployment.proof import Proof, Reference, prove
from ssl_pipeline.deployment.rebuilt import HEAD
from ssl_pipeline.types import Encoder

__all__ = ["append_classifier", "opset_of", "prove_probe", "write_classifier"]


def append_classifier(
    backbone: Path,
    weight: npt.NDArray[np.floating],
    bias: npt.NDArray[np.floating],
    classes: Sequence[str],
    path: Path,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write the graph from pixels to class probabilities: a backbone's graph followed by softmax(W · embedding + b).

    The backbone's nodes and weights are copied unchanged, so that exactly what was verified and measured ships.

    Args:
        backbone: Path of a file that `export_backbone` wrote.
        weight: Weights W (C, D), which act on the embedding that the file returns, normalised or not.
        bias: Biases b (C,).
        classes: Names of the C classes, in the order of the rows of W; the metadata holds them as JSON.
        path: Path of the new file, whose output is `probabilities` float32 [N, C].
        metadata: Entries to add to the backbone's metadata.

    Raises:
        ValueError: Shapes do not match.
    """
    model = onnx.load(backbone)
    graph = model.graph
    batch, dim = graph.output[0].type.tensor_type.shape.dim
    if weight.shape != (len(classes), dim.dim_value) or bias.shape != (len(classes),):
        raise ValueError(
            f"{len(classes)} classes on {dim.dim_value} features need a weight ({len(classes)}, {dim.dim_value}) and a "
            f"bias ({len(classes)},), got {weight.shape} and {bias.shape}"
        )
    graph.initializer.append(numpy_helper.from_array(weight.astype(np.float32), "classifier.weight"))
    graph.initializer.append(numpy_helper.from_array(bias.astype(np.float32), "classifier.bias"))
    inputs = [graph.output[0].name, "classifier.weight", "classifier.bias"]
    graph.node.append(helper.make_node("Gemm", inputs, ["logits"], name="classifier", transB=1))
    graph.node.append(helper.make_node("Softmax", ["logits"], ["probabilities"], name="softmax", axis=1))
    shape = [batch.dim_param, len(classes)]
    graph.output[0].CopyFrom(helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, shape))
    inherited = {entry.key: entry.value for entry in model.metadata_props if entry.key != "thresholds"}  # of embeddings
    names = json.dumps(list(classes), ensure_ascii=False)
    output = f"probabilities: float32 [N, {len(classes)}], of `classes` in their order"
    write_proto(model, path, {**inherited, "output": output, "classes": names, **(metadata or {})})


def prove_probe(
    path: Path, predict: Callable[[npt.NDArray[Any]], npt.NDArray[np.floating]], images: npt.NDArray[Any]
) -> Proof:
    """Compare the graph of a probe with the probe itself, which was fitted outside torch.

    Args:
        path: Path of the file that `append_classifier` wrote.
        predict: Function of the probe, from images to probabilities (n, C).
        images: Images (n, H, W, 3) to compare on.

    Raises:
        PipelineError: The graph does not compute what the probe computes.
    """
    probe = Reference("the probe", [lambda batches: {name: predict(*arrays) for name, arrays in batches.items()}])
    advice = (
        "the embeddings vary too little for single precision. Check linear_eval.strengths and the signs of collapse in "
        "reports/pretrain."
    )
    return prove(path, probe, {"images": (images,)}, LINEAR_PROBE, advice)


def write_classifier(
    folder: Path,
    encoder: Encoder,
    head: nn.Linear,
    card: ModelCard,
    classes: Sequence[str],
    *,
    opset: int,
    metadata: Mapping[str, str],
) -> Path:
    """Write encoder.safetensors, head.safetensors, model.json and classifier.onnx.

    Args:
        folder: Folder to write the files to.
        encoder: Fine-tuned encoder, on the CPU, in eval mode.
        head: Linear layer from embeddings of length D, not normalised, to C logits.
        card: Card of the encoder, in which the digest of the weights is filled in.
        classes: Names of the C classes.
        opset: ONNX operator set, 18 to 23.
        metadata: Entries to add to the graph's metadata.

    Returns:
        The path of classifier.onnx.
    """
    card = save_model(folder, encoder, None, card)
    save_weights(folder / HEAD, head.state_dict())
    weight, bias = (value.numpy(force=True) for value in (head.weight, head.bias))
    path = folder / "classifier.onnx"
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        backbone = Path(temporary, "backbone.onnx")
        export_backbone(encoder, card, backbone, l2_normalize=False, opset=opset)
        append_classifier(backbone, weight, bias, classes, path, metadata)
    return path


def opset_of(path: Path) -> int:
    """Return the ONNX operator set that a graph was written in."""
    model = onnx.load(path, load_external_data=False)
    return int(next(entry.version for entry in model.opset_import if entry.domain == ""))
