"""Fine-tuning: training a network on labelled images for a fixed number of steps, and nothing else.

Which images, which network and which learning rate are the caller's to say. Everything that is random is a hash of the
caller's seed, so that two networks which are given the same images and seed see the same views in the same order.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.augment.views import make_views
from ssl_pipeline.data.labelled import Labelled
from ssl_pipeline.randomness import hash64, permutation
from ssl_pipeline.training.memory_format import memory_format
from ssl_pipeline.training.optimization import learning_rate, parameter_groups
from ssl_pipeline.training.precision import Precision
from ssl_pipeline.types import Encoder

__all__ = ["Classifier", "Schedule", "finetune"]

Array = npt.NDArray[np.int64]

_WARMUP_SHARE = 0.1
"""Share of the steps in which the learning rate rises."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a network learns.

    Attributes:
        steps: Number of optimizer steps; the last one's weights are the result.
        batch_size: Number of views per step.
        learning_rate: The learning rate at its peak, after a warm-up over a tenth of the steps; then a cosine to 0.
        weight_decay: The weight decay, which spares biases and norms.
    """

    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float


class Classifier(nn.Module):
    """An encoder and a linear head.

    Args:
        encoder: Maps images in [0, 1] to embeddings (N, D).
        weight: (C, D), the weights with which the head starts.
        bias: (C,), the biases with which it starts.
    """

    def __init__(self, encoder: Encoder, weight: Tensor, bias: Tensor):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
        self.head.weight, self.head.bias = nn.Parameter(weight.detach().clone()), nn.Parameter(bias.detach().clone())

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of images (N, C, S, S) in [0, 1], one for each class."""
        logits: Tensor = self.head(self.encoder(images))
        return logits


def finetune(
    classifier: Classifier,
    data: Labelled,
    policy: Policy,
    schedule: Schedule,
    *,
    seed: int,
    keep_statistics: bool,
    precision: Precision,
) -> None:
    """Train a classifier in place, all of it, and leave it in eval mode on the device of `precision`.

    A batch holds `batch_size` views, however few the images: passes over the images, each in a new order and with new
    views, follow each other without regard to where a batch ends. So every label budget gets the same compute.

    Args:
        classifier: The weights where it starts from.
        data: n >= 1 images.
        policy: The policy of the views to train on.
        schedule: How long and how fast.
        seed: The seed of the order of images, of the views, and of dropout.
        keep_statistics: Whether BatchNorm goes on normalising by the statistics that it has, instead of the batch's.
        precision: The precision of the forward pass, and where to train.
    """
    order = memory_format(classifier, precision.device)
    classifier.to(precision.device, memory_format=order).train()  # type: ignore[call-overload]
    for module in classifier.modules():
        if keep_statistics and isinstance(module, _BatchNorm):
            module.eval()
    groups = parameter_groups(classifier, schedule.weight_decay)
    optimizer = optim.AdamW(groups, lr=schedule.learning_rate, fused=True)
    scaler, device = precision.scaler(), precision.device
    targets = torch.from_numpy(data.labels).to(device)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for step, (positions, samples) in enumerate(_batches(data.ids, schedule, seed)):
            rate = learning_rate(step, schedule.steps, _WARMUP_SHARE * schedule.steps, schedule.learning_rate)
            for group in optimizer.param_groups:
                group["lr"] = rate
            images = torch.from_numpy(data.images(positions)).to(device)
            views = make_views({"view": policy}, {"view": 1}, images, samples, seed, 0, data.spec)["view"][:, 0]
            with precision.autocast():
                logits = classifier(views.contiguous(memory_format=order))
            loss = F.cross_entropy(logits.float(), targets[positions])
            optimizer.zero_grad()
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            scaler.step(optimizer)
            scaler.update()
    classifier.eval()


def _batches(
    ids: npt.NDArray[np.uint64], schedule: Schedule, seed: int
) -> Iterator[tuple[Array, npt.NDArray[np.uint64]]]:
    """Yield positions (B,) of each step's images, and identities (B,) of its views: each pass brings other views."""
    passes = math.ceil(schedule.steps * schedule.batch_size / len(ids))
    order = np.concatenate([permutation(seed, number, ids) for number in range(passes)])
    samples = hash64(ids[order], np.repeat(np.arange(passes), len(ids)))
    for step in range(schedule.steps):
        batch = slice(step * schedule.batch_size, (step + 1) * schedule.batch_size)
        yield order[batch], samples[batch]
