"""The arms that `benchmarks.starts` compares: how each makes an encoder or predictions from the images of a set."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from benchmarks.cells import trained
from benchmarks.lite0 import MODEL, SHORT
from benchmarks.starts_images import SIDE
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.data.labelled import Labelled, LabelledSplits
from ssl_pipeline.evaluation.budgets.label_draws import Budget, draw_labels
from ssl_pipeline.training.finetuning import Classifier, Lessons, finetune
from ssl_pipeline.training.precision import best_device, resolve_precision
from ssl_pipeline.training.targets import AskedTargets
from ssl_pipeline.types import Encoder

__all__ = ["ARMS", "BACKBONES", "BUDGETS", "SUPERVISED", "embedded", "learned", "supervised"]

BUDGETS: tuple[Budget, ...] = (1, 5, 20, "all")
"""Numbers of labels per class."""
START = {"name": f"timm/{MODEL}"}
STUDENT = {"name": f"timm/{SHORT}"}
SCRATCH = {"name": "torchvision/resnet18"}


def _adamw(rate: float) -> dict[str, Any]:
    return {"optimizer": {"name": "adamw", "learning_rate": rate, "weight_decay": 1e-4}}


WEIGHTS, FIRST_STAGES = "lite0.safetensors", "lite0_short.safetensors"
"""Files of weights, as `benchmarks.lite0` writes them."""
SETTLED = {"recipe": "simclr", "backbone": START, "init": WEIGHTS, "freeze_epochs": 1, "layer_decay": 0.75, "ema": 0.99}
GENTLE = SETTLED | {"freeze_norms": True}
"""Settings that keep a start from being ruined: heads learn first, early layers learn slowly, batch norms keep their
statistics, and a moving average of the weights ships."""
TAUGHT = {"teacher_dim": 1280, "hidden_dim": 1024, "targets": "views", "view": "global"}
STUDIED = {"recipe": "distill", "backbone": STUDENT, "init": FIRST_STAGES, "pretext_task": TAUGHT}
"""The teacher sees the same views as the student (Beyer et al. 2022, 2106.05237), because there are few images. The
student is initialised with the first stages of the teacher, as in DistilBERT (1910.01108, section 3)."""
LONGER = 2
"""Factor by which students train for more epochs, because their steps cost less."""
ARMS: dict[str, dict[str, Any]] = {
    "start": {"recipe": "simclr", "backbone": START, "init": WEIGHTS, "epochs": 0},
    "start_stages": {"recipe": "simclr", "backbone": START, "init": WEIGHTS, "epochs": 0},
    "continued": GENTLE | _adamw(3e-4),
    "continued_slow": GENTLE | _adamw(1e-4),
    "continued_fast": GENTLE | _adamw(1e-3),
    "continued_settled": SETTLED | _adamw(3e-4),
    "distilled": STUDIED | _adamw(1e-3),
    "distilled_linear": STUDIED | _adamw(1e-3) | {"pretext_task": TAUGHT | {"layers": 1}},
    "distilled_blank": STUDIED | _adamw(4e-3) | {"backbone": {"name": "timm/mobilenetv2_050"}, "init": "random"},
    "scratch": {"recipe": "simclr", "backbone": SCRATCH} | _adamw(2e-3),
}
"""Arm -> values that differ from the section `pretrain` of params.yaml, for the start and arms that use no labels."""
SUPERVISED = {"supervised": SCRATCH, "finetuned": START}
"""Arm that learns from labels -> its backbone; `finetuned` begins with the downloaded weights."""
BACKBONES = {"start": START, "scratch": SCRATCH, "distilled": STUDENT}

CROPPED = {"p": 1.0, "scale": [0.2, 1.0], "ratio": [0.75, 1.333]}
COLOURS = {"p": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
RATES = (1e-3, 4e-3)
FINE_RATES = (3e-4,)
STEPS, BATCH = 60, 64
"""Number of steps for small budgets, and number of images per step."""


def policies(name: str) -> dict[str, Policy]:
    """Return the policies of a set; those of tracks do not mirror, which would change the class of some signs."""
    mirrored: dict[str, Any] = {} if name == "tracks" else {"horizontal_flip": {"p": 0.5}}
    gentle = {"p": 1.0, "scale": [0.5, 1.0], "ratio": [0.85, 1.18]}
    of_photographs: dict[str, Any] = {"random_resized_crop": CROPPED, "color_jitter": COLOURS, "grayscale": {"p": 0.2}}
    views: dict[str, dict[str, Any]] = {"global": of_photographs, "plain": {"random_resized_crop": gentle}}
    return {kind: Policy.model_validate({"size": SIDE, **mirrored, **policy}) for kind, policy in views.items()}


def learned(
    arm: str, name: str, data: LabelledSplits, weights: Path, epochs: int, seed: int
) -> tuple[nn.Module, dict[str, float]]:
    """Train an arm that uses no labels; return its encoder in eval mode, and the last values of its curves.

    Args:
        arm: One of ARMS.
        name: Name of the set.
        data: Images of the set.
        weights: Folder of the files of weights.
        epochs: Number of epochs; students train for LONGER times as many.
        seed: Seed of weights, views and order.
    """
    taught = ARMS[arm]["recipe"] == "distill"
    common = {"epochs": epochs * (LONGER if taught else 1), "batch_size": 128, "seed": seed, "precision": "auto"}
    teach = partial(_start_teaches, data, weights) if taught else None
    run = trained(data.train.split, policies(name), _filled({**common, **ARMS[arm]}, weights), teach)
    last = run.history.rows[-1] if run.history else {}
    encoder = FirstStages(run.task.encoder) if arm == "start_stages" else run.task.encoder
    return encoder.eval(), {key: float(f"{value:.4g}") for key, value in last.items()}


class FirstStages(nn.Module):
    """The stages of the start that the student is initialised with, to see whether they alone are as good."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder, self.backbone = encoder, encoder.backbone

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the feature map of the fifth stage, averaged over positions (N, 112), for images (N, C, S, S)."""
        maps = self.backbone.maps(self.encoder.normalised(images))
        return maps[3].mean(dim=(2, 3))  # timm returns one map per stride; the fifth stage has a stride of 16 px


def _filled(values: Mapping[str, Any], weights: Path) -> dict[str, Any]:
    """Return the values with paths in place of the names of files of weights."""
    return {key: str(weights / value) if value in (WEIGHTS, FIRST_STAGES) else value for key, value in values.items()}


def _untrained(backbone: Mapping[str, Any], init: str, data: LabelledSplits, seed: int) -> Encoder:
    """Return the encoder with which a run begins."""
    values = {"recipe": "simclr", "backbone": backbone, "init": init, "epochs": 0, "seed": seed}
    return trained(data.train.split, policies("clothing"), values).task.encoder


def _start_teaches(data: LabelledSplits, weights: Path, device: torch.device) -> AskedTargets:
    """Return the targets of a student: the start's embedding of each view, minus the mean over the training images."""
    start = _untrained(START, str(weights / WEIGHTS), data, 0).to(device).eval()
    mean = embedded(start, data.train).mean(axis=0)
    return AskedTargets(partial(_embedded, start), mean, "global", data.train.spec)


def embedded(encoder: nn.Module, images: Labelled) -> npt.NDArray[np.float32]:
    """Return the embeddings (n, D) of images."""
    return _embedded(encoder, images.images(np.arange(len(images))))


@torch.no_grad()
def _embedded(encoder: nn.Module, canvases: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    device = next(encoder.parameters()).device
    parts = (part.to(device).permute(0, 3, 1, 2) / 255 for part in torch.from_numpy(canvases).split(256))
    return np.concatenate([encoder(part).float().cpu().numpy() for part in parts])


def supervised(
    arm: str, name: str, data: LabelledSplits, weights: Path, epochs: int, seed: int
) -> dict[str, npt.NDArray[np.int64]]:
    """Train all weights of a network on the labels of each budget; return its predictions for the test images.

    The number of the draw of labels is the seed. The learning rate is chosen on the validation images.
    """
    found = {}
    for budget in BUDGETS:
        chosen = draw_labels(data.train.ids, data.train.labels, budget, 0, seed)
        shown = data.train.subset(chosen)
        steps = max(STEPS, epochs * len(shown) // BATCH) if budget == "all" else STEPS
        lessons = Lessons(shown, policies(name)["plain"], steps, BATCH, seed)
        rates = FINE_RATES if arm == "finetuned" else RATES
        trials = [_fitted(arm, data, weights, lessons, rate, seed) for rate in rates]
        best = max(trials, key=lambda one: (predicted(one, data.val) == data.val.labels).mean())
        found[str(budget)] = predicted(best, data.test)
    return found


def _fitted(arm: str, data: LabelledSplits, weights: Path, lessons: Lessons, rate: float, seed: int) -> Classifier:
    encoder = _untrained(SUPERVISED[arm], str(weights / WEIGHTS) if arm == "finetuned" else "random", data, seed)
    classes = len(data.classes)
    classifier = Classifier(encoder, torch.zeros(classes, encoder.embedding_dim), torch.zeros(classes))
    precision = resolve_precision("auto", best_device())
    finetune(classifier, lessons, rate, 1e-4, keep_statistics=arm == "finetuned", precision=precision)
    return classifier


@torch.no_grad()
def predicted(classifier: Classifier, images: Labelled) -> npt.NDArray[np.int64]:
    """Return the classes (n,) that a classifier predicts."""
    features = embedded(classifier.encoder, images)
    return (features @ classifier.head.weight.cpu().numpy().T + classifier.head.bias.cpu().numpy()).argmax(axis=1)
