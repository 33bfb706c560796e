"""timm's models as feature extractors, chosen by name, such as `timm/resnet18` or `timm/vit_tiny_patch16_224`."""

import copy
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from ssl_pipeline import hookimpl
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.parts.small_stem import Stem, apply
from ssl_pipeline.terminal import brief
from ssl_pipeline.types import Backbone, Inputs, Offer, Register


class TimmBackbone(Backbone):
    """A timm model without its classifier. Its layers are those of timm's `feature_info`.

    Args:
        model: Name of the model, such as resnet18.
        size: Side of the images in px, for networks that are built for one size.
        pretrained: Whether to start from timm's published weights.
        stem: First layers of the network: imagenet (as published) or small (a 3x3 first convolution, and no early
            stride or pooling), for images below about 96 px.
        patch_size: Side of a patch in px, for vision transformers; 0 keeps the published size.
        in_channels: Number of channels of the images; published weights are for 3.
        checkpoint_blocks: Whether to recompute the activations of each block for its gradient instead of storing them,
            which saves memory and takes a third more time (Chen et al. 2016, 1604.06174). Vision transformers support
            it, and some other networks do.
    """

    offers: Mapping[Offer, str] = {
        "maps": "timm/resnet18 and most other models of timm",
        "patches": "timm/vit_tiny_patch16_224 and other vision transformers of timm that embed each patch separately",
    }

    network: Any

    def __init__(
        self,
        *,
        model: str,
        size: int,
        pretrained: bool = False,
        stem: Stem = "imagenet",
        patch_size: int = 0,
        in_channels: int = 3,
        checkpoint_blocks: bool = False,
    ):
        super().__init__()
        import timm  # 2 s: only when asked for

        if not timm.is_model(model):
            near = ", ".join(get_close_matches(model, timm.list_models(), n=3)) or "none; see timm.list_models()"
            raise ValueError(f"timm has no model '{model}'; the nearest: {near}")
        if pretrained and (stem == "small" or patch_size):
            raise ValueError("published weights do not fit another stem or patch size: leave stem and patch_size out")
        if pretrained and not timm.is_model_pretrained(model):
            raise ValueError(f"timm has no published weights of {model}: choose another model")
        if pretrained and in_channels != 3:
            raise ValueError(f"published weights are for images of 3 channels, but these have {in_channels}")
        options = {"patch_size": patch_size} if patch_size else {}
        options |= {"in_chans": in_channels} if in_channels != 3 else {}
        self.network = create(model, size, pretrained, options)
        self.recomputes = checkpoint_blocks
        if checkpoint_blocks:
            try:
                self.network.set_grad_checkpointing()
            except (AssertionError, AttributeError, NotImplementedError) as error:
                raise ValueError(f"timm's {model} cannot recompute its blocks: leave checkpoint_blocks out") from error
        published = self.network.pretrained_cfg
        self.published_for = Inputs(published["input_size"][-1], tuple(published["mean"]), tuple(published["std"]))
        self.published_licence = published.get("license") or ""
        apply(self.network, stem)
        widened = getattr(self.network, "head_hidden_size", None)  # some networks widen after their last feature map
        self.embedding_dim = cast(int, widened or self.network.num_features)
        if hasattr(self.network, "forward_intermediates"):
            self.map_channels = tuple(info["num_chs"] for info in self.network.feature_info)
        self.is_transformer = is_transformer(self.network)
        if self.is_transformer:
            self.patch_size = own_patches(self.network.patch_embed)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; blocks are recomputed in training only, so that an exported graph has each of them once."""
        if self.recomputes:
            self.network.set_grad_checkpointing(mode)
        return super().train(mode)

    @staticmethod
    def members() -> list[str]:
        """Return the names that can follow `timm/`."""
        import timm

        names: list[str] = timm.list_models()
        return names

    def forward(self, images: Tensor) -> Tensor:
        """Return embeddings (N, D) of normalised images (N, C, S, S)."""
        embeddings: Tensor = self.network(images)
        return embeddings

    def maps(self, images: Tensor) -> list[Tensor]:
        """Return the maps of each layer; those of a transformer pass its last norm, which brings them to one scale."""
        options = {"norm": True} if self.is_transformer else {}
        found: list[Tensor] = self.network.forward_intermediates(images, intermediates_only=True, **options)
        return found

    def visible(self, images: Tensor, shown: Tensor) -> Tensor:
        """Return features of the shown patches, without any influence of the others.

        The patches know their positions and see the class token, whose own feature is left out.
        """
        prefix = self.network.num_prefix_tokens  # the class token and registers, which are not patches

        def keep_shown(_: nn.Module, __: tuple[Tensor], tokens: Tensor) -> Tensor:
            places = (shown + prefix)[..., None].expand(-1, -1, tokens.shape[2])
            return torch.cat([tokens[:, :prefix], tokens.gather(1, places)], dim=1)

        with self.network.patch_drop.register_forward_hook(keep_shown):  # where timm drops patches at random
            tokens: Tensor = self.network.forward_features(images)
        return tokens[:, prefix:]

    def library_state_dict(self, classes: int = 0) -> dict[str, Tensor]:
        """Return the weights under the names that timm gives them in a model with `num_classes=classes`."""
        bare: dict[str, Tensor] = self.network.state_dict()
        if not classes:
            return bare
        whole = copy.deepcopy(self.network)
        whole.reset_classifier(classes)
        return {
            name: bare[name] if name in bare else torch.zeros_like(value) for name, value in whole.state_dict().items()
        }


def is_transformer(network: Any) -> bool:
    """Return whether a network is timm's VisionTransformer, whose tokens pass `patch_drop` before its blocks."""
    from timm.models import VisionTransformer

    return isinstance(network, VisionTransformer)


def own_patches(embed: Any) -> int:
    """Return the side in px of square patches that are embedded separately, or 0 if patches see their neighbours.

    The patches of a hybrid do see them: they are cut from the maps of a convolutional network.
    """
    from timm.layers.patch_embed import PatchEmbed

    if not isinstance(embed, PatchEmbed):
        return 0
    height, width = embed.patch_size
    return height if height == width else 0


def create(model: str, size: int, pretrained: bool, options: Mapping[str, int]) -> Any:
    """Build a timm model without its classifier, for images with a side of `size` px.

    Raises:
        ValueError: The model cannot be built for that size, or does not accept the options.
        PipelineError: The published weights could not be downloaded.
    """
    try:
        return _sized(model, size, pretrained=pretrained, **options)
    except OSError as error:
        if not pretrained:
            raise
        raise PipelineError(
            f"the published weights of timm/{model} could not be downloaded ({brief(error)}). Connect to "
            "the network once, or give the path of a .safetensors file."
        ) from error
    except TypeError as error:
        raise ValueError(f"timm's {model} does not accept {', '.join(options) or 'a size'} ({brief(error)})") from error
    except (ArithmeticError, AssertionError, LookupError, RuntimeError, ValueError) as error:
        wanted = f" in patches of {options['patch_size']} px" if "patch_size" in options else ""
        wanted += f" with {options['in_chans']} channels" if "in_chans" in options else ""
        weights = " with its published weights" if pretrained else ""
        raise ValueError(f"timm's {model} cannot be built{weights} for images of {size} px{wanted}") from error


def _sized(model: str, size: int, **options: Any) -> Any:
    """Build the model, passing the size if its signature has one: swin's does, those of fastvit and tiny_vit do not."""
    import timm

    try:
        return timm.create_model(model, num_classes=0, img_size=size, **options)
    except TypeError as error:
        if "'img_size'" not in str(error):
            raise
    return timm.create_model(model, num_classes=0, **options)


@hookimpl
def register_backbones(register: Register) -> None:
    """Add the family `timm/`."""
    register("timm/", TimmBackbone)
