"""The section `export` of params.yaml."""

import re
from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator

from ssl_pipeline.validation import Checked, number_or
from ssl_pipeline.value_types import Amount, Count, Positive, Seed

__all__ = ["VARIANTS", "Calibration", "ExportConfig", "Gate", "GateBounds", "GraphConfig", "Variant", "file_name"]

Variant = Literal["fp32", "fp16", "int8"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
"""The forms in which a backbone ships, the most exact first."""


def file_name(variant: Variant) -> str:
    """Return how the file of a variant is called in models/export."""
    return "backbone.onnx" if variant == "fp32" else f"backbone_{variant}.onnx"


Cosine = Annotated[float, Field(ge=-1.0, le=1.0)]


class Calibration(Checked):
    """How the scales of int8 activations are found: from images of the unlabelled pool."""

    images: Count
    method: Literal["minmax", "entropy", "percentile"]
    seed: Seed


class GateBounds(Checked):
    """What a variant has to keep of backbone.onnx, on images of the validation split."""

    max_difference: Amount
    max_row_difference: Amount
    min_cosine: Cosine
    min_mean_cosine: Cosine
    min_recall: Annotated[float, Field(ge=0.0, le=1.0)]
    max_size: Positive


class Gate(Checked):
    """The bounds of each variant that is not backbone.onnx itself."""

    fp16: GateBounds
    int8: GateBounds


class GraphConfig(Checked):
    """The graph of the backbone, whatever its numbers are."""

    layer: Annotated[Literal["last"] | int, number_or("last")]
    l2_normalize: bool
    opset: Annotated[int, Field(ge=18, le=23)]
    core_batch: Annotated[Literal["dynamic"] | int, number_or("dynamic")] = "dynamic"
    outputs: list[str] = Field(default=["embedding"])

    @field_validator("outputs")
    @classmethod
    def _embeddings_ship_always(cls, outputs: list[str]) -> list[str]:
        for name in outputs:
            if not re.fullmatch(r"embedding|maps|map_[1-9]\d{0,3}", name):
                raise ValueError(f"has no '{name[:50]}': take embedding, maps, or map_2 for the map of layer 2 alone")
        if "embedding" not in outputs:
            raise ValueError("must contain embedding, which always ships; maps are further outputs")
        if len({*outputs}) < len(outputs):
            raise ValueError("must not name an output twice")
        return outputs


class ExportConfig(GraphConfig):
    """The backbone as ONNX files."""

    variants: list[Variant]
    calibration: Calibration
    gate: Gate
    on_gate_failure: Literal["stop", "drop"]
    licence: Annotated[str, Field(min_length=1, max_length=200)] | None

    @field_validator("variants")
    @classmethod
    def _fp32_ships_always(cls, variants: list[Variant]) -> list[Variant]:
        if "fp32" not in variants:
            raise ValueError("must contain fp32: backbone.onnx always ships, and the others are held against it")
        if len({*variants}) < len(variants):
            raise ValueError("must not name a variant twice")
        return variants
