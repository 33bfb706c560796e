"""pretext.onnx: the graph from pixels to the predictions or projections of the pretext task."""

import json
from pathlib import Path

import numpy as np

from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.data.store import Split
from ssl_pipeline.deployment.bounds import PRETEXT
from ssl_pipeline.deployment.from_pixels import FromPixels, Prediction
from ssl_pipeline.deployment.image_graph import convention, image_metadata, write_image_graph
from ssl_pipeline.deployment.proof import Proof, in_torch, prove
from ssl_pipeline.types import PretextTask

__all__ = ["write_pretext_graph"]


def write_pretext_graph(task: PretextTask, card: ModelCard, pool: Split, path: Path) -> Proof:
    """Export the predictions of a pretext task, and compare the graph with torch on images of the pool at two shapes.

    Args:
        task: Trained task, which is left in eval mode on the CPU.
        card: Description of the model, which says how to bring images to the trained size.
        pool: Images to compare on.
        path: Path of the graph to write.

    Raises:
        PipelineError: The graph does not compute what torch computes.
    """
    name = card.recipe.pretext_task.name
    metadata = {
        "input": f"images: {convention(card.images)}",
        **image_metadata(card.images),
        "output": f"what pretext task '{name}' predicts or projects",
        "size": str(card.size),
        "resize": card.resize,
        "background": json.dumps(card.background),
        "weights_sha256": card.weights_sha256,
        "params_sha256": card.params_sha256,
    }
    module = FromPixels(card, Prediction(task.cpu()))
    write_image_graph(module, path, output="prediction", metadata=metadata)
    whole = pool.images(np.arange(min(4, len(pool))))
    batches = {"whole": (whole,), "cut": (whole[:1, : pool.canvas // 2 + 1],)}
    advice = (
        f"pretext task '{name}' has an operation that does not export exactly. Report it to the author of the task."
    )
    return prove(path, in_torch(module), batches, PRETEXT, advice)
