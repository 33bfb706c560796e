"""The fine-tuned classifier as a product: weights, card and one graph from pixels to class probabilities."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
from torch import nn

from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.artifacts.files import save_model, save_weights
from ssl_pipeline.deployment.export import append_classifier, export_backbone
from ssl_pipeline.deployment.reference import HEAD
from ssl_pipeline.types import Encoder

__all__ = ["opset_of", "write_classifier"]


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
        folder: Where they go.
        encoder: Fine-tuned; on the CPU, in eval mode.
        head: Of D embeddings, not normalised, to C logits.
        card: Of the encoder; its digest of the weights is filled in.
        classes: C names.
        opset: ONNX operator set.
        metadata: Added to the graph's.

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
    """The ONNX operator set that a graph was written in."""
    model = onnx.load(path, load_external_data=False)
    return int(next(entry.version for entry in model.opset_import if entry.domain == ""))
