"""Inputs of the linear evaluation: the exported file, the pretrained model, the images and the rivals."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.artifacts.files import load_encoder, load_task
from ssl_pipeline.artifacts.start import started
from ssl_pipeline.augment.policy import Policies
from ssl_pipeline.config import LinearEvalConfig
from ssl_pipeline.data.labelled import LabelledSplits, read_labelled
from ssl_pipeline.data.labels import read_labels
from ssl_pipeline.deployment.runtime import layer_of, open_session, read_metadata, run
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.evaluation.features import Kept, sample
from ssl_pipeline.evaluation.linear.rivals import Opened, cost, open_rivals
from ssl_pipeline.evaluation.linear.variants import Variants, open_variants
from ssl_pipeline.evaluation.retrieval.inputs import TextInputs, open_texts
from ssl_pipeline.evaluation.seen_images import SeenImages, choose_seen
from ssl_pipeline.products import sha256, verified
from ssl_pipeline.progress import say
from ssl_pipeline.registry import Registry
from ssl_pipeline.types import Encoder, PretextTask

__all__ = ["LinearInputs", "read_inputs"]

_TIMED_IMAGES = 32  # training images on which encoders are timed


@dataclass(frozen=True)
class LinearInputs:
    """Models to evaluate, and the images to evaluate them on.

    Attributes:
        data: Labelled images of the three splits, and the names of the classes.
        seen: Images of train and validation, for clusters and negatives.
        policies: Policies of the views.
        registry: Registry of the backbones, from which the random encoder is built.
        encoder: Whole pretrained encoder.
        card: Card of the whole encoder.
        start: Whole encoder before pretraining; None if its weights were random.
        task: Trained pretext task; None if its recipe has no negatives.
        backbone: Path of the exported file.
        backbone_sha256: Digest of the exported file when it was opened.
        embed: Embedder that runs the exported file on canvases; all studies share it and its cache.
        layer: Layer that ships, from 1; None for the backbone's own embedding.
        l2_normalize: Whether the exported embeddings have unit length.
        rivals: Name -> rival that is ready to embed.
        cost: Size and time of the exported file; empty without rivals.
        variants: Variants that ship beside the exported file.
        texts: Text tower beside the exported file, and captioned images; None if there is no text tower.
    """

    data: LabelledSplits
    seen: SeenImages
    policies: Policies
    registry: Registry
    encoder: Encoder
    card: ModelCard
    start: Encoder | None
    task: PretextTask | None
    backbone: Path
    backbone_sha256: str
    embed: Kept
    layer: int | None
    l2_normalize: bool
    rivals: Mapping[str, Opened]
    cost: Mapping[str, Any]
    variants: Variants
    texts: TextInputs | None

    @property
    def learnable(self) -> bool:
        """Whether the training images have labels of two classes or more."""
        return len(np.unique(self.data.train.labels)) > 1

    def check_unchanged(self) -> None:
        """Check that the exported file is still the one that was evaluated.

        Raises:
            PipelineError: The file has changed.
        """
        if sha256(self.backbone) != self.backbone_sha256:
            raise PipelineError(f"{self.backbone} changed during its evaluation: run `dvc repro linear_eval` again.")


def read_inputs(
    settings: LinearEvalConfig, registry: Registry, policies: Policies, *, store: Path, pretrain: Path, backbone: Path
) -> LinearInputs:
    """Open everything that the evaluation needs, rivals before any slow work, so that a misspelt name fails at once.

    Args:
        settings: Section `linear_eval` of params.yaml.
        registry: Registry of the backbones.
        policies: Policies of the views.
        store: Folder of the store of images.
        pretrain: Folder of the pretrained model.
        backbone: Path of the exported file.

    Raises:
        ConfigError: A rival does not exist, or cannot be opened.
        PipelineError: A product is missing or damaged.
    """
    evaluated = sha256(verified(backbone, "export"))
    session = open_session(backbone)
    metadata = read_metadata(session)
    encoder, card = load_encoder(registry, pretrain)
    data = read_labelled(store)
    known = read_labels(store, "train"), read_labels(store, "val")
    rivals: dict[str, Opened] = {}
    own: dict[str, Any] = {}
    if settings.rivals and len(np.unique(data.train.labels)) > 1:
        images = data.train.images(sample(data.train, _TIMED_IMAGES))
        rivals, own = open_rivals(settings.rivals, registry, card, images), cost(backbone, images, card.images)
    elif settings.rivals:
        say("linear_eval: rivals are not evaluated, because the training images lack labels of two classes")
    l2_normalize = json.loads(metadata["l2_normalized"])
    return LinearInputs(
        data=data,
        seen=choose_seen((data.train.split, data.val.split), known, settings.clusters.images),
        policies=policies,
        registry=registry,
        encoder=encoder,
        card=card,
        start=started(registry, pretrain),
        task=load_task(registry, pretrain) if card.recipe.negatives else None,
        backbone=backbone,
        backbone_sha256=evaluated,
        embed=Kept(partial(run, session)),
        layer=layer_of(metadata["layer"]),
        l2_normalize=l2_normalize,
        rivals=rivals,
        cost=own,
        variants=open_variants(backbone),
        texts=open_texts(store, registry, card, backbone, l2_normalize=l2_normalize, seed=settings.seed),
    )
