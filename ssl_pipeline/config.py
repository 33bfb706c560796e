"""params.yaml as one frozen, validated object: a section per stage, nothing unknown, nothing unset.

Values have no defaults here: params.yaml states them all, with a comment each. The options of plugins (`loss: {name:
...}`) are checked by the registry, which knows their signatures.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.bundle_config import BundleConfig
from ssl_pipeline.curate_config import CurateConfig
from ssl_pipeline.data.agreement import PixelsChoice
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.export_config import ExportConfig
from ssl_pipeline.moved_keys import move_keys, rename_keys
from ssl_pipeline.positives_config import Positives
from ssl_pipeline.report_config import ReportConfig
from ssl_pipeline.resolution import FULL_SIZE, Resolution
from ssl_pipeline.start_config import StartSection
from ssl_pipeline.terminal import shown
from ssl_pipeline.validation import Checked, OrWord, explain, hint, number_or, renamed
from ssl_pipeline.value_types import Amount, BatchSize, Channel, Count, Devices, Passes, Positive, Prompts, Seed, Share
from ssl_pipeline.yaml_file import read_yaml

__all__ = [
    "AugmentConfig",
    "Choice",
    "CollapseBounds",
    "Config",
    "FinetuneConfig",
    "IngestConfig",
    "LinearEvalConfig",
    "Optimizer",
    "PretrainConfig",
    "PretrainSection",
    "Rival",
    "load",
    "refuse_unknown_views",
]

RECIPE = "recipe"
"""The word of params.yaml that stands for "as the recipe says"."""
Recipes = Literal["recipe"]
AS_THE_RECIPE_SAYS = OrWord(RECIPE)


class Choice(BaseModel):
    """A thing chosen by name, with its options: `{name: info_nce, temperature: 0.1}`, or just `info_nce`."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str

    @model_validator(mode="before")
    @classmethod
    def _a_bare_name_is_a_choice_without_options(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def options(self) -> dict[str, Any]:
        """All but the name."""
        return dict(self.model_extra or {})


class IngestConfig(Checked):
    """From a source of images to a store of equal canvases."""

    source: Choice
    seed: Seed
    canvas: Annotated[int, Field(ge=8, le=1024)]
    resize: Literal["squash", "crop", "letterbox"]
    background: tuple[Channel, Channel, Channel]
    pixels: PixelsChoice
    min_side: Count
    max_megapixels: Positive
    max_reject_fraction: Annotated[float, Field(ge=0.0, le=1.0)]
    val_fraction: Annotated[float, Field(gt=0.0, lt=0.5)]
    test_fraction: Annotated[float, Field(gt=0.0, lt=0.5)]


class AugmentConfig(Checked):
    """What views are made of stored images."""

    seed: Seed
    views: Annotated[
        Annotated[dict[str, Annotated[Policy | Recipes, AS_THE_RECIPE_SAYS]], Field(min_length=1)] | Recipes,
        AS_THE_RECIPE_SAYS,
    ]

    @model_validator(mode="after")
    def _kinds_are_file_names(self) -> Self:
        for kind in () if isinstance(self.views, str) else self.views:
            if not kind.isidentifier():
                raise ValueError(f"views: '{kind}' must be a plain name (letters, digits, underscore)")
        return self


class Optimizer(Checked):
    """How weights move: what all optimizers have, and the options of the one that is named."""

    model_config = ConfigDict(extra="allow")

    name: str
    learning_rate: Positive
    weight_decay: Amount

    @property
    def choice(self) -> Choice:
        """The optimizer with its own options."""
        return Choice(name=self.name, **(self.model_extra or {}))


class CollapseBounds(Checked):
    """Bounds of embeddings past which a run has collapsed; see `ssl_pipeline.health.findings`."""

    min_embedding_std: Amount
    min_effective_rank: Amount


Size = Literal["small", "paper"]  # of a recipe
SIZES: tuple[Size, ...] = get_args(Size)


class PretrainSection(StartSection):
    """Learning without labels, as it is written: some values may be left to the recipe."""

    recipe: str
    recipe_size: Annotated[Size, renamed("embedded", "small")]
    pretext_task: dict[str, Any]
    loss: dict[str, Any]
    negatives: dict[str, Any]
    backbone: Annotated[Choice | Recipes, AS_THE_RECIPE_SAYS]
    init: Annotated[str, Field(min_length=1)]
    seed: Seed
    epochs: Annotated[Passes | Recipes, AS_THE_RECIPE_SAYS]
    batch_size: Annotated[BatchSize | Recipes, AS_THE_RECIPE_SAYS]
    optimizer: Annotated[Optimizer | Recipes, AS_THE_RECIPE_SAYS]
    warmup: Annotated[Share | Recipes, AS_THE_RECIPE_SAYS]
    clip_norm: Annotated[Amount | Recipes, AS_THE_RECIPE_SAYS]
    micro_batch: Count | None
    positives: Positives | None = None
    resolution: Resolution
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    devices: Devices
    checkpoint_minutes: Amount
    on_collapse: Literal["stop", "warn"]
    collapse: CollapseBounds


class PretrainConfig(PretrainSection):
    """Learning without labels, with all values as they are used."""

    backbone: Choice
    epochs: Passes
    batch_size: BatchSize
    optimizer: Optimizer
    warmup: Share
    clip_norm: Amount
    micro_batch: Count | None = None  # cards of earlier versions lack this and the next
    devices: Devices = 1
    resolution: Resolution = FULL_SIZE


class Knn(Checked):
    """Weighted nearest neighbours (Wu et al. 2018, 1805.01978, section 3.4)."""

    k: Count
    temperature: Positive


class Clusters(Checked):
    """k-means of the exported embeddings; see `ssl_pipeline.evaluation.clusters.clustering`."""

    images: Annotated[int, Field(ge=2)]
    runs: Annotated[int, Field(ge=2)]
    view: str


class Rival(Checked):
    """Another encoder: a path ending in .onnx or .safetensors, or the name of a backbone with published weights.

    Weights of a file that is not one of ours need their backbone: `{weights: PATH, backbone: {name: ...}}`.
    """

    weights: Annotated[str, Field(min_length=1)]
    backbone: Choice | None = None

    @model_validator(mode="before")
    @classmethod
    def _a_bare_path_or_name_stands_for_the_weights(cls, value: Any) -> Any:
        return {"weights": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _a_backbone_goes_with_bare_weights(self) -> Self:
        name = self.weights.lower()
        if self.backbone and name.endswith(".onnx"):
            raise ValueError("an .onnx file needs no backbone: leave it out")
        if self.backbone and not name.endswith(".safetensors"):
            raise ValueError("backbone goes with a .safetensors file only")
        return self


class LinearEvalConfig(Checked):
    """Probes on the exported, frozen features, and their clusters."""

    seed: Seed
    strengths: Annotated[list[Positive], Field(min_length=1)]
    knn: Knn
    bootstrap: Annotated[int, Field(ge=100)]
    rivals: list[Rival]
    clusters: Clusters
    prompts: Prompts | None = Field(default=None, exclude_if=lambda prompts: prompts is None)  # earlier files lack it

    @model_validator(mode="after")
    def _rivals_differ(self) -> Self:
        names = [rival.weights for rival in self.rivals]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"rivals: named twice: {', '.join(twice)}")
        return self


class FinetuneConfig(Checked):
    """Label budgets: what the pretrained weights are worth."""

    seed: Seed
    budgets: Annotated[list[Annotated[Literal["all"] | int, number_or("all")]], Field(min_length=1)]
    draws: Annotated[int, Field(ge=2)]
    view: str
    learning_rates: Annotated[list[Positive], Field(min_length=1)]
    strengths: Annotated[list[Positive], Field(min_length=1)]
    weight_decay: Amount
    batch_size: BatchSize
    steps: Count
    epochs: Count
    encoders: list[Annotated[str, Field(min_length=1)]]


class Config(Checked):
    """The whole of params.yaml."""

    ingest: IngestConfig
    augment: AugmentConfig
    pretrain: PretrainSection
    export: ExportConfig
    curate: CurateConfig
    linear_eval: LinearEvalConfig
    finetune: FinetuneConfig
    report: ReportConfig
    bundle: BundleConfig

    @model_validator(mode="after")
    def _kinds_of_views_are_known(self) -> Self:
        if not isinstance(self.augment.views, str):  # a recipe's are checked by the stage that makes them
            try:
                refuse_unknown_views(self, self.augment.views)
            except ConfigError as error:
                raise ValueError(str(error)) from error
        return self


def refuse_unknown_views(config: Config, known: Collection[str]) -> None:
    """Refuse a section that names a kind of view which there is not.

    Args:
        config: The whole of params.yaml.
        known: The kinds of views that there are.

    Raises:
        ConfigError: The message names the key, and the kind that may be meant.
    """
    for key, kind in (("linear_eval.clusters", config.linear_eval.clusters.view), ("finetune", config.finetune.view)):
        if kind not in known:
            raise ConfigError(f"{key}.view: no such kind in augment.views: '{shown(kind, 100)}'.{hint(kind, known)}")


def load(path: Path) -> Config:
    """Read and check params.yaml.

    Raises:
        ConfigError: One line for each mistake, each naming its key.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold the sections {', '.join(Config.model_fields)}.")
    content, moved = move_keys(content, IngestConfig.model_fields.keys() - AugmentConfig.model_fields.keys())
    content, renamed_keys = rename_keys(content)
    lines = moved + renamed_keys
    try:
        config = Config.model_validate(content)
    except ValidationError as error:
        lines += explain(error, Config)
    if lines:
        raise ConfigError("\n".join(f"{path}: {line}" for line in lines))
    return config
