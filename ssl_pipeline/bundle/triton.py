"""A model repository for NVIDIA's Triton, without the graphs themselves: triton/<graph>/config.pbtxt.

The format is defined by Triton's `model_config.proto`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssl_pipeline.deployment.runtime import open_session, read_metadata
from ssl_pipeline.terminal import printable

__all__ = ["write_triton"]

_TYPES = {
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float)": "TYPE_FP32",
}
_MOST_IMAGES = 64
"""Largest number of images in a batch that Triton makes of waiting requests."""


def write_triton(folder: Path, graph: Path) -> None:
    """Write the configuration of a graph, and the names of its classes if it has any.

    Args:
        folder: Folder of the model repository.
        graph: ONNX file that a stage has written; Triton serves it from `<folder>/<its name>/1/model.onnx`.
    """
    session = open_session(graph)
    classes = json.loads(read_metadata(session).get("classes", "[]"))
    model = folder / graph.stem
    model.mkdir(parents=True)
    fixed = session.get_inputs()[0].shape[0]
    batched = not isinstance(fixed, int)
    lines = [
        f'name: "{graph.stem}"',
        'platform: "onnxruntime_onnx"',
        f"max_batch_size: {_MOST_IMAGES if batched else 0}",
        *_tensors("input", session.get_inputs(), batched, labelled=False),
        *_tensors("output", session.get_outputs(), batched, labelled=bool(classes)),
        *(["dynamic_batching { }"] if batched else []),
    ]
    (model / "config.pbtxt").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    if classes:
        names = "".join(f"{printable(name, kept='')}\n" for name in classes)
        (model / "labels.txt").write_text(names, encoding="utf-8", newline="\n")


def _tensors(kind: str, nodes: Sequence[Any], batched: bool, *, labelled: bool) -> list[str]:
    """Return the lines of inputs or outputs; if Triton makes the batches, the batch dimension is omitted."""
    lines = []
    for node in nodes:
        dims = [dim if isinstance(dim, int) else -1 for dim in node.shape[int(batched) :]]
        lines += [
            f"{kind} {{",
            f'  name: "{node.name}"',
            f"  data_type: {_TYPES[node.type]}",
            f"  dims: [ {', '.join(map(str, dims))} ]",
            *(['  label_filename: "labels.txt"'] if labelled else []),
            "}",
        ]
    return lines
