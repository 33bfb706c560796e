"""model.json: everything that is needed to rebuild a trained model."""

from importlib.metadata import version
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ssl_pipeline.config import Choice, PretrainConfig
from ssl_pipeline.data.image_spec import RGB8, ImageSpec
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import read_product
from ssl_pipeline.recipes import Recipe
from ssl_pipeline.remedies import remake
from ssl_pipeline.validation import explain

__all__ = ["CARD", "ModelCard", "read_card", "versions"]

CARD = "model.json"


class ModelCard(BaseModel):
    """Description of a trained encoder: enough to rebuild it, and to tell its origin."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: Choice
    recipe: Recipe
    embedding_dim: int
    projection_dim: int | None = Field(default=None, exclude_if=lambda dim: dim is None)
    """Length of the embeddings if a linear layer projects those of the backbone; None if there is no such layer."""
    layer: int | None = None
    """Layer of the backbone, counted from 1, whose maps are averaged to embeddings; None for the backbone's own."""
    grayscale: bool = False
    """Whether the encoder sees only the luminance of images."""
    size: int
    """Side in px of the images that the encoder was trained on, at least at the end of the run."""
    view_sizes: tuple[tuple[float, int], ...] = ()
    """Share of the run at which each size begins, and that side in px, if training began on smaller images."""
    resize: Literal["squash", "crop", "letterbox"]
    background: tuple[int | float, ...]
    """Value of each channel, in the units of the images, for areas without pixels."""
    images: ImageSpec = RGB8
    """Meaning of the images' values."""
    mean: tuple[float, ...]
    """Mean of each channel for normalisation, as a share of the full scale: that of the training images, or of the
    images that the initial weights were trained on."""
    std: tuple[float, ...]
    """Standard deviation of each channel of the same images, as a share of the full scale."""
    seed: int
    batch_size: int
    """Number of images per step of pretraining."""
    ranks: int = 1
    """Number of processes that pretrained together."""
    pretrain: PretrainConfig | None = None
    """Section `pretrain` of params.yaml, with values that were left to the recipe filled in."""
    init: str = "random"
    """Initial weights, as `pretrain.init` names them: random, pretrained (published weights), the path of a file, or
    the name of published weights."""
    init_sha256: str = ""
    """Digest of that file, empty if there was none."""
    init_licence: str = Field(default="", exclude_if=lambda licence: not licence)
    """Licence of the initial weights, empty if it is unknown."""
    teacher_sha256: str = Field(default="", exclude_if=lambda found: not found)
    """Digest of the teacher's file, which the options of the pretext task name; empty if there was none."""
    start_sha256: str = ""
    """Digest of the initial weights, in `start.safetensors`; empty if they were random."""
    shipped_step: int | None = Field(default=None, exclude_if=lambda step: step is None)
    """Step whose weights these are if the best one on held-out images was chosen; None for the last step."""
    weights_sha256: str
    params_sha256: str
    """Digest of the parameters that the weights depend on."""
    seedless_sha256: str = ""
    """Digest of everything except the seed that the weights depend on: parameters, initial weights, views, images."""
    plugins: dict[str, str]
    """Third-party distribution -> version."""
    versions: dict[str, str]

    @property
    def frozen(self) -> bool:
        """Whether the weights are the initial ones, because `pretrain.epochs` is 0."""
        return self.pretrain is not None and not self.pretrain.epochs


def versions(*more: str) -> dict[str, str]:
    """Return the versions of packages that weights and graphs depend on, and those of further packages."""
    names = ("ssl-pipeline", "torch", "torchvision", "timm", "onnx", "onnxscript", "numpy", "pillow")
    return {name: version(name) for name in (*names, *more)}


def read_card(folder: Path, stage: str = "pretrain") -> ModelCard:
    """Return the card of a model folder that `stage` made.

    Raises:
        PipelineError: The card is missing or damaged, or has the format of another version.
    """
    try:
        return ModelCard.model_validate(read_product(folder / CARD, stage))
    except ValidationError as error:
        reasons = "; ".join(explain(error, ModelCard))
        raise PipelineError(f"{folder / CARD} has a different format version ({reasons}): {remake(stage)}.") from error
