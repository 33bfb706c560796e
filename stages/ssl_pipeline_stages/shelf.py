"""Recipes, networks and optimizer that `plan` can choose, and the shipped values that it may replace at first."""

from typing import Any

from ssl_pipeline.planning.planner import Shelf
from ssl_pipeline.planning.starts import UNUSED

SHELF = Shelf(
    recipe="dcl",
    clips_recipe="time_contrast",
    captions_recipe="clip",
    distilling_recipe="distill",
    networks=(
        {"name": "resnet_cifar", "depth": 8, "width": 16},
        {"name": "resnet_cifar", "depth": 8, "width": 32},
        {"name": "resnet_cifar", "depth": 14, "width": 32},
        {"name": "resnet_cifar", "depth": 14, "width": 64},
        {"name": "torchvision/resnet18", "stem": "small"},
    ),
    photo_networks=(
        {"name": "torchvision/resnet18"},
        {"name": "torchvision/resnet50"},
    ),
    photo_side=96,
    optimizer={"name": "adamw", "weight_decay": 1e-4, "momentum": 0.9},
)

SHIPPED: dict[str, Any] = {
    "ingest.canvas": 16,
    "ingest.resize": "squash",
    "ingest.pixels": "rgb8",
    "ingest.min_side": 8,
    "augment.views": {
        "global": {
            "size": 16,
            "random_resized_crop": {"p": 1.0, "scale": [0.35, 1.0], "ratio": [0.75, 1.333]},
            "horizontal_flip": {"p": 0.0},
            "rotation": {"p": 0.8, "degrees": 15},
            "color_jitter": {"p": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.0, "hue": 0.0},
            "gaussian_blur": {"p": 0.2, "sigma": [0.1, 1.0]},
            "gaussian_noise": {"p": 0.2, "std": 0.05},
        },
        "plain": {
            "size": 16,
            "random_resized_crop": {"p": 1.0, "scale": [0.7, 1.0], "ratio": [0.85, 1.18]},
            "rotation": {"p": 0.5, "degrees": 10},
        },
    },
    **UNUSED,
    "pretrain.recipe": "simclr",
    "pretrain.recipe_size": "small",
    "pretrain.backbone": {"name": "resnet_cifar", "depth": 8, "width": 16},
    "pretrain.epochs": 40,
    "pretrain.batch_size": 256,
    "pretrain.micro_batch": None,
    "pretrain.optimizer": {
        "name": "adamw",
        "learning_rate": 2e-3,
        "weight_decay": 1e-4,
        "momentum": 0.9,
    },
    "pretrain.precision": "auto",
    "finetune.draws": 5,
    "finetune.epochs": 5,
}
"""Key -> value in the shipped params.yaml. A value that differs has been set by the user.

The values are written out, not read from that file, because in a clone it is the file that the user edits."""

PHOTOGRAPHS: dict[str, Any] = {
    "ingest.canvas": 80,
    "ingest.resize": "crop",
    "augment.views": {
        "global": {
            "size": 64,
            "random_resized_crop": {"p": 1.0, "scale": [0.2, 1.0], "ratio": [0.75, 1.333]},
            "horizontal_flip": {"p": 0.5},
            "color_jitter": {"p": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
            "grayscale": {"p": 0.2},
            "gaussian_blur": {"p": 0.5, "sigma": [0.1, 0.57]},
        },
        "plain": {
            "size": 64,
            "random_resized_crop": {"p": 1.0, "scale": [0.6, 1.0], "ratio": [0.85, 1.18]},
            "horizontal_flip": {"p": 0.5},
        },
    },
    "pretrain.recipe": SHELF.recipe,
    "pretrain.backbone": dict(SHELF.networks[-1]),
    "pretrain.epochs": 100,
}
"""Key -> value for photographs; `init` writes these values if there are no images yet."""
