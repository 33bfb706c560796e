"""Calibrate batch norms on the images at hand, for encoders whose statistics are missing or come from other images."""

import numpy as np
import torch
from torch import Tensor, nn

from ssl_pipeline.data.store import Split
from ssl_pipeline.deployment.from_pixels import FromPixels
from ssl_pipeline.evaluation.features import sample

__all__ = ["CALIBRATION_IMAGES", "calibrate", "calibrate_on"]

CALIBRATION_IMAGES = 2048  # images, in batches of up to 256


def calibrate_on(network: FromPixels, pool: Split) -> None:
    """Calibrate the batch norms of a network on images spread evenly over a pool."""
    device = next(network.parameters()).device
    positions = sample(pool, CALIBRATION_IMAGES)
    batches = np.array_split(positions, -(-len(positions) // 256))
    calibrate(network, [torch.from_numpy(pool.images(batch)).to(device) for batch in batches])


def calibrate(network: nn.Module, batches: list[Tensor]) -> None:
    """Set the running statistics of batch norms to their average over the batches; leave the network in eval mode."""
    network.eval()  # dropout off
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average of all batches
        norm.train()
    with torch.no_grad():
        for batch in batches:
            network(batch)
    network.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum  # further training updates the statistics as before
