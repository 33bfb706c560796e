"""torchvision's classifiers without their classifier, by name: `torchvision/resnet18`."""

from difflib import get_close_matches

import torch
from torch import Tensor

from plugins.backbones.small_stem import Stem, apply, drop_classifier
from ssl_pipeline import hookimpl
from ssl_pipeline.types import Backbone, Register


class TorchvisionBackbone(Backbone):
    """A network of torchvision.models, from random weights.

    Args:
        model: Its name, such as resnet18.
        stem: imagenet as published; small for images below some 96 px (3x3 first convolution, no early stride or
        pooling).
        size: Side of the images in px, for networks that are built for one size.
    """

    def __init__(self, model: str, size: int, stem: Stem = "imagenet"):
        super().__init__()
        from torchvision import models  # 1 s: only when asked for

        known = models.list_models(module=models)
        if model not in known:
            near = ", ".join(get_close_matches(model, known, n=3)) or ", ".join(known)
            raise ValueError(f"torchvision has no model '{model}'; the nearest: {near}")
        fixed = {"image_size": size} if model.startswith("vit_") else {}
        if model in ("googlenet", "inception_v3"):
            raise ValueError("networks with auxiliary classifiers give no single embedding; use another")
        self.network = models.get_model(model, weights=None, **fixed)
        apply(self.network, stem)
        self.embedding_dim = drop_classifier(self.network)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (N, 3, S, S) to (N, D)."""
        return torch.flatten(self.network(images), 1)


@hookimpl
def register_backbones(register: Register) -> None:
    """Add the family `torchvision/`."""
    register("torchvision/", TorchvisionBackbone)
