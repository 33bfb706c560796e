"""text.onnx: from the tokens of texts, made by tokenizer.json, to embeddings in the space of backbone.onnx."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional as F

from ssl_pipeline.artifacts.card import ModelCard, versions
from ssl_pipeline.deployment.onnx_file import traced, write_proto
from ssl_pipeline.types import TextTower

__all__ = ["OfTokens", "export_text"]

_OUTPUT = "embedding_of_text"
"""Provisional name of the output: the exporter itself uses `embedding` for the lookup of tokens."""


class OfTokens(nn.Module):
    """A text tower whose embeddings have unit length if those of the backbone do.

    Args:
        tower: Text tower to wrap.
        l2_normalize: Whether embeddings are scaled to unit length.
    """

    def __init__(self, tower: TextTower, l2_normalize: bool):
        super().__init__()
        self.tower, self.l2_normalize = tower, l2_normalize

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return embeddings (N, P) of texts, from their tokens (N, L) int64 and mask (N, L) int64."""
        embeddings: Tensor = self.tower(tokens, mask)
        return F.normalize(embeddings, dim=1) if self.l2_normalize else embeddings


def export_text(
    tower: TextTower, card: ModelCard, digests: dict[str, str], path: Path, *, l2_normalize: bool, opset: int
) -> None:
    """Write the graph of a text tower: `tokens`, `mask` int64 [N, L] -> `embedding` float32 [N, P].

    Args:
        tower: Trained text tower, exported in eval mode.
        card: Description of the encoder that it was trained with.
        digests: Entries `text_weights_sha256` and `tokenizer_sha256` of the metadata, in hex.
        path: Path of the file to write.
        l2_normalize: Whether embeddings are scaled to unit length, like those of backbone.onnx.
        opset: ONNX operator set, 18 to 23.

    Raises:
        PipelineError: The graph exceeds 2 GB.
    """
    context = tower.needs.context
    tokens = torch.ones(2, context, dtype=torch.int64)
    shape = {0: Dim("batch"), 1: Dim("length", max=context)}
    model = traced(
        OfTokens(tower, l2_normalize).eval(),
        (tokens, torch.ones_like(tokens)),
        input_names=["tokens", "mask"],
        output_names=[_OUTPUT],
        dynamic_shapes=(shape, shape),
        opset=opset,
    )
    _rename(model.graph, {_OUTPUT: "embedding", "embedding": f"{_OUTPUT}_of_tokens"})
    write_proto(model, path, _metadata(tower, card, digests, l2_normalize))


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Rename values that nodes compute."""
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*graph.output, *graph.value_info):
        value.name = names.get(value.name, value.name)


def _metadata(tower: TextTower, card: ModelCard, digests: dict[str, str], l2_normalize: bool) -> dict[str, str]:
    unit = ", of unit length" if l2_normalize else ""
    content: dict[str, Any] = {
        "input": (
            "tokens, mask: each int64 [N, L]: the ids of tokens, and 1 where there is one and 0 where there is "
            f"padding; any N, L up to {tower.needs.context}: tokenizer.json, of the library tokenizers, makes both"
        ),
        "output": f"embedding: float32 [N, {tower.embedding_dim}]{unit}, in the space of backbone.onnx",
        "context": tower.needs.context,
        "vocabulary": tower.needs.vocabulary,
        "embedding_dim": tower.embedding_dim,
        "l2_normalized": l2_normalize,
        **card.model_dump(mode="json", include={"weights_sha256", "params_sha256", "plugins"}),
        **digests,
        "recipe": card.recipe.model_dump(mode="json", exclude_none=True),
        "versions": versions(),
    }
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in content.items()}
