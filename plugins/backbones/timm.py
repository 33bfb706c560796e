"""timm's models as feature extractors, by name: `timm/resnet18`, `timm/vit_tiny_patch16_224`."""

from difflib import get_close_matches
from typing import Any, cast

from torch import Tensor

from plugins.backbones.small_stem import Stem, apply
from ssl_pipeline import hookimpl
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.types import Backbone, Register


class TimmBackbone(Backbone):
    """A model of timm without its classifier.

    Args:
        model: Its name, such as resnet18.
        size: Side of the images in px, for networks that are built for one size.
        pretrained: Whether to start from timm's published weights.
        stem: imagenet as published; small for images below some 96 px (3x3 first convolution, no early stride or
        pooling).
        patch_size: Side of a patch in px, for vision transformers; 0 as published.
    """

    def __init__(self, model: str, size: int, pretrained: bool = False, stem: Stem = "imagenet", patch_size: int = 0):
        super().__init__()
        import timm  # 2 s: only when asked for

        if not timm.is_model(model):
            near = ", ".join(get_close_matches(model, timm.list_models(), n=3)) or "none; see timm.list_models()"
            raise ValueError(f"timm has no model '{model}'; the nearest: {near}")
        if pretrained and (stem == "small" or patch_size):
            raise ValueError(
                "published weights do not fit a changed stem or patch size: take them off, or init: random"
            )
        options: dict[str, Any] = {"img_size": size} if "vit" in model or "deit" in model else {}
        if patch_size:
            options["patch_size"] = patch_size
        try:
            self.network = timm.create_model(model, pretrained=pretrained, num_classes=0, **options)
        except TypeError as error:
            raise ValueError(f"timm's {model} does not take {', '.join(options)}: {error}") from error
        except (OSError, RuntimeError) as error:
            if not pretrained:
                raise
            raise PipelineError(
                f"pretrain.init: the published weights of timm/{model} could not be had ({error}). They come from the "
                "network: connect once, or give the path of a .safetensors file, or start from `random`."
            ) from error
        apply(self.network, stem)
        widened = getattr(self.network, "head_hidden_size", None)  # some networks widen after their last feature map
        self.embedding_dim = cast(int, widened or self.network.num_features)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (N, 3, S, S) to (N, D)."""
        embeddings: Tensor = self.network(images)
        return embeddings


@hookimpl
def register_backbones(register: Register) -> None:
    """Add the family `timm/`."""
    register("timm/", TimmBackbone)
