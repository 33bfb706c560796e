"""Inputs of the label-budget study: the pretrained encoder, other weights of its network, and the labelled images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssl_pipeline.artifacts.assembly import cut
from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.artifacts.files import load_encoder
from ssl_pipeline.artifacts.start import started
from ssl_pipeline.augment.policy import Policies, Policy
from ssl_pipeline.config import FinetuneConfig
from ssl_pipeline.data.labelled import LabelledSplits, read_labelled
from ssl_pipeline.deployment.runtime import layer_of, open_session, read_metadata
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.evaluation.budgets.further_encoders import read_encoders
from ssl_pipeline.products import verified
from ssl_pipeline.registry import Registry
from ssl_pipeline.training.precision import Precision, best_device, resolve_precision
from ssl_pipeline.types import Encoder

__all__ = ["BudgetInputs", "read_inputs", "view_policy"]


@dataclass(frozen=True)
class BudgetInputs:
    """Encoders to compare, and the images to compare them on.

    Attributes:
        data: Labelled images of the three splits, and the names of the classes.
        encoder: Pretrained encoder, cut at the layer that ships; the study does not change its weights.
        card: Card of the encoder.
        registry: Registry of the backbones, from which the network is built with random weights.
        policy: Policy of the views to train on.
        precision: Precision of training, and the device to train on.
        further: Encoders that were pretrained like `encoder`, with other seeds.
        start: Encoder with the weights that pretraining started from; None if they were random.
    """

    data: LabelledSplits
    encoder: Encoder
    card: ModelCard
    registry: Registry
    policy: Policy
    precision: Precision
    further: Sequence[Encoder] = ()
    start: Encoder | None = None


def read_inputs(
    settings: FinetuneConfig, registry: Registry, policies: Policies, *, store: Path, pretrain: Path, backbone: Path
) -> BudgetInputs:
    """Open everything that the study needs.

    Args:
        settings: Section `finetune` of params.yaml.
        registry: Registry of the backbones.
        policies: Policies of the views.
        store: Folder of the store of images.
        pretrain: Folder of the pretrained model.
        backbone: Path of backbone.onnx, whose metadata names the layer that ships.

    Raises:
        ConfigError: The kind of view is unknown or has another size, or one of `finetune.encoders` cannot be used.
        PipelineError: A product is missing or damaged.
    """
    data = read_labelled(store)
    whole, card = load_encoder(registry, pretrain)
    layer = layer_of(read_metadata(open_session(verified(backbone, "export")))["layer"])
    encoder, shipped = cut(whole, card, layer)
    start = started(registry, pretrain)
    return BudgetInputs(
        data=data,
        encoder=encoder,
        card=shipped,
        registry=registry,
        policy=view_policy(policies.views, settings.view, shipped.size),
        precision=resolve_precision("auto", best_device()),
        further=read_encoders(registry, settings.encoders, card, layer),
        start=cut(start, card, layer)[0] if start else None,
    )


def view_policy(policies: Mapping[str, Policy], kind: str, size: int) -> Policy:
    """Return the policy of the views to fine-tune on.

    Args:
        policies: Kind of view -> policy, as the stage augment resolved it.
        kind: Kind of view, `finetune.view`.
        size: Side in px of the images that the encoder was trained on, to which the shipped model resizes.

    Raises:
        ConfigError: There is no such kind, or its views have another size.
    """
    if kind not in policies:
        raise ConfigError(f"finetune.view: unknown kind of view '{kind}'. Known: {', '.join(sorted(policies))}.")
    if policies[kind].size != size:
        raise ConfigError(
            f"finetune.view: views of kind '{kind}' have {policies[kind].size} px, but the encoder was trained on "
            f"{size} px: set augment.views.{kind}.size: {size}, or choose another kind."
        )
    return policies[kind]
