"""Whether what ships together was made together: a stage that runs on its own leaves what others made before."""

from collections.abc import Mapping
from pathlib import Path

from ssl_pipeline.bundle.model_card import Told
from ssl_pipeline.deployment.runtime import open_session, read_metadata
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import sha256

__all__ = ["check_lineage"]


def check_lineage(graphs: Mapping[str, Path], told: Told) -> None:
    """Make sure that graphs and figures are of one backbone, and that it is of the encoder that the card describes.

    Args:
        graphs: The graphs that ship, by their names, with backbone.onnx.
        told: What the stages have told of the run.

    Raises:
        PipelineError: One of them was made from another file; the message names all of them.
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
            f"What is to ship was not made together: {', '.join(older)} and backbone.onnx or models/pretrain do not "
            "belong to each other, as a stage has run on its own since. Run `dvc repro`, which makes again what is "
            "behind."
        )
