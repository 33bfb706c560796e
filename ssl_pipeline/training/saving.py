"""What pretraining leaves behind: the model, the pretext task's graph, the curves, and what went wrong."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.artifacts.files import save_model
from ssl_pipeline.artifacts.start import save_start
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.data.store import Split
from ssl_pipeline.products import atomic_folder, write_json
from ssl_pipeline.training.curves import History, write_curves, write_picture
from ssl_pipeline.training.inputs import inputs
from ssl_pipeline.training.pretext_graph import write_pretext_graph
from ssl_pipeline.types import PretextTask

__all__ = ["save"]

_DRAWN = 8  # images


def save(
    task: PretextTask,
    card: ModelCard,
    start: Mapping[str, Tensor],
    history: History,
    pool: Split,
    policies: Mapping[str, Policy],
    models: Path,
    reports: Path,
) -> None:
    """Write both folders of products, each whole or not at all.

    Args:
        task: Trained; is left in eval mode on the CPU.
        card: Of its encoder.
        start: Weights of the encoder before training; empty where they were random.
        history: Of the run.
        pool: The training images.
        policies: Kind of view -> policy.
        models: Folder that receives the weights, the card and pretext.onnx.
        reports: Folder that receives the curves, what went wrong, and pictures of the curves and what the task draws.

    Raises:
        PipelineError: The pretext task's graph does not compute what torch computes.
    """
    with atomic_folder(models) as folder:
        if start:
            card = save_start(folder, start, card)
        card = save_model(folder, task.encoder, task.energy_head, card)
        write_pretext_graph(task, card, pool, folder / "pretext.onnx")
    with atomic_folder(reports) as folder:
        write_curves(history, folder)
        write_json(folder / "warnings.json", history.warnings)
        (folder / "pictures").mkdir()
        write_picture(history, folder / "pictures" / "curves.png")
        some = np.arange(min(_DRAWN, len(pool)))
        with torch.no_grad():
            views = inputs(task, policies, torch.from_numpy(pool.images(some)), pool.ids[some], card.seed, 0, pool.spec)
            task.eval().draw(views, folder / "pictures")
