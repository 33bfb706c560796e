"""Batch norms of given weights, settled on the images that are learned from before the first step.

Their running statistics are those of the images that the weights were trained on. They normalise where a network is in
eval mode: while it is frozen, where it is looked at, and in what ships.

Sources: adaptive batch normalisation: Li et al. 2016 (1603.04779), section 3; averages over many batches: Wu & Johnson
2021, "Rethinking 'Batch' in BatchNorm" (2105.07576), section 3.
"""

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ssl_pipeline.config import PretrainConfig
from ssl_pipeline.training.batch_encoder import BatchEncoder
from ssl_pipeline.training.batches import Place
from ssl_pipeline.types import Backbone

__all__ = ["settle", "settles", "settling_batches"]

_IMAGES = 4096
"""Images that statistics are settled on, or all of a smaller pool."""


def settles(config: PretrainConfig) -> bool:
    """Say whether batch norms are settled before a run's first step."""
    return config.settle_norms and not config.freeze_norms and config.init != "random"


def settling_batches(size: int) -> int:
    """Return how many batches of a size batch norms are settled on, at most."""
    return -(-_IMAGES // size)


@torch.no_grad()
def settle(task: nn.Module, encoder: BatchEncoder, places: Iterable[Place]) -> int:
    """Replace running statistics of the batch norms of all backbones by their means over batches.

    Each batch is encoded as in training, without a gradient. Batch norms that are in eval mode, as those of a backbone
    that a task keeps frozen, are left as they are, and so is all else.

    Args:
        task: The task, in training mode, on its device.
        encoder: What encodes its batches.
        places: The batches; each rank is given the same ones.

    Returns:
        The number of batch norms that were settled.
    """
    backbones = [part for part in task.modules() if isinstance(part, Backbone)]
    norms = {
        part: part.momentum
        for backbone in backbones
        for part in backbone.modules()
        if isinstance(part, _BatchNorm) and part.training and part.running_mean is not None
    }
    if not norms:
        return 0
    settled = {id(buffer) for norm in norms for buffer in norm.buffers()}
    others = {buffer: buffer.clone() for buffer in task.buffers() if id(buffer) not in settled}
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for a cumulative average
    for place in places:
        encoder.pass_through(place)
    for norm, momentum in norms.items():
        norm.momentum = momentum
    for buffer, value in others.items():
        buffer.copy_(value)
    return len(norms)
