"""What the linear evaluation reads: the exported file, the pretrained model, the images and the rivals."""

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
    """What is evaluated, and on what.

    Attributes:
        data: Labelled images of the three splits, and the names of the classes.
        seen: Images of train and validation, for clusters and negatives.
        policies: Policies of the views.
        registry: The registry that has the random encoder's architecture.
        encoder: The whole pretrained encoder.
        card: Card of the whole encoder.
        start: The whole encoder before pretraining; None: its weights were random.
        task: The trained pretext task; None where its recipe has no negatives.
        backbone: The exported file.
        backbone_sha256: Digest of the exported file when it was opened.
        embed: The exported file, from canvases to embeddings, which all studies share.
        layer: The layer that ships; None: the backbone's own embedding.
        l2_normalize: Whether the exported embeddings have unit length.
        rivals: Name -> rival that is ready to embed.
        cost: What the exported file costs; empty without rivals.
        variants: What ships beside the exported file.
        texts: The text tower beside the exported file, and captioned images; None where there is none.
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
        """Whether the labels of the training images name two classes or more."""
        return len(np.unique(self.data.train.labels)) > 1

    def check_unchanged(self) -> None:
        """Make sure that the exported file still is the one that was evaluated.

        Raises:
            PipelineError: It has changed.
        """
        if sha256(self.backbone) != self.backbone_sha256:
            raise PipelineError(f"{self.backbone} changed while it was evaluated: run `dvc repro linear_eval` again.")


def read_inputs(
    settings: LinearEvalConfig, registry: Registry, policies: Policies, *, store: Path, pretrain: Path, backbone: Path
) -> LinearInputs:
    """Open all that the evaluation needs. Rivals come before anything takes long: a misspelt name is told at once.

    Args:
        settings: The section `linear_eval`.
        registry: The registry that has the backbones.
        policies: Policies of the views.
        store: The folder of the images.
        pretrain: The folder of the pretrained model.
        backbone: The exported file.

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
        say("linear_eval: rivals are not judged, because there are no labels to judge by")
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
