"""Section `export` of params.yaml."""

import re
from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator

from ssl_pipeline.validation import Checked, number_or
from ssl_pipeline.value_types import Amount, Count, Positive, Seed

__all__ = ["VARIANTS", "Calibration", "ExportConfig", "Gate", "GateBounds", "GraphConfig", "Variant", "file_name"]

Variant = Literal["fp32", "fp16", "int8"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
"""Variants of the exported backbone, the most exact one first."""


def file_name(variant: Variant) -> str:
    """Return the name of a variant's file in models/export."""
    return "backbone.onnx" if variant == "fp32" else f"backbone_{variant}.onnx"


Cosine = Annotated[float, Field(ge=-1.0, le=1.0)]


class Calibration(Checked):
    """Calibration of int8: how the scales of activations are determined, from images of the pool, without labels."""

    images: Count
    method: Literal["minmax", "entropy", "percentile"]
    seed: Seed


class GateBounds(Checked):
    """Bounds on the deviation of a variant from backbone.onnx, on validation images."""

    max_difference: Amount
    max_row_difference: Amount
    min_cosine: Cosine
    min_mean_cosine: Cosine
    min_recall: Annotated[float, Field(ge=0.0, le=1.0)]
    max_size: Positive


class Gate(Checked):
    """Bounds of each variant except backbone.onnx itself."""

    fp16: GateBounds
    int8: GateBounds


class GraphConfig(Checked):
    """Settings of the backbone's graph, whatever its number format."""

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
                raise ValueError(f"unknown output '{name[:50]}': use embedding, maps, or map_2 for layer 2 only")
        if "embedding" not in outputs:
            raise ValueError("must contain embedding, which always ships; maps are additional outputs")
        if len({*outputs}) < len(outputs):
            raise ValueError("must not name an output twice")
        return outputs


class ExportConfig(GraphConfig):
    """Settings of the exported ONNX files."""

    variants: list[Variant]
    calibration: Calibration
    gate: Gate
    on_gate_failure: Literal["stop", "drop"]
    licence: Annotated[str, Field(min_length=1, max_length=200)] | None

    @field_validator("variants")
    @classmethod
    def _fp32_ships_always(cls, variants: list[Variant]) -> list[Variant]:
        if "fp32" not in variants:
            raise ValueError("must contain fp32: backbone.onnx always ships, and other variants are compared with it")
        if len({*variants}) < len(variants):
            raise ValueError("must not name a variant twice")
        return variants
