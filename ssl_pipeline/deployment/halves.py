"""Splitting a backbone's graph into the part that resizes images and the network behind it, and joining them again.

Variants are made from the network alone. Resizing stays in float32: it takes little of the time, has no weights, and
breaks the tools. Symbolic shape inference ends with a TypeError; the converter to float16 adds one cast per reader in
float32, all of the same name, so that no runtime loads the graph.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import onnx
from onnx import compose
from onnx.utils import Extractor

from ssl_pipeline.deployment.fitting_graph import fitted

__all__ = ["FITTED", "Halves", "before_weights", "behind_weights", "joined", "renamed", "split", "weight_shares"]

FITTED = fitted("images")
"""Name of the value between the two parts: images float32 [N, C, S, S] in [0, 1]."""

WEIGHTED = ("Conv", "MatMul", "Gemm")
"""Operators that multiply by weights."""


class Halves(NamedTuple):
    """The two parts of a graph.

    Attributes:
        front: Part from images to `FITTED`.
        network: Part from `FITTED` to the outputs.
    """

    front: onnx.ModelProto
    network: onnx.ModelProto


def split(model: onnx.ModelProto) -> Halves:
    """Return the two parts of a backbone's graph, as `export_backbone` writes it."""
    extractor = Extractor(model)
    outputs = [value.name for value in model.graph.output]
    halves = Halves(extractor.extract_model(["images"], [FITTED]), extractor.extract_model([FITTED], outputs))
    front, network = ({tensor.name for tensor in half.graph.initializer} for half in halves)
    renamed(halves.front.graph, {name: f"{name}_front" for name in front & network})  # copies of shared numbers
    return halves


def renamed(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Rename initializers of a graph, including where its nodes and their subgraphs read them."""
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                renamed(inner, names)


def joined(halves: Halves) -> onnx.ModelProto:
    """Return the two parts as one graph, without metadata."""
    used = {node.domain for node in halves.network.graph.node} | {""}
    imports = [entry for entry in halves.network.opset_import if entry.domain in used]
    del halves.network.opset_import[:]  # onnxruntime's optimizer imports every domain it knows
    halves.network.opset_import.extend(imports)
    for part in halves:  # merging fails if both parts describe the value between them
        told = [value for value in part.graph.value_info if value.name != FITTED]
        del part.graph.value_info[:]
        part.graph.value_info.extend(told)
    whole = compose.merge_models(*halves, io_map=[(FITTED, FITTED)])
    del whole.opset_import[:]  # merging repeats each domain
    whole.opset_import.extend(imports)
    return whole


def weight_shares(graph: onnx.GraphProto) -> dict[str, int]:
    """Return the number of weights in operators of each type: type in `WEIGHTED` -> number."""
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}
    shares = dict.fromkeys(WEIGHTED, 0)
    for node in graph.node:
        if node.op_type in shares:
            shares[node.op_type] += sum(sizes.get(name, 0) for name in node.input[:2])
    return shares


def before_weights(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the nodes before the first ones with weights: they normalise images."""
    reached, weighted, before = set[str](), _weighted(graph), []
    for node in graph.node:  # in topological order
        if node.name in weighted or not reached.isdisjoint(node.input):
            reached.update(node.output)
        else:
            before.append(node.name)
    return before


def behind_weights(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the nodes after the last ones with weights: they pool, for example."""
    needed, weighted, behind = set[str](), _weighted(graph), []
    for node in reversed(graph.node):
        if node.name in weighted or not needed.isdisjoint(node.output):
            needed.update(node.input)
        else:
            behind.append(node.name)
    return behind


def _weighted(graph: onnx.GraphProto) -> set[str]:
    """Return the names of the nodes that multiply by weights."""
    weights = {tensor.name for tensor in graph.initializer}
    return {node.name for node in graph.node if node.op_type in WEIGHTED and not weights.isdisjoint(node.input[:2])}
