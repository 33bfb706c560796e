"""Advice on what no setting makes up for: too few images to learn from, or to judge the backbone's variants by."""

from math import ceil

from ssl_pipeline.config import Config
from ssl_pipeline.deployment.gate import MIN_IMAGES
from ssl_pipeline.planning.estimate import split_sizes
from ssl_pipeline.planning.evidence import Evidence
from ssl_pipeline.planning.starts import FEW_IMAGES

__all__ = ["about_start", "about_variants"]

MOST_VALIDATION = 0.3
"""Largest value of `ingest.val_fraction` to advise: with more, too few images would remain for pretraining."""


def about_start(pool: int) -> list[str]:
    """Return a sentence on starting from given weights if there are few images to pretrain on, none otherwise."""
    if pool >= FEW_IMAGES:
        return []
    return [
        f"With {pool:,} images to pretrain on, a network that was trained on many other images is likely to be better: "
        "name its weights with `ssl-pipeline plan --start` (docs/start.md)."
    ]


def about_variants(config: Config, evidence: Evidence) -> list[str]:
    """Return a sentence on variants that cannot pass the gate for lack of validation images, none if there are enough.

    Args:
        config: Parameters of the run.
        evidence: Fingerprint of the images.
    """
    variants = [variant for variant in config.export.variants if variant != "fp32"]
    section, labelling = config.ingest, evidence.labelling
    found = split_sizes(labelling, evidence.usable, section.val_fraction, section.test_fraction)["val"]
    if not variants or round(found) >= MIN_IMAGES:
        return []
    effect = "export will stop" if config.export.on_gate_failure == "stop" else "only the fp32 backbone will ship"
    return [
        f"About {found:.0f} of the images will be validation images, but the gate for {' and '.join(variants)} needs "
        f"{MIN_IMAGES}, so {effect}. {_remedy(config, evidence, MIN_IMAGES / max(found, 1))}."
    ]


def _remedy(config: Config, evidence: Evidence, times: float) -> str:
    """Return what to do for so many times as many validation images."""
    labelling = evidence.labelling
    if "val" in labelling.splits:
        return "Assign more images to the split val"
    fraction = ceil(100 * times * config.ingest.val_fraction) / 100
    kind = "labelled images" if 0 < labelling.labelled < labelling.images else "images"
    enough = 10 * ceil(times * (labelling.labelled or labelling.images) / 10)
    larger = f", or raise ingest.val_fraction to {fraction:g}" if fraction <= MOST_VALIDATION else ""
    return f"Add {kind} (about {enough:,} in all are enough){larger}"
