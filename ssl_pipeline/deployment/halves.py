"""A backbone's graph in two, and in one again: what brings images to the trained size, and the network behind it.

Variants are made of the network alone. Resizing stays as it is: it is little of the time and none of the weights, and
the tools stumble over it. Symbolic shape inference ends with a TypeError, and the converter to float16 adds one cast
under the same name for each of its readers in float32, so that no runtime loads the graph.
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
"""Where the two meet: images float32 [N, C, S, S] in [0, 1]."""

WEIGHTED = ("Conv", "MatMul", "Gemm")
"""Operators that multiply by weights."""


class Halves(NamedTuple):
    """The two parts of a graph.

    Attributes:
        front: The half from images to `FITTED`.
        network: The half from `FITTED` to the outputs.
    """

    front: onnx.ModelProto
    network: onnx.ModelProto


def split(model: onnx.ModelProto) -> Halves:
    """Return the parts of the graph of a backbone, as `export_backbone` writes it."""
    extractor = Extractor(model)
    outputs = [value.name for value in model.graph.output]
    halves = Halves(extractor.extract_model(["images"], [FITTED]), extractor.extract_model([FITTED], outputs))
    front, network = ({tensor.name for tensor in half.graph.initializer} for half in halves)
    renamed(halves.front.graph, {name: f"{name}_front" for name in front & network})  # each half has its own numbers
    return halves


def renamed(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Give initializers of a graph other names, also where its nodes, and graphs within them, read them."""
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                renamed(inner, names)


def joined(halves: Halves) -> onnx.ModelProto:
    """Return one graph of two parts, without metadata."""
    used = {node.domain for node in halves.network.graph.node} | {""}
    imports = [entry for entry in halves.network.opset_import if entry.domain in used]
    del halves.network.opset_import[:]  # onnxruntime's optimizer adds all domains that it knows
    halves.network.opset_import.extend(imports)
    for part in halves:  # merging refuses to be told twice what the place where they meet is like
        told = [value for value in part.graph.value_info if value.name != FITTED]
        del part.graph.value_info[:]
        part.graph.value_info.extend(told)
    whole = compose.merge_models(*halves, io_map=[(FITTED, FITTED)])
    del whole.opset_import[:]  # each domain as often as there are parts
    whole.opset_import.extend(imports)
    return whole


def weight_shares(graph: onnx.GraphProto) -> dict[str, int]:
    """Return how many weights the operators of each kind multiply by: kind in `WEIGHTED` -> numbers."""
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}
    shares = dict.fromkeys(WEIGHTED, 0)
    for node in graph.node:
        if node.op_type in shares:
            shares[node.op_type] += sum(sizes.get(name, 0) for name in node.input[:2])
    return shares


def before_weights(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the nodes before the first ones that multiply by weights: they normalise images."""
    reached, weighted, before = set[str](), _weighted(graph), []
    for node in graph.node:  # in topological order
        if node.name in weighted or not reached.isdisjoint(node.input):
            reached.update(node.output)
        else:
            before.append(node.name)
    return before


def behind_weights(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the nodes behind the last ones that multiply by weights: they pool, for example."""
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
