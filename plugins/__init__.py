"""The built-in methods, one idea a file. They use the same hooks as everybody's plugins, and get no favours."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssl_pipeline.registry import Registry

BUILTIN = (
    "plugins.pretext.joint_embedding",
    "plugins.pretext.non_contrastive",
    "plugins.pretext.rotation",
    "plugins.pretext.flip",
    "plugins.pretext.jigsaw",
    "plugins.pretext.relative_patch",
    "plugins.pretext.colorization",
    "plugins.pretext.masked",
    "plugins.pretext.mae",
    "plugins.pretext.denoise",
    "plugins.pretext.masked_tokens",
    "plugins.losses.info_nce",
    "plugins.losses.decoupled",
    "plugins.losses.sigmoid",
    "plugins.losses.nce",
    "plugins.losses.triplet",
    "plugins.losses.truncated_triplet",
    "plugins.losses.energy",
    "plugins.losses.spectral",
    "plugins.losses.alignment_uniformity",
    "plugins.losses.negative_cosine",
    "plugins.losses.barlow_twins",
    "plugins.losses.vicreg",
    "plugins.losses.w_mse",
    "plugins.losses.coding_rate",
    "plugins.losses.swav",
    "plugins.losses.dino",
    "plugins.negatives.in_batch",
    "plugins.negatives.queue",
    "plugins.negatives.cross_batch",
    "plugins.negatives.hard",
    "plugins.negatives.debiased",
    "plugins.negatives.semi_hard",
    "plugins.negatives.ring",
    "plugins.negatives.truncated",
    "plugins.negatives.false_negative",
    "plugins.backbones.resnet_cifar",
    "plugins.backbones.torchvision",
    "plugins.backbones.timm",
    "plugins.recipes",
)


def load_registry() -> "Registry":
    """A registry with the built-ins and all installed plugins."""
    from ssl_pipeline.registry import Registry  # imports torch: only when asked

    registry = Registry()
    registry.load(BUILTIN)
    return registry
