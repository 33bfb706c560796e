"""Consistency of a bundle: running a single stage leaves the products of other stages outdated."""

from collections.abc import Mapping
from pathlib import Path

from ssl_pipeline.bundle.model_card import Told
from ssl_pipeline.deployment.runtime import open_session, read_metadata
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import sha256

__all__ = ["check_lineage"]


def check_lineage(graphs: Mapping[str, Path], told: Told) -> None:
    """Check that all graphs and figures belong to one backbone, exported from the encoder that the card describes.

    Args:
        graphs: Name -> path of each graph that ships, backbone.onnx among them.
        told: Results that the stages have written.

    Raises:
        PipelineError: A graph or report was made from another file; the message lists all of these.
    """
    backbone, weights = sha256(graphs["backbone.onnx"]), told.trained.get("weights_sha256")
    older = []
    for name, path in graphs.items():
        said = read_metadata(open_session(path, provider="cpu"))
        whole = said.get("backbone_sha256") == backbone if "classes" in said else said["weights_sha256"] == weights
        older += [] if whole else [name]
    if told.linear.get("backbone_sha256") != backbone:
        older.append("the report of linear_eval")
    if older:
        raise PipelineError(
            f"The bundle would mix products of different runs: {', '.join(older)} does not match backbone.onnx or "
            "models/pretrain, because a stage has been run alone since. Run `dvc repro` to update what is outdated."
        )
