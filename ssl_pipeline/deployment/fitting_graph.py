"""The front of each graph from images: it refuses images without pixels, and fits all others to the network.

It is the same for all networks of a size, and as large as a small network. Therefore it is traced once and prepended to
each: this halves the time to write a graph, and takes a graph of pairs of images to a third.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import onnx
import torch
from onnx import compose, helper, numpy_helper
from torch import Tensor, nn
from torch.export import Dim

from ssl_pipeline.augment.geometry import fit
from ssl_pipeline.data.image_spec import ImageSpec
from ssl_pipeline.deployment.from_pixels import FromPixels
from ssl_pipeline.deployment.onnx_file import traced
from ssl_pipeline.deployment.traces import traced_once

__all__ = ["fit_before", "fitted"]


def fitted(name: str) -> str:
    """Return the name of the network input that `fit_before` computes from the images of this name."""
    return f"{name}/fitted"


def fit_before(model: onnx.ModelProto, name: str, module: FromPixels, *, alone: bool) -> None:
    """Turn a network's graph into one from images of any size, by computing its input `fitted(name)` from them.

    A gate comes first: it reshapes images (N, H, W, C) to (N, max(H, 1), max(W, 1), C). Images with pixels already have
    this shape. Images without pixels cannot fill it, and every runtime refuses them. The checks of torch do not reach
    the file: the exporter assumes that every length is at least 1, and removes them.

    Args:
        model: Graph that `traced` returned; it is changed.
        name: Name of the images.
        module: Wrapped network, whose settings say how to fit images.
        alone: Whether these are the only images of the graph; if not, their height and width are named after them.
    """
    graph = model.graph
    opset = next(entry.version for entry in model.opset_import if entry.domain == "")
    front = _fitting(module.size, module.resize, tuple(module.background), module.images, opset)
    before = compose.add_prefix(onnx.load_from_string(front), f"{name}/").graph
    (taken,) = before.input
    shape, least, needed = (f"{name}_{part}" for part in ("shape", "least_shape", "needed_shape"))
    gate = [
        helper.make_node("Shape", [name], [shape], name=shape),
        helper.make_node("Max", [shape, least], [needed], name=needed),
        helper.make_node("Reshape", [name, needed], [taken.name], name=f"{name}_must_have_pixels"),
    ]
    nodes = [*gate, *before.node, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.append(numpy_helper.from_array(np.array([0, 1, 1, 1], np.int64), least))
    graph.initializer.extend(before.initializer)
    images = next(value for value in graph.input if value.name == fitted(name))
    graph.value_info.append(images)
    number, *sides, channels = taken.type.tensor_type.shape.dim
    dims = [number.dim_param, *(side.dim_param if alone else f"{name}_{side.dim_param}" for side in sides)]
    kind = taken.type.tensor_type.elem_type
    images.CopyFrom(helper.make_tensor_value_info(name, kind, [*dims, channels.dim_value]))


class _Fitting(nn.Module):
    def __init__(self, size: int, resize: str, background: Sequence[float], spec: ImageSpec):
        super().__init__()
        self.settings = size, resize, background, spec

    def forward(self, images: Tensor) -> Tensor:
        return fit(images, *self.settings)


@cache
def _fitting(size: int, resize: str, background: tuple[float, ...], spec: ImageSpec, opset: int) -> bytes:
    """Return the graph of `fit`, `images` [N, H, W, C] -> `fitted` float32 [N, C, S, S]."""

    def trace() -> bytes:
        example = torch.zeros(2, size + 3, size + 5, spec.channels, dtype=getattr(torch, spec.dtype))
        content: bytes = traced(
            _Fitting(size, resize, background, spec).eval(),
            (example,),  # neither square nor of the trained size
            input_names=["images"],
            output_names=["fitted"],
            dynamic_shapes=({0: Dim("batch"), 1: Dim("height"), 2: Dim("width")},),
            opset=opset,
        ).SerializeToString()
        return content

    return traced_once(__name__, repr((size, resize, background, spec, opset)), trace)
