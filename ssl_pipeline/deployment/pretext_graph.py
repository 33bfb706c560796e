"""pretext.onnx: from pixels to what the pretext task predicts or projects."""

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
    """Export what a pretext task predicts, and hold the graph against torch on images of the pool at two shapes.

    Args:
        task: The trained task; is left in eval mode on the CPU.
        card: The description of the model; says how images are brought to the trained size.
        pool: Images to compare on.
        path: The path of the graph to write.

    Raises:
        PipelineError: The graph computes something else than torch.
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
