"""model.json: all that is needed to rebuild a trained model."""

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
    """What a trained encoder is: enough to build it anew, and to say where it came from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: Choice
    recipe: Recipe
    embedding_dim: int
    projection_dim: int | None = Field(default=None, exclude_if=lambda dim: dim is None)
    """The length of embeddings that a linear layer makes of the backbone's own; None: there is no such layer."""
    layer: int | None = None
    """The backbone's layer, from 1, whose maps are averaged to embeddings; None: the embeddings are its own."""
    grayscale: bool = False
    """Whether the encoder is shown the luminance of images alone."""
    size: int
    """Side in px of the images that the encoder was trained on, at the end of the run at least."""
    view_sizes: tuple[tuple[float, int], ...] = ()
    """Where it was trained on smaller ones before: shares of the run at which a size begins, and that side in px."""
    resize: Literal["squash", "crop", "letterbox"]
    background: tuple[int | float, ...]
    """The value of each channel, in the units of the images, where an image has no pixels."""
    images: ImageSpec = RGB8
    """What the values of images mean."""
    mean: tuple[float, ...]
    """What each channel is normalised by, as a share of the full scale: the mean of the training images, or of those
    that given weights were trained on."""
    std: tuple[float, ...]
    """The standard deviation of each channel of the same images, as a share of the full scale."""
    seed: int
    batch_size: int
    """Images per step of pretraining."""
    ranks: int = 1
    """Processes that pretrained together; batch norms of the backbone saw the share of each."""
    pretrain: PretrainConfig | None = None
    """The section `pretrain` of params.yaml, with the values that were left to the recipe filled in."""
    init: str = "random"
    """What training started from, as `pretrain.init` says: random, pretrained (published weights), a file's path, or
    the name of published weights."""
    init_sha256: str = ""
    """Digest of that file; empty where there was none."""
    init_licence: str = Field(default="", exclude_if=lambda licence: not licence)
    """The licence of those weights; empty where it is not known."""
    teacher_sha256: str = Field(default="", exclude_if=lambda found: not found)
    """Digest of the file of the encoder that taught it, which the options of the pretext task name; empty: no file."""
    start_sha256: str = ""
    """Digest of the weights that training started from, in `start.safetensors`; empty where they were random."""
    shipped_step: int | None = Field(default=None, exclude_if=lambda step: step is None)
    """The step whose weights these are, where the best one on held-out images was chosen; None: the last."""
    weights_sha256: str
    params_sha256: str
    """Digest of the parameters that shaped the weights."""
    seedless_sha256: str = ""
    """Digest of all else than the seed that shaped the weights: parameters, given weights, views and images."""
    plugins: dict[str, str]
    """Third-party distribution -> version."""
    versions: dict[str, str]

    @property
    def frozen(self) -> bool:
        """Whether the weights are those that training would have started from, as `pretrain.epochs` is 0."""
        return self.pretrain is not None and not self.pretrain.epochs


def versions(*more: str) -> dict[str, str]:
    """Return versions of what shapes the weights and graphs, and of what else does so in a run."""
    names = ("ssl-pipeline", "torch", "torchvision", "timm", "onnx", "onnxscript", "numpy", "pillow")
    return {name: version(name) for name in (*names, *more)}


def read_card(folder: Path, stage: str = "pretrain") -> ModelCard:
    """Return the card of a model folder that `stage` made.

    Raises:
        PipelineError: The card is missing, damaged, or that of another version.
    """
    try:
        return ModelCard.model_validate(read_product(folder / CARD, stage))
    except ValidationError as error:
        reasons = "; ".join(explain(error, ModelCard))
        raise PipelineError(f"{folder / CARD} has a different format version ({reasons}): {remake(stage)}.") from error
