"""torchvision's networks without their classification layer, chosen by name, such as `torchvision/resnet18`."""

from collections.abc import Mapping
from difflib import get_close_matches

import torch
from torch import Tensor

from ssl_pipeline import hookimpl
from ssl_pipeline.parts.small_stem import Stem, accept_channels, apply, drop_classifier
from ssl_pipeline.types import Backbone, Inputs, Offer, Register


class TorchvisionBackbone(Backbone):
    """A network of torchvision.models with random weights. The layers of a residual network are its four stages.

    Args:
        model: Name of the model, such as resnet18.
        stem: First layers of the network: imagenet (as published) or small (a 3x3 first convolution, and no early
            stride or pooling), for images below about 96 px.
        size: Side of the images in px, for networks that are built for one size.
        in_channels: Number of channels of the images.
    """

    offers: Mapping[Offer, str] = {"maps": "torchvision/resnet18 and other residual networks"}

    def __init__(self, *, model: str, size: int, stem: Stem = "imagenet", in_channels: int = 3):
        super().__init__()
        from torchvision import models  # 1 s: only when asked for

        known = models.list_models(module=models)
        if model not in known:
            near = ", ".join(get_close_matches(model, known, n=3)) or ", ".join(known)
            raise ValueError(f"torchvision has no model '{model}'; the nearest: {near}")
        fixed = {"image_size": size} if model.startswith("vit_") else {}
        if model in ("googlenet", "inception_v3"):
            raise ValueError("networks with auxiliary classifiers give no single embedding: choose another model")
        self.network = models.get_model(model, weights=None, **fixed)
        self.published_for = Inputs(224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # the same for all
        accept_channels(self.network, in_channels)
        apply(self.network, stem)
        self.classifier, self.embedding_dim = drop_classifier(self.network)
        if isinstance(self.network, models.ResNet):
            self.map_channels = tuple(self.embedding_dim >> shift for shift in (3, 2, 1, 0))

    @staticmethod
    def members() -> list[str]:
        """Return the names that can follow `torchvision/`."""
        from torchvision import models

        names: list[str] = models.list_models(module=models)
        return names

    def forward(self, images: Tensor) -> Tensor:
        """Return embeddings (N, D) of normalised images (N, C, S, S)."""
        return torch.flatten(self.network(images), 1)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Return the maps of each of the four stages of a residual network."""
        network, found = self.network, []
        maps = network.maxpool(network.relu(network.bn1(network.conv1(images))))
        for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
            maps = stage(maps)
            found.append(maps)
        return found

    def library_state_dict(self, classes: int = 0) -> dict[str, Tensor]:
        """Return the weights under the names of `torchvision.models`."""
        weights: dict[str, Tensor] = self.network.state_dict()
        if classes:
            weights[f"{self.classifier}.weight"] = torch.zeros(classes, self.embedding_dim)
            weights[f"{self.classifier}.bias"] = torch.zeros(classes)
        return weights


@hookimpl
def register_backbones(register: Register) -> None:
    """Add the family `torchvision/`."""
    register("torchvision/", TorchvisionBackbone)
