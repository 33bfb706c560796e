"""Recalibration of the batch norms of initial weights on the training images, before the first step.

Their running statistics are those of the images that the weights were trained on. A network in eval mode normalises by
them: while it is frozen, when it is measured, and after it has shipped.

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
"""Number of images to recalibrate statistics on; all images of a smaller pool."""


def settles(config: PretrainConfig) -> bool:
    """Return whether batch norms are recalibrated before a run's first step."""
    return config.settle_norms and not config.freeze_norms and config.init != "random"


def settling_batches(size: int) -> int:
    """Return the largest number of batches of a size to recalibrate batch norms on."""
    return -(-_IMAGES // size)


@torch.no_grad()
def settle(task: nn.Module, encoder: BatchEncoder, places: Iterable[Place]) -> int:
    """Replace the running statistics of the batch norms of all backbones by their means over batches.

    Each batch is encoded as in training, but without a gradient. Batch norms in eval mode, such as those of a backbone
    that a task keeps frozen, are not changed, and neither is anything else.

    Args:
        task: The task, in training mode, on its device.
        encoder: The encoder of its batches.
        places: The places of the batches; all ranks must pass the same ones.

    Returns:
        The number of batch norms that were recalibrated.
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
        norm.momentum = None  # tells torch to use a cumulative average
    for place in places:
        encoder.pass_through(place)
    for norm, momentum in norms.items():
        norm.momentum = momentum
    for buffer, value in others.items():
        buffer.copy_(value)
    return len(norms)
