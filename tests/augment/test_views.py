"""Views are pure functions of an image and hashed numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as reference

from ssl_pipeline.augment.policy import Operation, Policies, Policy, read_policies
from ssl_pipeline.augment.preview import write_preview
from ssl_pipeline.augment.views import PARAMETERS, ViewMaker, make_views
from ssl_pipeline.data.writer import write_split
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import record, write_product
from ssl_pipeline.randomness import normals, uniforms

EVERYTHING = Policy.model_validate(
    {
        "size": 20,
        "random_resized_crop": {"p": 0.9, "scale": [0.2, 1.0], "ratio": [0.75, 1.333]},
        "horizontal_flip": {"p": 0.5},
        "vertical_flip": {"p": 0.5},
        "rotation": {"p": 0.5, "degrees": 20},
        "color_jitter": {"p": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
        "grayscale": {"p": 0.2},
        "gaussian_blur": {"p": 0.5, "sigma": [0.1, 2.0]},
        "solarize": {"p": 0.2, "threshold": 0.5},
        "gaussian_noise": {"p": 0.5, "std": 0.05},
    }
)
IDS = np.arange(12, dtype=np.uint64) * np.uint64(977)


def only(size: int = 48, **operations: Any) -> Policy:
    return Policy.model_validate({"size": size, **operations})


def drawn(**values: float) -> Tensor:
    """Return numbers for 12 samples: 0.5 except for the named parameters (double underscores for dots)."""
    numbers = torch.full((12, len(PARAMETERS)), 0.5)
    for name, value in values.items():
        numbers[:, PARAMETERS.index(name.replace("__", "."))] = value
    return numbers


def views(canvases: Tensor, ids: Any = IDS, policy: Policy = EVERYTHING, seed: int = 0, epoch: int = 0) -> Tensor:
    return make_views({"global": policy}, {"global": 2}, canvases, ids, seed, epoch)["global"]


@pytest.mark.parametrize("size", [20, 200])  # at 200 px a single image is enough for torch to split sums among threads
def test_a_sample_s_views_depend_neither_on_its_batch_nor_on_threads(canvases: Tensor, size: int):
    policy = EVERYTHING.model_copy(update={"size": size})
    before, made = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            made.append(views(canvases, policy=policy))
            for chosen in ([0], [5, 2], [11, 0, 3, 7, 4]):
                assert torch.equal(views(canvases[chosen], IDS[chosen], policy), made[0][chosen])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*made)


def test_views_do_not_depend_on_chunks(canvases: Tensor, monkeypatch: pytest.MonkeyPatch):
    whole = views(canvases)
    monkeypatch.setattr("ssl_pipeline.augment.maker.CHUNK_VALUES", 5 * 3 * 48**2)  # chunks of 5, 5 and 2
    assert torch.equal(views(canvases), whole)


def test_mixed_precision_does_not_reach_views(canvases: Tensor):
    whole = views(canvases)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(views(canvases), whole)


def test_make_views_is_the_module_on_hashed_numbers(canvases: Tensor):
    numbers = (uniforms(3, 2, IDS, "global/1", len(PARAMETERS)), normals(3, 2, IDS, "global/1", (3, 20, 20)))
    expected = ViewMaker(EVERYTHING)(canvases, *map(torch.from_numpy, numbers))
    assert torch.equal(views(canvases, seed=3, epoch=2)[:, 1], expected)


def test_seed_epoch_sample_and_view_all_matter(canvases: Tensor):
    base = views(canvases)
    assert torch.equal(views(canvases), base)
    assert base.shape == (12, 2, 3, 20, 20)
    assert 0 <= base.min() <= base.max() <= 1
    for other in (views(canvases, seed=1), views(canvases, epoch=1), views(canvases, IDS + np.uint64(1)), base.flip(1)):
        assert ((other - base).abs().amax(dim=(1, 2, 3, 4)) > 0.05).all()


def test_turning_an_operation_off_leaves_the_others_numbers(canvases: Tensor):
    crop = {"p": 1.0, "scale": [0.2, 0.5], "ratio": [1.0, 1.0]}
    with_grey = views(canvases, policy=only(random_resized_crop=crop, grayscale={"p": 1.0}))
    without = views(canvases, policy=only(random_resized_crop=crop))
    expected = reference.rgb_to_grayscale(without.flatten(0, 1), num_output_channels=3).unflatten(0, (12, 2))
    assert (with_grey - expected).abs().max() < 1e-3


@pytest.mark.parametrize(
    ("scale", "ratio", "height", "width"),
    [
        (0.25, 1.0, 24, 24),  # half of 48 px on each side
        (0.25, 4.0, 12, 48),  # ratio is width / height
        (0.25, 0.25, 48, 12),
        (1.0, 4.0, 24, 48),  # would be 96 px wide on a larger canvas
    ],
)
def test_a_crop_keeps_the_area_and_the_ratio_that_were_drawn(
    canvases: Tensor, scale: float, ratio: float, height: int, width: int
):
    policy = only(24, random_resized_crop={"p": 1.0, "scale": [scale, scale], "ratio": [ratio, ratio]})
    found = ViewMaker(policy)(canvases, drawn(random_resized_crop__top=0.5, random_resized_crop__left=0.0))
    pixels = canvases.permute(0, 3, 1, 2).float() / 255
    expected = reference.resized_crop(pixels, (48 - height) // 2, 0, height, width, [24, 24], antialias=True)
    assert (found - expected).abs().max() < 1e-5


@pytest.mark.parametrize(("name", "axis"), [("horizontal_flip", 3), ("vertical_flip", 2)])
def test_flips_flip_those_whose_number_is_below_p(canvases: Tensor, name: str, axis: int):
    maker = ViewMaker(only(**{name: {"p": 0.5}}))
    plain = canvases.permute(0, 3, 1, 2) / 255
    assert torch.equal(maker(canvases, drawn(**{name: 0.5})), plain)
    assert torch.equal(maker(canvases, drawn(**{name: 0.49})), plain.flip(axis))


def test_an_empty_policy_only_resizes(canvases: Tensor):
    assert torch.equal(ViewMaker(only())(canvases, drawn()), canvases.permute(0, 3, 1, 2) / 255)


def test_a_view_may_be_larger_than_its_canvas(canvases: Tensor):
    pixels = canvases.permute(0, 3, 1, 2).float() / 255
    expected = reference.resize(pixels, [100, 100], antialias=True)
    assert (ViewMaker(only(100))(canvases, drawn()) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("name", [name for name, value in EVERYTHING if isinstance(value, Operation)])
def test_a_view_that_is_not_chosen_keeps_every_bit(canvases: Tensor, name: str):
    small = canvases[:, :28, :28]  # 28 is not a power of two, so a rotation by 0 degrees would not be exact
    options = getattr(EVERYTHING, name).model_dump() | {"p": 0.5}
    maker, noise = ViewMaker(only(28, **{name: options})), torch.ones(12, 3, 28, 28)
    plain = small.permute(0, 3, 1, 2) / 255
    number = torch.where(torch.arange(12) % 2 == 0, 0.49, 0.5)
    numbers = torch.full((12, len(PARAMETERS)), 0.3)
    numbers[:, PARAMETERS.index(name)] = number
    found = maker(small, numbers, noise)
    assert torch.equal(found[1::2], plain[1::2])
    changed = (found - plain)[::2].abs().amax(dim=(1, 2, 3))
    assert (changed[:5] > 1e-3).all()  # the photographs change, even their skies; a digit may look the same


def test_operations_follow_each_other_in_the_policy_s_order(canvases: Tensor):
    jitter = {"p": 1.0, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
    policy = only(
        random_resized_crop={"p": 1.0, "scale": [0.25, 0.25], "ratio": [1.0, 1.0]},
        color_jitter=jitter,
        gaussian_blur={"p": 1.0, "sigma": [1.0, 1.0]},
        solarize={"p": 1.0, "threshold": 0.5},
    )
    numbers = drawn(color_jitter__brightness=0.9, color_jitter__contrast=0.2, color_jitter__saturation=0.8)
    numbers[:, PARAMETERS.index("color_jitter.hue")] = 0.9
    expected = canvases.permute(0, 3, 1, 2).float() / 255
    expected = reference.resized_crop(expected, 12, 12, 24, 24, [48, 48], antialias=True)
    expected = reference.adjust_brightness(expected, 1 + 0.4 * 0.8)
    expected = reference.adjust_contrast(expected, 1 - 0.4 * 0.6)
    expected = reference.adjust_saturation(expected, 1 + 0.4 * 0.6)
    expected = reference.adjust_hue(expected, 0.1 * 0.8)
    expected = reference.solarize(reference.gaussian_blur(expected, [7, 7], [1.0, 1.0]), 0.5)
    assert (ViewMaker(policy)(canvases, numbers) - expected).abs().max() < 1e-3


def test_the_preview_shows_the_image_first_and_then_its_views(canvases: Tensor, tmp_path: Path):
    write_split(tmp_path / "store" / "train", IDS, [canvases.numpy()], 48)
    write_preview(tmp_path / "store", {"global": EVERYTHING, "same": only()}, 0, tmp_path / "preview.png")
    sheet = np.asarray(Image.open(tmp_path / "preview.png"))
    assert sheet.shape == (16 + 12 * 100, 13 * 100 + 12, 3)
    first = canvases[0].numpy().repeat(2, 0).repeat(2, 1)
    assert np.array_equal(sheet[16:112, 4:100], first)
    left = 12 + 7 * 100
    assert np.array_equal(sheet[16:112, left : left + 96], first)  # this view changes nothing


def test_pictures_of_the_preview_fill_their_cells_whatever_their_sizes(tmp_path: Path):
    white = np.full((12, 72, 72, 3), 255, np.uint8)
    write_split(tmp_path / "store" / "train", IDS[:12], [white], 72)
    kinds = {"global": Policy(size=64), "local": Policy(size=28)}
    write_preview(tmp_path / "store", kinds, 0, tmp_path / "preview.png")
    sheet = np.asarray(Image.open(tmp_path / "preview.png"))[16:]
    filled = (sheet == 255).all(axis=2)
    assert filled.mean() == pytest.approx((128 / 132) ** 2, abs=0.01)  # views of 64 px are doubled, with gaps of 4 px


def test_policies_come_back_and_damage_is_told(tmp_path: Path):
    policies = Policies(seed=4, views={"global": EVERYTHING})
    path = tmp_path / "policy.json"
    write_product(path, policies.model_dump(mode="json"))
    assert read_policies(path) == policies
    path.write_text('{"canvas": 3}')
    for _ in range(2):
        with pytest.raises(PipelineError, match=r"is damaged(?s:.*)dvc repro --force augment"):
            read_policies(path)
        record(path)  # content of another version with a matching digest


BLURRED = {"size": 20, "horizontal_flip": {"p": 0.5}, "gaussian_blur": {"p": 1.0, "sigma": [0.1, 2.0]}}
INVERTED = {"size": 20, "horizontal_flip": {"p": 0.5}, "solarize": {"p": 1.0, "threshold": 0.5}}


def test_each_view_of_an_image_can_have_a_policy_of_its_own(canvases: Tensor):
    """BYOL's two views do, for example. The numbers of a view are the same as under one policy for all views."""
    both = Policy.model_validate([BLURRED, INVERTED])
    made = views(canvases, policy=both)
    assert torch.equal(made[:, 0], views(canvases, policy=Policy.model_validate(BLURRED))[:, 0])
    assert torch.equal(made[:, 1], views(canvases, policy=Policy.model_validate(INVERTED))[:, 1])
    assert not torch.equal(made[:, 0], made[:, 1])
    assert both.active() == {"horizontal_flip", "gaussian_blur", "solarize"}
    assert Policy.model_validate_json(both.model_dump_json()) == both
    more = make_views({"global": both}, {"global": 3}, canvases, IDS, 0, 0)["global"]
    assert torch.equal(more[:, :2], made)
    third = make_views({"global": Policy.model_validate(BLURRED)}, {"global": 3}, canvases, IDS, 0, 0)["global"][:, 2]
    assert torch.equal(more[:, 2], third)


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ([], "must be a policy, or a list of policies, one for each view"),
        ([3], "must be a policy, or a list of policies, one for each view"),
        ([BLURRED, {**INVERTED, "size": 16}], "all views of a kind have one size, got 20 and 16 px"),
        ([BLURRED, {**INVERTED, "further": [BLURRED]}], "a policy in a list of policies must not be a list"),
        ([BLURRED, {**INVERTED, "solarise": {}}], r"(?s)further.0.solarise.*Extra inputs"),
    ],
)
def test_a_list_of_policies_that_is_not_well_formed_is_refused(listed: Any, message: str):
    with pytest.raises(ValueError, match=message):
        Policy.model_validate(listed)
