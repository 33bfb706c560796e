"""params.yaml as one frozen, validated object: one section per stage, no unknown keys, no missing values.

Values have no defaults here, because params.yaml sets all of them, each with a comment. The registry checks the options
of plugins (`loss: {name: ...}`), because it knows their signatures.
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
"""Word in params.yaml that stands for the recipe's value."""
Recipes = Literal["recipe"]
AS_THE_RECIPE_SAYS = OrWord(RECIPE)


class Choice(BaseModel):
    """Plugin chosen by name, with its options: `{name: info_nce, temperature: 0.1}`, or just `info_nce`."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str

    @model_validator(mode="before")
    @classmethod
    def _a_bare_name_is_a_choice_without_options(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def options(self) -> dict[str, Any]:
        """Options without the name."""
        return dict(self.model_extra or {})


class IngestConfig(Checked):
    """Settings of the store: the source of images, their canvas, and the splits."""

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
    """Settings of the views that are made of stored images."""

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
    """Optimizer: the settings that all optimizers have, and the options of the chosen one."""

    model_config = ConfigDict(extra="allow")

    name: str
    learning_rate: Positive
    weight_decay: Amount

    @property
    def choice(self) -> Choice:
        """Name of the optimizer with its own options."""
        return Choice(name=self.name, **(self.model_extra or {}))


class CollapseBounds(Checked):
    """Bounds of the embeddings below which a run has collapsed; see `ssl_pipeline.health.findings`."""

    min_embedding_std: Amount
    min_effective_rank: Amount


Size = Literal["small", "paper"]  # sizes of recipes
SIZES: tuple[Size, ...] = get_args(Size)


class PretrainSection(StartSection):
    """Settings of pretraining as written in params.yaml, where some values may be left to the recipe."""

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
    """Settings of pretraining with the final values."""

    backbone: Choice
    epochs: Passes
    batch_size: BatchSize
    optimizer: Optimizer
    warmup: Share
    clip_norm: Amount
    micro_batch: Count | None = None  # model cards of earlier versions lack this key and the next ones
    devices: Devices = 1
    resolution: Resolution = FULL_SIZE


class Knn(Checked):
    """Settings of weighted nearest neighbours (Wu et al. 2018, 1805.01978, section 3.4)."""

    k: Count
    temperature: Positive


class Clusters(Checked):
    """Settings of k-means on the exported embeddings; see `ssl_pipeline.evaluation.clusters.clustering`."""

    images: Annotated[int, Field(ge=2)]
    runs: Annotated[int, Field(ge=2)]
    view: str


class Rival(Checked):
    """Rival encoder: a path ending in .onnx or .safetensors, or the name of a backbone with published weights.

    A weights file that this project did not write also needs its backbone: `{weights: PATH, backbone: {name: ...}}`.
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
            raise ValueError("an .onnx file needs no backbone: remove it")
        if self.backbone and not name.endswith(".safetensors"):
            raise ValueError("backbone is only valid with a .safetensors file: remove it")
        return self


class LinearEvalConfig(Checked):
    """Settings of probes on the exported, frozen embeddings, and of their clusters."""

    seed: Seed
    strengths: Annotated[list[Positive], Field(min_length=1)]
    knn: Knn
    bootstrap: Annotated[int, Field(ge=100)]
    rivals: list[Rival]
    clusters: Clusters
    prompts: Prompts | None = Field(default=None, exclude_if=lambda prompts: prompts is None)  # older files lack it

    @model_validator(mode="after")
    def _rivals_differ(self) -> Self:
        names = [rival.weights for rival in self.rivals]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"rivals: each may be named once only, but these are repeated: {', '.join(twice)}")
        return self


class FinetuneConfig(Checked):
    """Settings of fine-tuning on label budgets."""

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
    """Content of params.yaml."""

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
        if not isinstance(self.augment.views, str):  # the stage augment checks a recipe's views
            try:
                refuse_unknown_views(self, self.augment.views)
            except ConfigError as error:
                raise ValueError(str(error)) from error
        return self


def refuse_unknown_views(config: Config, known: Collection[str]) -> None:
    """Refuse a section that names an unknown kind of view.

    Args:
        config: Content of params.yaml.
        known: Known kinds of views.

    Raises:
        ConfigError: A kind is unknown; the message names the key, and suggests a similar kind.
    """
    for key, kind in (("linear_eval.clusters", config.linear_eval.clusters.view), ("finetune", config.finetune.view)):
        if kind not in known:
            raise ConfigError(f"{key}.view: no such kind in augment.views: '{shown(kind, 100)}'.{hint(kind, known)}")


def load(path: Path) -> Config:
    """Read and check params.yaml.

    Raises:
        ConfigError: The file contains mistakes; the message has one line per mistake, each naming its key.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must contain the sections {', '.join(Config.model_fields)}.")
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
