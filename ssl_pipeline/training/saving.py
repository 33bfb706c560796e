"""Output of pretraining: the model, the curves and the warnings."""

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
from ssl_pipeline.products import atomic_file, atomic_folder, record, write_json
from ssl_pipeline.tokenizer import TOKENIZER
from ssl_pipeline.training.batch_inputs import inputs
from ssl_pipeline.training.captions import TokenizedCaptions
from ssl_pipeline.training.curve_picture import draw_curves
from ssl_pipeline.training.curves import History, write_curves
from ssl_pipeline.training.other_frames import other_frames
from ssl_pipeline.training.targets import TeacherTargets
from ssl_pipeline.types import PretextTask

__all__ = ["save", "write_report"]

_DRAWN_IMAGES = 8  # images in the pictures of a task


def save(
    folder: Path,
    task: PretextTask,
    card: ModelCard,
    start: Mapping[str, Tensor],
    texts: TokenizedCaptions | None = None,
) -> ModelCard:
    """Write the weights and the card of a trained task into a folder, and its tokenizer if it learns from captions.

    Args:
        folder: The folder that receives the files.
        task: The trained task.
        card: The description of its encoder.
        start: Weights of the encoder before training; empty if they were random.
        texts: The captions, with the tokenizer that encodes them.

    Returns:
        The card with the digests of the weights filled in.
    """
    if start:
        card = save_start(folder, start, card)
    if texts is not None:
        with atomic_file(folder / TOKENIZER) as temporary:
            temporary.write_text(texts.tokenizer.json, encoding="utf-8")
        record(folder / TOKENIZER)
    return save_model(folder, task.encoder, task.energy_head, card, task.text_tower)


def write_report(
    folder: Path,
    task: PretextTask,
    config: PretrainConfig,
    history: History,
    pool: Split,
    policies: Mapping[str, Policy],
    texts: TokenizedCaptions | None = None,
    targets: TeacherTargets | None = None,
) -> None:
    """Write the curves, the warnings, and pictures of the curves and of the task, atomically.

    Args:
        folder: The folder of the report, which is replaced.
        task: The trained task, which is left in eval mode on the CPU.
        config: The section `pretrain`.
        history: The curves and warnings of the run.
        pool: The training images.
        policies: Kind of view -> policy.
        texts: The captions, for a task that learns from them.
        targets: The teacher's embeddings, for a task that has a teacher.
    """
    task.cpu().eval()
    with atomic_folder(folder) as report:
        write_curves(history, report)
        write_json(report / "warnings.json", history.warnings)
        (report / "pictures").mkdir()
        draw_curves(history.rows, report / "pictures" / "curves.png", config.collapse)
        frames = other_frames(task, pool, config)
        rows = frames.rows if texts is None else texts.rows
        positions = (np.arange(len(pool)) if rows is None else rows)[:_DRAWN_IMAGES]
        with torch.no_grad():
            images, ids = torch.from_numpy(pool.images(positions)), pool.ids[positions]
            shown = frames.canvases(pool, positions, 0, images.device)
            told = (pool.spec, texts, positions, shown, targets)
            views = inputs(task, policies, images, ids, config.seed, 0, *told)
            task.draw(views, report / "pictures")
