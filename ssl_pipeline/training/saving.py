"""What pretraining leaves behind: the model, the curves, and what went wrong."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.artifacts.files import save_model
from ssl_pipeline.artifacts.start import save_start
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.config import PretrainConfig
from ssl_pipeline.data.store import Split
from ssl_pipeline.products import atomic_folder, write_json
from ssl_pipeline.training.batch_inputs import inputs
from ssl_pipeline.training.curve_picture import draw_curves
from ssl_pipeline.training.curves import History, write_curves
from ssl_pipeline.types import PretextTask

__all__ = ["save", "write_report"]

_DRAWN_IMAGES = 8  # images


def save(folder: Path, task: PretextTask, card: ModelCard, start: Mapping[str, Tensor]) -> ModelCard:
    """Write the weights and the card of a trained task into a folder.

    Args:
        folder: The folder that receives the files.
        task: The trained task.
        card: The description of its encoder.
        start: Weights of the encoder before training; empty where they were random.

    Returns:
        The card with the digests of the weights filled in.
    """
    if start:
        card = save_start(folder, start, card)
    return save_model(folder, task.encoder, task.energy_head, card)


def write_report(
    folder: Path,
    task: PretextTask,
    config: PretrainConfig,
    history: History,
    pool: Split,
    policies: Mapping[str, Policy],
) -> None:
    """Write the curves, what went wrong, and pictures of the curves and of what the task draws; all or nothing.

    Args:
        folder: The folder of the report, which is replaced.
        task: The trained task; is left in eval mode on the CPU.
        config: The section `pretrain`.
        history: What the run noted.
        pool: The training images.
        policies: Kind of view -> policy.
    """
    task.cpu().eval()
    with atomic_folder(folder) as report:
        write_curves(history, report)
        write_json(report / "warnings.json", history.warnings)
        (report / "pictures").mkdir()
        draw_curves(history.rows, report / "pictures" / "curves.png", config.collapse)
        positions = np.arange(min(_DRAWN_IMAGES, len(pool)))
        with torch.no_grad():
            views = inputs(
                task, policies, torch.from_numpy(pool.images(positions)), pool.ids[positions], config.seed, 0, pool.spec
            )
            task.draw(views, report / "pictures")
