"""`Views` makes the same views as training, whatever the batch, and works in a DataLoader."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import ssl_pipeline
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.augment.views import make_views
from ssl_pipeline.errors import ConfigError
from tests.factories import digit_images

POLICY = {"size": 8, "random_resized_crop": {"p": 1.0, "scale": [0.5, 1.0], "ratio": [0.8, 1.25]}}


class Digits(Dataset[tuple[torch.Tensor, int]]):
    """Digits as Pillow images with a transform, like the data sets of torchvision."""

    def __init__(self, transform: ssl_pipeline.Views):
        self.images, self.transform = digit_images(12), transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[row])), row


def test_views_are_those_that_training_makes():
    images, ids = torch.from_numpy(digit_images(6)), np.arange(6, dtype=np.uint64)
    views = ssl_pipeline.Views(POLICY, count=3, seed=5)
    views.set_epoch(2)
    expected = make_views({"global": Policy.model_validate(POLICY)}, {"global": 3}, images, ids, 5, 2)["global"]
    assert torch.equal(views(images, ids), expected)
    assert torch.equal(views(images, torch.arange(6)), expected)


def test_views_of_an_image_depend_on_seed_epoch_and_image_alone():
    images, views = digit_images(6), ssl_pipeline.Views(POLICY)
    made = views(images)
    assert made.shape == (6, 2, 3, 8, 8)
    assert torch.equal(views(images[3]), made[3])
    assert torch.equal(views(Image.fromarray(images[3])), made[3])
    assert torch.equal(views(torch.from_numpy(images[::-1].copy())), made.flip(0))
    assert not torch.equal(ssl_pipeline.Views(POLICY, seed=1)(images), made)
    views.set_epoch(1)
    assert not torch.equal(views(images), made)


def test_a_data_loader_stacks_views_whatever_its_workers():
    views = ssl_pipeline.Views(POLICY)
    expected = views(digit_images(12))
    for workers in (0, 2):
        batches = list(DataLoader(Digits(views), batch_size=5, num_workers=workers))
        assert torch.equal(torch.cat([made for made, _ in batches]), expected)
        assert [len(rows) for _, rows in batches] == [5, 5, 2]


def test_of_an_oblong_image_the_centred_square_is_seen():
    image = digit_images(1)[0]
    wide = np.pad(image, ((0, 0), (3, 3), (0, 0)), constant_values=255)
    views, ids = ssl_pipeline.Views(POLICY), np.array([1], np.uint64)
    assert torch.equal(views(wide[None], ids), views(image[None], ids))


def test_a_recipe_says_which_views_and_how_many():
    images = digit_images(2)
    assert ssl_pipeline.Views("simclr")(images).shape == (2, 2, 3, 32, 32)
    assert ssl_pipeline.Views("rotation").count == 1
    assert ssl_pipeline.Views("simclr", kind="plain").policy != ssl_pipeline.Views("simclr").policy
    assert ssl_pipeline.Views("simclr", recipe_size="paper").policy.size == 224
    with pytest.raises(ConfigError, match=r"recipe 'simclr' in the size 'small' has no views of kind 'tiles' \(it has"):
        ssl_pipeline.Views("simclr", kind="tiles")
    with pytest.raises(ConfigError, match="unknown name 'simclear'. Did you mean 'simclr'"):
        ssl_pipeline.Views("simclear")


def test_grey_images_lose_the_colours_of_a_recipe_and_refuse_those_that_are_asked_for():
    grey = digit_images(2)[..., :1]
    assert ssl_pipeline.Views("simclr")(grey).shape == (2, 2, 1, 32, 32)
    with pytest.raises(ConfigError, match="grayscale: images with 1 channels have no red, green and blue"):
        ssl_pipeline.Views({**POLICY, "grayscale": {"p": 0.5}})(grey)


def test_operations_of_plugins_and_lists_of_policies_are_views_too():
    erased = ssl_pipeline.Views([POLICY, {**POLICY, "random_erasing": {"p": 1.0}}])(digit_images(3))
    plain = ssl_pipeline.Views(POLICY)(digit_images(3))
    assert torch.equal(erased[:, 0], plain[:, 0])
    assert not torch.equal(erased[:, 1], plain[:, 1])


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"size": 8, "horizontal_flipp": {"p": 1.0}}, "horizontal_flip"),
        ({"size": 8, "horizontal_flip": {"p": 2.0}}, "policy: horizontal_flip.p: 2.0 is too large"),
        ({}, "policy: size: missing"),
        ([], "policy: must be a policy, or a list of policies"),
    ],
)
def test_a_policy_that_is_none_is_told_as_in_params_yaml(policy: Any, message: str):
    with pytest.raises(ConfigError, match=message):
        ssl_pipeline.Views(policy)


@pytest.mark.parametrize(
    "images", [np.zeros((2, 8, 8, 3)), torch.zeros(2, 3, 8, 8, dtype=torch.uint8), np.zeros(3, np.uint8), "photo.png"]
)
def test_what_is_no_batch_of_images_is_told(images: Any):
    with pytest.raises(ValueError, match=r"images must (be uint8 \(N, H, W, C\)|have their channels last)"):
        ssl_pipeline.Views(POLICY)(images)
    with pytest.raises(ValueError, match=r"ids must have shape \(2,\)"):
        ssl_pipeline.Views(POLICY)(digit_images(2), np.arange(3))
