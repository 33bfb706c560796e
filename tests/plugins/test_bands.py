"""Backbones and tasks for images with other bands than red, green and blue."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from ssl_pipeline import hookimpl
from ssl_pipeline.artifacts.assembly import build_encoder, build_task
from ssl_pipeline.config import Choice
from ssl_pipeline.data.image_spec import ImageSpec
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.loading import load_registry
from ssl_pipeline.recipes import Recipe
from ssl_pipeline.testing.material import make_step
from ssl_pipeline.types import UNIFORMS, Backbone, Encoder, Register

REGISTRY = load_registry()
BANDS5 = ImageSpec(channels=5, dtype="float32", low=0.0, high=1.0)
VIT: dict[str, object] = {"name": "timm/vit_tiny_patch16_224", "patch_size": 4}
TASKS: dict[str, dict[str, int]] = {
    "masked": {"mask_size": 4},
    "masked_tokens": {"words": 8, "patch_size": 2, "mask_size": 4},
    "mae": {"width": 16, "depth": 1, "heads": 2},
    "denoise": {},
    "jigsaw": {"permutations": 4},
    "rotation": {},
}


def encoder(channels: int = 5, **backbone: object) -> Encoder:
    spec = BANDS5.model_copy(update={"channels": channels})
    choice = Choice.model_validate(backbone or {"name": "resnet_cifar", "depth": 8, "width": 4})
    return build_encoder(REGISTRY, choice, (0.4,) * channels, (0.2,) * channels, 0, 32, images=spec)


@pytest.mark.parametrize("channels", [1, 2, 13])
@pytest.mark.parametrize(
    "backbone",
    [
        {"name": "resnet_cifar", "depth": 8, "width": 4},
        {"name": "torchvision/resnet18", "stem": "small"},
        {"name": "timm/resnet10t"},
        VIT,
    ],
    ids=lambda backbone: backbone["name"],
)
def test_backbones_take_images_of_any_number_of_channels(backbone: dict[str, object], channels: int) -> None:
    built = encoder(channels, **backbone).eval()
    with torch.no_grad():
        embeddings = built(torch.rand(3, channels, 32, 32))
    assert embeddings.shape == (3, built.embedding_dim)


def test_published_weights_are_for_three_channels() -> None:
    with pytest.raises(ConfigError, match="published weights are for images of 3 channels, but these have 5"):
        build_encoder(REGISTRY, Choice(name="timm/resnet10t"), (0.5,) * 5, (0.2,) * 5, 0, 32, True, images=BANDS5)


class Colours(Backbone):
    """A backbone without an option for the number of channels."""


class Zoo:
    @hookimpl
    def register_backbones(self, register: Register) -> None:
        register("colours", Colours)


def test_a_backbone_that_knows_of_no_channels_is_refused_for_other_images() -> None:
    registry = load_registry()
    registry.add(Zoo(), "zoo", "1")
    with pytest.raises(ConfigError, match="'colours' accepts only images with 3 channels, but these have 5.*rgb8"):
        build_encoder(registry, Choice(name="colours"), (0.4,) * 5, (0.2,) * 5, 0, 32, images=BANDS5)


@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("name", TASKS)
def test_tasks_learn_from_and_predict_for_images_of_any_number_of_channels(name: str, channels: int) -> None:
    chosen = encoder(channels, **(VIT if name == "mae" else {}))
    recipe = Recipe.model_validate({"name": "x", "pretext_task": {"name": name, **TASKS[name]}})
    task = build_task(REGISTRY, recipe, chosen, 0, 32)
    random = torch.Generator().manual_seed(0)
    views = {
        kind: torch.rand(6, count, channels, 32, 32, generator=random) for kind, count in task.views.counts.items()
    }
    if task.uniforms:
        views[UNIFORMS] = torch.rand(6, task.uniforms, generator=random)
    loss = task.compare(task(views), make_step(len(next(iter(views.values()))))).loss
    loss.backward()
    assert loss.isfinite()
    first = next(module for module in task.encoder.modules() if isinstance(module, torch.nn.Conv2d))
    assert first.weight.grad is not None
    assert (first.weight.grad.abs().amax(dim=(0, 2, 3)) > 0).all()  # every channel matters
    with torch.no_grad():
        assert len(task.eval().predict(torch.rand(2, channels, 32, 32))) == 2


@pytest.mark.parametrize("name", ["masked", "masked_tokens", "mae", "denoise"])
def test_pictures_are_drawn_of_many_bands(name: str, tmp_path: Path) -> None:
    chosen = encoder(5, **(VIT if name == "mae" else {}))
    recipe = Recipe.model_validate({"name": "x", "pretext_task": {"name": name, **TASKS[name]}})
    task = build_task(REGISTRY, recipe, chosen, 0, 32).eval()
    views = {task.views.main: torch.rand(2, 1, 5, 32, 32), UNIFORMS: torch.rand(2, task.uniforms)}
    with torch.no_grad():
        task.draw(views, tmp_path)
    (picture,) = tmp_path.iterdir()
    with Image.open(picture) as image:
        assert min(image.size) > 100


def test_colorization_is_refused_for_images_without_colours() -> None:
    recipe = Recipe.model_validate({"name": "x", "pretext_task": {"name": "colorization"}})
    with pytest.raises(ConfigError, match="'colorization' learns from red, green and blue.*5 bands of float32"):
        build_task(REGISTRY, recipe, encoder(), 0, 32)
