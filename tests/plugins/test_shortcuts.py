"""Images that contain only a shortcut: a task stays at chance with its guard against it, and not without.

Each step and the evaluation use new images. If nothing can be known, the share of correct answers is within 4 standard
deviations of chance. For jigsaw this deviation is that of a binomial with one question per image. For relative patch it
is at most that of a binomial with eight questions: given the middle tile, the other tiles of an image are independent
and equally distributed, so that any answer is right in one of eight cases on average, and right answers exclude each
other.
"""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.augment.views import ViewMaker
from ssl_pipeline.parts import tiles
from ssl_pipeline.parts.tiles import Tiling
from ssl_pipeline.testing.material import encoder_on, small_encoder
from ssl_pipeline.types import PretextTask
from ssl_pipeline_plugins.pretext.jigsaw import Jigsaw
from ssl_pipeline_plugins.pretext.relative_patch import RelativePatch
from tests.plugins.shortcuts import Pixels, accuracy, deviation

Name = Literal["jigsaw", "relative_patch"]
IMAGES, PERMUTATIONS = 2000, 4
SIZE: dict[Name, int] = {"jigsaw": 18, "relative_patch": 26}  # px; tiles with gaps fit into cells without
COUNT: dict[Name, int] = {"jigsaw": 2, "relative_patch": 3}  # n x n tiles
CHANCE: dict[Name, float] = {"jigsaw": 1 / PERMUTATIONS, "relative_patch": 1 / 8}
SIGMA: dict[Name, float] = {"jigsaw": deviation(PERMUTATIONS, IMAGES), "relative_patch": deviation(8, 8 * IMAGES)}


def make(name: Name, small: bool = False, **options: Any) -> PretextTask:
    """Build the task on an encoder that hides nothing, or on a small one that has to find the shortcut itself."""
    shares = {"gap": 0.25, "jitter": 0.125, **options}
    side = Tiling(SIZE[name], count=COUNT[name], gap=shares["gap"], jitter=shares["jitter"], channels="one").side
    torch.manual_seed(0)
    encoder = small_encoder(0) if small else encoder_on(Pixels(side))
    if name == "jigsaw":
        return Jigsaw(encoder, SIZE[name], tiles=2, permutations=PERMUTATIONS, **options)
    return RelativePatch(encoder, SIZE[name], **options)


def noise(name: Name, count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, 1, SIZE[name], SIZE[name], generator=generator).repeat(1, 3, 1, 1)


def cells(name: Name) -> list[slice]:
    """Return the rows, which are also the columns, of the cells of a grid without gaps."""
    tiling = Tiling(SIZE[name], count=COUNT[name], gap=0.0, jitter=0.0, channels="one")
    return [slice(start, start + tiling.side) for start in tiling.corners[: tiling.count, 1].tolist()]


def edges(name: Name, count: int, generator: torch.Generator) -> Tensor:
    """Return black and white noise in which the pixels on both sides of an edge between cells are equal."""
    images = noise(name, count, generator).round()
    for cell in cells(name)[1:]:
        images[..., cell.start] = images[..., cell.start - 1]
        images[..., cell.start, :] = images[..., cell.start - 1, :]
    return images


def aberration(name: Name, count: int, generator: torch.Generator) -> Tensor:
    """Return random dots; in green they are shifted outwards by 1 px, and wrap around within their cell."""
    images = (noise(name, count, generator) < 0.1).float()
    middle = (COUNT[name] - 1) / 2
    for (row, rows), (column, columns) in itertools.product(enumerate(cells(name)), repeat=2):
        outwards = [int(place > middle) - int(place < middle) for place in (row, column)]
        images[:, 1, rows, columns] = images[:, 1, rows, columns].roll(outwards, dims=(1, 2))
    return images


def brightness(name: Name, count: int, generator: torch.Generator) -> Tensor:
    """Return noise that is darker and weaker from one cell to the next."""
    images = noise(name, count, generator)
    for (row, rows), (column, columns) in itertools.product(enumerate(cells(name)), repeat=2):
        images[:, :, rows, columns] *= 0.9 - 0.2 * row - 0.07 * column
    return images


def share(name: Name, images: Callable[..., Tensor], task: PretextTask, steps: int = 150) -> float:
    return accuracy(task, partial(images, name), steps, count=IMAGES)


@pytest.mark.parametrize("name", COUNT)
@pytest.mark.parametrize(
    ("images", "unguarded"),
    [(edges, {"gap": 0.0, "jitter": 0.0}), (aberration, {"channels": "all"}), (brightness, {})],
)
def test_a_shortcut_is_of_no_use_with_its_guard_and_of_much_without(
    name: Name, images: Callable[..., Tensor], unguarded: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    assert share(name, images, make(name)) == pytest.approx(CHANCE[name], abs=4 * SIGMA[name])
    if images is brightness:
        monkeypatch.setattr(tiles, "standardised", lambda tiles, encoder: tiles)
    assert share(name, images, make(name, **unguarded)) > 2 * CHANCE[name]


BLUR = {"gaussian_blur": {"p": 1.0, "sigma": [0.8, 0.8]}}
CROP = {"random_resized_crop": {"p": 1.0, "scale": [0.7, 1.0], "ratio": [0.85, 1.18]}}
TURN = {"rotation": {"p": 1.0, "degrees": 45}}


def views(size: int, operations: dict[str, Any], count: int, generator: torch.Generator) -> Tensor:
    """Return views that the pipeline makes of canvases of their size: white noise of black and white pixels."""
    maker = ViewMaker(Policy.model_validate({"size": size, **operations}))
    canvases = 255 * torch.randint(0, 2, (count, size, size, 3), generator=generator, dtype=torch.uint8)
    return maker(canvases, torch.rand(count, maker.parameter_count, generator=generator))


@pytest.mark.parametrize("name", COUNT)
def test_tiles_of_views_show_no_trace_of_borders_or_resampling(name: Name, monkeypatch: pytest.MonkeyPatch):
    """Blur differs at the border of a view, and that of a rotation, which the tasks refuse, depends on the position."""

    def found(operations: dict[str, Any]) -> float:
        task = make(name, small=name == "jigsaw")  # the encoder that finds more
        return accuracy(task, partial(views, SIZE[name], operations), 150, count=IMAGES)

    assert found(CROP | BLUR) == pytest.approx(CHANCE[name], abs=4 * SIGMA[name])
    assert found(TURN) > CHANCE[name] + 6 * SIGMA[name]
    monkeypatch.setattr(tiles, "_BORDER_WIDTH", 0)
    assert found(CROP | BLUR) > CHANCE[name] + 6 * SIGMA[name]
