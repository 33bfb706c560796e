"""Progressive resolution: small views first, which are the same views with fewer pixels, bit by bit after a kill."""

from inspect import signature

import numpy as np
import pytest
import torch
from torch import nn

from ssl_pipeline.artifacts.assembly import build_encoder
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.augment.views import make_views
from ssl_pipeline.config import Choice
from ssl_pipeline.data.framing import Framing
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.loading import load_registry
from ssl_pipeline.provenance.fingerprint import shaping
from ssl_pipeline.recipes import resolve
from ssl_pipeline.training import preparation
from ssl_pipeline.training.embedding_watch import EmbeddingWatch
from ssl_pipeline.training.sizes import multiples_near, refusal
from ssl_pipeline.training.view_sizes import ViewSizes, check_resolution, sides_over_time
from tests.training.conftest import stopping
from tests.training.test_pretraining import same_bits

HALF = [[0, 0.5], [0.5, 1.0]]
REGISTRY = load_registry()


@pytest.fixture
def larger(policies):
    """The policies with views of 16 px, half of which is 8 px, and with local views of 8 px."""
    blur = {"gaussian_blur": {"p": 0.5, "sigma": [0.5, 1.0]}}
    changed = {kind: policy.model_copy(update={"size": 2 * policy.size}) for kind, policy in policies.items()}
    return changed | {"global": Policy.model_validate(changed["global"].model_dump() | blur)}


@pytest.fixture
def built(configure, pool, larger):
    """Return a function of values of `pretrain` that builds a task on the larger views."""

    def go(**values):
        config = configure(**values)
        return preparation.build(REGISTRY, resolve(REGISTRY, config), config, pool, larger), config

    return go


def test_all_kinds_of_views_shrink_and_what_is_measured_in_pixels_with_them(built, larger):
    task, config = built(pretext_task={"local_views": 2}, resolution=[[0, 0.5], [0.6, 0.75], [0.85, 1.0]])
    sizes = ViewSizes.of(task, larger, config, total=20)
    steps = [0, 11, 12, 16, 17, 19]
    assert [sizes.at(step)["global"].size for step in steps] == [8, 8, 12, 12, 16, 16]
    assert [sizes.at(step)["local"].size for step in steps] == [4, 4, 6, 6, 8, 8]
    assert sizes.at(0)["global"].gaussian_blur.sigma == (0.25, 0.5)
    assert sizes.at(17) is larger
    assert [done for done in range(1, 21) if sizes.end(done)] == [12, 17]
    assert sides_over_time(task, larger, config) == ((0.0, 8), (0.6, 12), (0.85, 16))


@pytest.mark.parametrize(
    ("total", "expected"), [(1, [8]), (2, [4, 8]), (3, [4, 4, 8]), (6, [4, 4, 4, 4, 6, 8]), (7, [4, 4, 4, 4, 6, 6, 8])]
)
def test_also_the_shortest_run_ends_at_full_size(build_small, configure, policies, total, expected):
    config = configure(resolution=[[0, 0.5], [0.6, 0.75], [0.99, 1.0]])
    sizes = ViewSizes.of(build_small(config), policies, config, total)
    assert [sizes.at(step)["global"].size for step in range(total)] == expected


def test_what_rounds_to_full_size_is_a_run_at_full_size(build_small, configure, policies, run, cpu):
    config = configure(epochs=1, resolution=[[0, 0.95], [0.5, 1.0]])
    assert sides_over_time(build_small(config), policies, config) == ()
    task, history = run(config)
    plain, plain_history = run(configure(epochs=1), name="plain")
    assert same_bits(task, plain)
    assert history.rows == plain_history.rows


def test_a_small_view_is_the_same_view_with_fewer_pixels(pool, larger):
    """The same crops, flips, rotations and colours are drawn for every size."""
    policy = Policy.model_validate(
        {
            "size": 16,
            "random_resized_crop": {"p": 1.0, "scale": [0.3, 0.9], "ratio": [0.8, 1.25]},
            "horizontal_flip": {"p": 0.5},
            "rotation": {"p": 0.5, "degrees": 90},
            "color_jitter": {"p": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.0, "hue": 0.0},
            "gaussian_blur": {"p": 0.5, "sigma": [0.5, 2.0]},
        }
    )
    images, counts = torch.from_numpy(pool.images(np.arange(32))), {"global": 2}
    full, small = (
        make_views({"global": one}, counts, images, pool.ids[:32], 0, 3)["global"].flatten(0, 1)
        for one in (policy, policy.at(8))
    )
    shrunk = torch.nn.functional.avg_pool2d(full, 2)
    error = (shrunk - small).abs().mean(dim=(1, 2, 3))
    assert error.mean() < 0.03
    assert error.max() < 0.1
    assert (shrunk - small.roll(1, 0)).abs().mean() > 0.15  # other views differ


@pytest.mark.parametrize("last", [5, 6, 7])
def test_a_run_that_is_stopped_around_a_change_ends_as_if_it_had_not_been(run, configure, last):
    """The first 6 of 12 steps have 4 px: the run is stopped just before the change, at it, and one step after it."""
    config = configure(resolution=HALF)
    whole, curves = run(config, name="whole")
    with pytest.raises(KeyboardInterrupt, match=rf"stopped after step {last} of 12"):
        run(config, change=lambda task: stopping(task, last))
    pieced, pieced_curves = run(config)
    assert same_bits(whole, pieced)
    assert curves.rows == pieced_curves.rows
    assert [row["view_size"] for row in curves.rows] == [4] * 6 + [8] * 6


def test_a_row_of_the_curves_is_of_views_of_one_size(run, configure, monkeypatch):
    """This holds even if the change falls between two steps that end rows."""
    monkeypatch.setattr("ssl_pipeline.training.pretraining.LOGGED_ROWS", 3)
    _, curves = run(configure(resolution=HALF))
    assert [(row["step"], row["view_size"]) for row in curves.rows] == [(4, 4), (6, 4), (8, 8), (12, 8)]


def test_views_have_the_sizes_that_are_asked_for_and_are_watched_at_them(run, configure, monkeypatch):
    trained, watched = [], []
    measure = EmbeddingWatch.measure

    def spied(task):
        forward = task.forward

        def noted(views):
            trained.append(views["global"].shape[-1])
            return forward(views)

        task.forward = noted
        return task

    def looked(watch, encoder, policy):
        with encoder.register_forward_pre_hook(lambda _, images: watched.append(images[0].shape[-1])):
            return measure(watch, encoder, policy)

    monkeypatch.setattr(EmbeddingWatch, "measure", looked)
    run(configure(resolution=HALF), change=spied)
    assert trained == [4] * 6 + [8] * 6
    looks = len(watched) // 12
    assert watched == [4] * 6 * looks + [8] * 6 * looks


def test_each_recipe_takes_small_views_or_is_refused_by_name(built, configure):
    """It is refused before training if its head is made for one size, and only then."""
    own = {"backbone": {"name": "timm/test_vit", "patch_size": 4}, "pretext_task": {"view": "global"}}
    refused = []
    for recipe in REGISTRY.names("recipe"):
        tiled = recipe in ("jigsaw", "relative_patch")
        values = {"recipe": recipe} | ({"pretext_task": {"view": "large"}} if tiled else {})
        values |= own if recipe == "mae" else {}
        task = resolve(REGISTRY, configure(**values)).pretext_task.name
        if "size" not in signature(REGISTRY.find("pretext_task", task).factory).parameters:
            built(**values, resolution=HALF)
            continue
        refused.append(recipe)
        words = rf"^pretrain\.resolution: recipe '{recipe}' learns by pretext task '{task}', .* of one size\. Write .*recipe"
        with pytest.raises(ConfigError, match=words):
            built(**values, resolution=HALF)
    assert {"jigsaw", "mae", "masked"} <= set(refused)
    assert len(refused) < 10


class OneSize(nn.Module):
    """A task whose head is made for 16 px, although its signature does not say so."""

    def __init__(self, task):
        super().__init__()
        self.task, self.encoder, self.views, self.uniforms = task, task.encoder, task.views, task.uniforms
        self.text_tower = self.teaching = None
        self.head = nn.Linear(3 * 16 * 16, 2)

    def forward(self, views):
        return {"answers": self.head(views["global"][:, 0].flatten(1))}


def test_a_plugin_whose_task_fails_on_small_views_is_refused_too(built, larger):
    task, config = built(resolution=HALF)
    recipe, fixed, generator = resolve(REGISTRY, config), OneSize(task), torch.get_rng_state()
    with pytest.raises(ConfigError, match=r"recipe 'simclr' .* for views of one size and cannot take 8 px\. Write"):
        check_resolution(REGISTRY, recipe, fixed, larger, config)
    check_resolution(REGISTRY, recipe, task, larger, config)
    assert torch.equal(torch.get_rng_state(), generator)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"backbone": {"name": "timm/vit_tiny_patch16_224", "patch_size": 4}},
            r"backbone 'timm/vit_tiny_patch16_224' does not take views of 8 px, which is 0\.5 of the 16 px of augment\.views\.global: "
            r"it does not take this size\. Write resolution: \[\[0, 1\.0\]\].*, write another share of the side, or choose",
        ),
        (
            {"pretext_task": {"local_views": 2}, "resolution": [[0, 0.25], [0.5, 1.0]]},
            r"'resnet_cifar' does not take views of 2 px, which is 0\.25 of the 8 px of augment\.views\.local: "
            r"a view has at least 4 px",
        ),
    ],
)
def test_sizes_that_a_backbone_does_not_take_are_refused(built, values, words):
    with pytest.raises(ConfigError, match=rf"^pretrain\.resolution: .*{words}"):
        built(**{"resolution": HALF, **values})


class Strided(nn.Module):
    """A backbone that takes only multiples of 8 px."""

    embedding_dim, map_channels, patch_size = 4, (), 0

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, images):
        if images.shape[-1] % 8:
            raise ValueError("a multiple of 8")
        return self.convolution(images).mean(dim=(2, 3))


def test_sides_are_rounded_to_what_the_backbone_takes(pool, built, larger, monkeypatch):
    """They are multiples of a transformer's patch, or of the stride of a network that requires it."""
    convnext = build_encoder(REGISTRY, Choice(name="timm/test_convnext"), pool.mean, pool.std, 0, 40)
    assert multiples_near(convnext, 22)[0] == 24  # a multiple of its patches of 4 px
    assert refusal(convnext, 22)
    task, config = built()
    task.encoder.backbone = Strided()
    policies = {kind: policy.at(40) for kind, policy in larger.items()}
    config = configure_resolution(config, [[0, 0.5], [0.3, 0.75], [0.6, 1.0]])
    assert sides_over_time(task, policies, config) == ((0.0, 16), (0.3, 32), (0.6, 40))


def configure_resolution(config, resolution):
    return type(config).model_validate(config.model_dump() | {"resolution": resolution})


def test_the_card_says_it_and_another_schedule_is_another_run(built, larger, pool):
    task, config = built(resolution=HALF)
    framing = Framing(16, "squash", (0, 0, 0))
    card = preparation.describe_run(config, resolve(REGISTRY, config), task, pool, framing, larger, {})
    assert (card.size, card.view_sizes) == (16, ((0.0, 8), (0.5, 16)))
    assert card.pretrain is not None
    assert card.pretrain.resolution == ((0.0, 0.5), (0.5, 1.0))
    schedules = [[[0, 1.0]], HALF, [[0, 0.5], [0.25, 1.0]], [[0, 0.75], [0.5, 1.0]]]
    runs = [shaping(configure_resolution(config, schedule)) for schedule in schedules]
    assert all(one not in runs[:number] for number, one in enumerate(runs))
    assert "resolution" not in runs[0]  # as in cards of earlier versions, whose views were always of full size
