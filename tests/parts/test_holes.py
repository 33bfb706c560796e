"""Tasks that fill in holes: what the encoder sees, what it has to predict, and that nothing leaks the answer."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ssl_pipeline.artifacts.assembly import build_encoder, build_task
from ssl_pipeline.config import Choice
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.loading import load_registry
from ssl_pipeline.parts.holes import Holes, hide, join, patches
from ssl_pipeline.recipes import Recipe
from ssl_pipeline.testing.material import make_step
from ssl_pipeline.types import UNIFORMS, PretextTask
from ssl_pipeline_plugins.pretext.mae import sinusoids

REGISTRY = load_registry()
RESNET = Choice(name="resnet_cifar", depth=8, width=8)
VIT = Choice(name="timm/test_vit", patch_size=4)
OPTIONS = {
    "masked": {"mask_size": 4},
    "mae": {"width": 32, "depth": 1, "heads": 2},
    "masked_tokens": {"words": 8, "patch_size": 4, "mask_size": 4, "momentum": 0.9},
}


def make(name: str, backbone: Choice | None = None, size: int = 16, **options: object) -> PretextTask:
    chosen = backbone or (VIT if name == "mae" else RESNET)
    encoder = build_encoder(REGISTRY, chosen, (0.5, 0.4, 0.3), (0.3, 0.25, 0.2), 0, size)
    recipe = Recipe(name="r", pretext_task=Choice(name=name, **{**OPTIONS.get(name, {}), **options}))
    return build_task(REGISTRY, recipe, encoder, 0, size)


def random_batch(task: PretextTask, seed: int, count: int = 4) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 1, 3, 16, 16, generator=generator)
    return {"plain": images, UNIFORMS: torch.rand(count, task.uniforms, generator=generator)}


def test_patches_are_cut_row_by_row_and_joined_again():
    images = torch.rand(2, 3, 8, 8)
    cut = patches(images, 4)
    assert cut.shape == (2, 4, 48)
    assert torch.equal(cut[1, 2], images[1, :, 4:, :4].flatten())
    assert torch.equal(join(cut, 4, 3), images)


def test_the_same_number_is_hidden_in_each_image_and_each_patch_as_often():
    numbers = torch.rand(4000, 16, generator=torch.Generator().manual_seed(0))
    shown, hidden = hide(numbers, 0.6)
    assert shown.shape == (4000, 6)
    assert hidden.shape == (4000, 10)
    assert torch.equal(torch.cat([shown, hidden], dim=1).sort(dim=1).values, torch.arange(16).expand(4000, -1))
    often = torch.bincount(hidden.flatten(), minlength=16) / 4000
    assert (often - 10 / 16).abs().max() < 4 * math.sqrt(0.625 * 0.375 / 4000)  # 4 standard deviations
    assert hide(numbers, 0.999)[0].shape == (4000, 1)  # at least one patch is visible


def test_holes_cover_whole_patches_and_nothing_else():
    encoder = build_encoder(REGISTRY, RESNET, (0.5,) * 3, (0.3,) * 3, 0, 16)
    holes = Holes(encoder, 16, 4, 0.6)
    images, numbers = torch.rand(3, 3, 16, 16), torch.rand(3, 16)
    holed, where = holes(images, numbers)
    for image in range(3):
        for place in range(16):
            rows, columns = (slice(4 * number, 4 * number + 4) for number in divmod(place, 4))
            is_hidden = place in hide(numbers, 0.6)[1][image]
            wanted = holes.token[0] if is_hidden else images[image, :, rows, columns]
            assert torch.equal(holed[image, :, rows, columns], wanted)
            assert bool((where[image, 0, rows, columns] == is_hidden).all())


def test_masked_is_the_mean_absolute_error_of_normalised_hidden_pixels():
    task = make("masked").eval()
    batch = random_batch(task, 0)
    with torch.no_grad():
        found = task.compare(task(batch), make_step())
        holed, where = task.holes(batch["plain"][:, 0], batch[UNIFORMS])
        guess = task.head(task.encoder.maps(holed)[-1]).double().numpy()
    target = (batch["plain"][:, 0].double() - task.encoder.mean) / task.encoder.std
    hidden = where.expand(-1, 3, -1, -1).numpy()
    errors = [np.abs(guess[i] - target[i].numpy())[hidden[i]].mean() for i in range(4)]
    assert found.loss.item() == pytest.approx(np.mean(errors), rel=1e-5)
    means = [[target[i, c].numpy()[hidden[i, c]].mean() for c in range(3)] for i in range(4)]
    of_mean = [
        np.mean([np.abs(target[i, c].numpy()[hidden[i, c]] - means[i][c]).mean() for c in range(3)]) for i in range(4)
    ]
    assert found.metrics["explained"].item() == pytest.approx(1 - np.mean(errors) / np.mean(of_mean), rel=1e-4)


def test_mae_is_the_squared_error_of_hidden_patches_each_normalised():
    task = make("mae").eval()
    batch = random_batch(task, 1)
    shown, hidden = hide(batch[UNIFORMS], 0.75)
    with torch.no_grad():
        found = task.compare(task(batch), make_step()).loss.item()
        guess = task._guess(batch["plain"][:, 0], shown).double().numpy()
    errors = []
    for image in range(4):
        for place in hidden[image].tolist():
            row, column = divmod(place, 4)
            patch = batch["plain"][image, 0, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].double().numpy()
            normalised = (patch - patch.mean()) / np.sqrt(patch.var(ddof=1) + 1e-6)
            errors.append(((guess[image, place] - normalised.flatten()) ** 2).mean())
    assert found == pytest.approx(np.mean(errors), rel=1e-5)


def test_mae_s_encoder_sees_nothing_of_hidden_patches():
    task = make("mae").eval()
    batch = random_batch(task, 2)
    shown, hidden = hide(batch[UNIFORMS], 0.75)
    images = batch["plain"][:, 0]
    cut = patches(images, 4)

    def changed(numbers: Tensor) -> Tensor:
        with torch.no_grad():
            others = join(cut.scatter(1, numbers[..., None].expand(-1, -1, 48), 0.9), 4, 3)
            return task._guess(others, shown) - task._guess(images, shown)

    assert not changed(hidden).any()
    assert changed(shown[:, :1]).any()


def test_places_are_sines_and_cosines_of_rows_and_columns():
    found = sinusoids(3, 8)
    for place in range(9):
        wanted = []
        for number in divmod(place, 3):
            angles = [number / 10_000 ** (index / 2) for index in range(2)]
            wanted += [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]
        assert found[0, place].tolist() == pytest.approx(wanted, abs=1e-6)


def independent(seed: int, count: int = 32) -> Tensor:
    """Return images (N, 1, 3, 16, 16) of 16 patches, each drawn independently from four patterns.

    The patterns are two random ones and their negatives, so that the best constant guess is grey.
    """
    two = torch.rand(2, 48, generator=torch.Generator().manual_seed(99))
    patterns = torch.cat([two, 1 - two])
    chosen = torch.randint(4, (count, 16), generator=torch.Generator().manual_seed(seed))
    return join(patterns[chosen], 4, 3)[:, None]


def after_training(task: PretextTask, figure: str, steps: int = 60) -> float:
    """Train a task, and return a figure of it on fresh images."""
    task.train()
    optimizer = torch.optim.AdamW(task.parameters(), lr=3e-3)
    for step in range(steps + 1):
        numbers = torch.rand(32, task.uniforms, generator=torch.Generator().manual_seed(1000 + step))
        output = task.compare(task({"plain": independent(step), UNIFORMS: numbers}), make_step())
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        task.after_step(make_step(number=step, total=steps), output.kept)
    return output.metrics[figure].item()  # of the last batch, before the optimizer step on it


@pytest.mark.parametrize("name", ["masked", "mae"])
def test_nothing_is_explained_where_patches_say_nothing_of_each_other(name: str):
    assert after_training(make(name), "explained") < 0.02


def test_tokens_stay_at_chance_where_patches_say_nothing_of_each_other():
    # 192 hidden patches of four patterns, whose frequencies vary by chance: allow 3 standard deviations
    assert after_training(make("masked_tokens"), "pretext_accuracy") < 0.25 + 3 * math.sqrt(0.25 * 0.75 / 192)


@pytest.mark.parametrize(
    ("name", "figure", "least"), [("masked", "explained", 0.3), ("masked_tokens", "pretext_accuracy", 0.9)]
)
def test_these_tests_would_see_a_hole_that_leaks(name: str, figure: str, least: float, monkeypatch):
    monkeypatch.setattr(Holes, "_cut", lambda self, images, where: images + 0 * self.token.sum())
    assert after_training(make(name), figure) > least


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("masked", {"mask_size": 5}, "mask_size must divide the views' 16 px into 2 or more patches per side, got 5"),
        ("masked", {"ratio": 1.0}, "ratio must lie between 0 and 1, got 1.0"),
        ("mae", {"ratio": 0.0}, "ratio must lie between 0 and 1, got 0.0"),
        ("mae", {"heads": 3}, "width must be a multiple of heads and of 4, got 32 and 3"),
        ("masked_tokens", {"patch_size": 3}, "patch_size must divide mask_size, 4 px, got 3"),
        ("masked_tokens", {"words": 1}, "words must be at least 2, got 1"),
        ("masked_tokens", {"momentum": 1.0}, "momentum must lie in"),
        ("denoise", {"noise": 0.0}, "noise must be greater than 0, got 0.0"),
        ("denoise", {"clean": 1.0}, "clean must lie in"),
    ],
)
def test_options_that_make_no_sense_are_refused(name: str, options: dict[str, object], words: str):
    with pytest.raises(ConfigError, match=words):
        make(name, **options)


def test_a_backbone_that_cannot_serve_is_refused_with_those_that_can():
    with pytest.raises(ConfigError, match=r"'mae' needs a backbone that can process a subset .*timm/vit_tiny"):
        make("mae", RESNET)
    with pytest.raises(ConfigError, match=r"'masked' needs feature maps.*resnet_cifar; .*timm/resnet18"):
        make("masked", Choice(name="torchvision/mobilenet_v3_small"), 32)


def test_maps_that_do_not_fit_the_views_are_refused():
    with pytest.raises(
        ConfigError, match="the backbone's last maps have 5 places per side, which cannot be divided or grouped into 18"
    ):
        make("masked", size=18, mask_size=6)


@pytest.mark.parametrize(
    ("name", "picture"), [("masked", "holes.png"), ("mae", "holes.png"), ("denoise", "corrected.png")]
)
def test_a_task_draws_what_it_has_learned(name: str, picture: str, tmp_path):
    from PIL import Image

    task = make(name).eval()
    batch = random_batch(task, 0)
    with torch.no_grad():
        task.draw(batch, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [picture]
    drawn = np.asarray(Image.open(tmp_path / picture))
    assert drawn.shape == (4 * 100 + 4, 3 * 100 + 4, 3)
    original = (batch["plain"][0, 0] * 255).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(drawn[4:100:6, 204:300:6], original)  # 6 px per original pixel; the last of three columns
