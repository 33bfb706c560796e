"""Fine-tuning: training of a network on labelled images for a fixed number of steps.

The caller chooses the images, the network and the learning rate. All randomness derives from the seed of the lessons,
so networks that learn from the same lessons see the same views in the same order.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

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

__all__ = ["MAX_KEPT_BYTES", "Classifier", "Lessons", "finetune"]

Array = npt.NDArray[np.int64]

_WARMUP_SHARE = 0.1
"""Share of the steps during which the learning rate rises."""

MAX_KEPT_BYTES = 2**25
"""Largest size of the views that lessons keep, in bytes (32 MiB). It suffices for small images, whose views take long
to make compared with a step."""


@dataclass(frozen=True)
class Lessons:
    """The batches to learn from: views of labelled images.

    A batch holds `batch_size` views, however few images there are. Passes over the images, each in a new order and with
    new views, follow each other, and a batch may span several of them. Thus every label budget gets the same compute.

    Views are made on request. If all of them fit into `MAX_KEPT_BYTES`, they are kept for other networks that learn
    from the same lessons.

    Attributes:
        data: The n >= 1 labelled images.
        policy: The policy of the views to train on.
        steps: Number of batches, one per optimizer step.
        batch_size: Number of views per batch.
        seed: The seed of the order of images, of the views, and of dropout.
    """

    data: Labelled
    policy: Policy
    steps: int
    batch_size: int
    seed: int
    _kept: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def batches(self, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield views (B, C, S, S) in [0, 1] and the class numbers (B,) of their images, on a device."""
        values = self.steps * self.batch_size * self.data.spec.channels * self.policy.size**2
        keep = values * torch.float32.itemsize <= MAX_KEPT_BYTES
        for step, (positions, samples) in enumerate(_batches(self.data.ids, self.steps, self.batch_size, self.seed)):
            if step in self._kept:
                views, targets = self._kept[step]
            else:
                views, targets = self._made(positions, samples, device)
                if keep:
                    self._kept[step] = views, targets
            yield views.to(device), targets.to(device)

    def _made(self, positions: Array, samples: npt.NDArray[np.uint64], device: torch.device) -> tuple[Tensor, Tensor]:
        images = torch.from_numpy(self.data.images(positions)).to(device)
        made = make_views({"view": self.policy}, {"view": 1}, images, samples, self.seed, 0, self.data.spec)
        return made["view"][:, 0], torch.from_numpy(self.data.labels[positions]).to(device)


class Classifier(nn.Module):
    """An encoder and a linear head.

    Args:
        encoder: Encoder from images in [0, 1] to embeddings (N, D).
        weight: Initial weights (C, D) of the head, where C is the number of classes.
        bias: Initial biases (C,) of the head.
    """

    def __init__(self, encoder: Encoder, weight: Tensor, bias: Tensor):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
        self.head.weight, self.head.bias = nn.Parameter(weight.detach().clone()), nn.Parameter(bias.detach().clone())

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of images (N, C, S, S) in [0, 1], one per class."""
        logits: Tensor = self.head(self.encoder(images))
        return logits


def finetune(
    classifier: Classifier,
    lessons: Lessons,
    peak_rate: float,
    weight_decay: float,
    *,
    keep_statistics: bool,
    precision: Precision,
) -> None:
    """Train all weights of a classifier in place, and leave it in eval mode on the device of `precision`.

    Args:
        classifier: The classifier with its initial weights; afterwards it has the weights of the last step.
        lessons: The batches to learn from.
        peak_rate: The peak learning rate, which is reached after a warm-up over 10% of the steps; it then falls to 0
            along a cosine.
        weight_decay: The weight decay; biases and norms are exempt.
        keep_statistics: Whether batch norms keep normalising by their running statistics instead of the batch's.
        precision: The precision of the forward pass, and the device to train on.
    """
    order = memory_format(classifier, precision.device)
    classifier.to(precision.device, memory_format=order).train()  # type: ignore[call-overload]
    for module in classifier.modules():
        if keep_statistics and isinstance(module, _BatchNorm):
            module.eval()
    optimizer = optim.AdamW(parameter_groups(classifier, weight_decay), lr=peak_rate, fused=True)
    scaler, steps = precision.scaler(), lessons.steps
    with torch.random.fork_rng():
        torch.manual_seed(lessons.seed)
        for step, (views, targets) in enumerate(lessons.batches(precision.device)):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, steps, _WARMUP_SHARE * steps, peak_rate)
            with precision.autocast():
                logits = classifier(views.contiguous(memory_format=order))
            loss = F.cross_entropy(logits.float(), targets)
            optimizer.zero_grad()
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            scaler.step(optimizer)
            scaler.update()
    classifier.eval()


def _batches(
    ids: npt.NDArray[np.uint64], steps: int, batch_size: int, seed: int
) -> Iterator[tuple[Array, npt.NDArray[np.uint64]]]:
    """Yield, for each step, the positions (B,) of its images and the ids (B,) of its views, which differ per pass."""
    passes = math.ceil(steps * batch_size / len(ids))
    order = np.concatenate([permutation(seed, number, ids) for number in range(passes)])
    samples = hash64(ids[order], np.repeat(np.arange(passes), len(ids)))
    for step in range(steps):
        batch = slice(step * batch_size, (step + 1) * batch_size)
        yield order[batch], samples[batch]
