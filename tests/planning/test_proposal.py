"""The settings proposed for some images, a machine and a time limit; a formula replaces the timed trials."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ssl_pipeline.config import load
from ssl_pipeline.data.agreement import PixelsChoice
from ssl_pipeline.data.image_spec import RGB8, ImageSpec
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.loading import load_registry
from ssl_pipeline.planning.draft import value_at
from ssl_pipeline.planning.estimate import FIXED
from ssl_pipeline.planning.evidence import Evidence, Labelling, Spread
from ssl_pipeline.planning.machine import Machine, Speed
from ssl_pipeline.planning.proposal import Proposal, estimate_all, propose
from ssl_pipeline.planning.symmetry import Told
from ssl_pipeline.planning.words import told_proposal, told_shortly
from ssl_pipeline.yaml_file import read_yaml
from ssl_pipeline_stages.shelf import SHELF, SHIPPED

ROOT = Path(__file__).parents[2]
LAPTOP = Machine(2, 16 * 2**30, "cpu", "", 0, "fp32")
SERVER = Machine(16, 128 * 2**30, "cuda", "some GPU", 80 * 2**30, "bf16")
LIKELY, UNLIKELY, UNKNOWN = Told(0.95, 0.93, 0.97), Told(0.5, 0.47, 0.53), Told(0.6, 0.4, 0.8)
PHOTOS = Evidence(
    labelling=Labelling(10_000, 10_000, 10, 1000, 1000, 0, {}),
    sampled=1000,
    rejects={},
    images_per_second=200.0,
    short_side=Spread(480, 480, 640),
    aspect=Spread(1.3, 1.33, 1.34),
    pixels=PixelsChoice(name="rgb8"),
    spec=RGB8,
    grey=0.0,
    saturation=0.15,
    detail={8: 0.7, 16: 0.82, 32: 0.9, 64: 0.96, 128: 1.0},
    copies=0.0,
    told={"horizontal_flip": UNLIKELY, "vertical_flip": LIKELY, "quarter_turn": LIKELY},
)
REGISTRY = load_registry()
BACKBONE = {"name": "resnet_cifar", "depth": 14, "width": 32}


def measure(fast: float) -> Any:
    """Return a formula instead of a timed trial: `fast` images/s for the leanest network at 32 px, fewer for others."""

    def tried(registry, recipe, config, views, canvas, spec, seconds):
        del registry, recipe, canvas, seconds
        options = config.backbone.options
        cost = (options.get("width", 64) / 16) ** 1.5 * options.get("depth", 18) / 8
        side = views["global"].size
        return Speed(fast / cost * (32 / side) ** 2, 1e4 * side**2 * spec.channels)

    return tried


def plan(evidence: Evidence = PHOTOS, machine: Machine = LAPTOP, hours: float = 1.0, **changes: Any) -> Proposal:
    content = read_yaml(ROOT / "params.yaml")
    for key, value in changes.items():
        section, _, name = key.partition("__")
        content[section][name] = value
    left = [key.replace("__", ".") for key in changes]
    return propose(
        REGISTRY, SHELF, evidence, machine, hours, content, left, measure(500.0 if machine.device == "cpu" else 2e4)
    )


def at(proposal: Proposal, key: str) -> Any:
    return value_at(proposal.content, key)


def operations(proposal: Proposal, kind: str = "global") -> set[str]:
    return proposal.config.augment.views[kind].active()


def test_every_setting_has_a_sentence_and_its_value_is_known_to_be_plannable():
    for setting in plan().settings:
        assert setting.reason[0].isupper() or setting.reason[0].isdigit(), setting
        assert setting.reason.endswith("."), setting
        assert setting.key in SHIPPED


def test_photographs_are_flipped_and_coloured():
    assert operations(plan()) == {"random_resized_crop", "horizontal_flip", "color_jitter", "grayscale"}
    assert operations(plan(), "plain") == {"random_resized_crop", "horizontal_flip"}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"horizontal_flip": LIKELY, "vertical_flip": LIKELY, "quarter_turn": LIKELY}, {"rotation"}),
        ({"horizontal_flip": UNLIKELY, "vertical_flip": UNKNOWN, "quarter_turn": UNKNOWN}, {"horizontal_flip"}),
        (
            {"horizontal_flip": UNLIKELY, "vertical_flip": UNLIKELY, "quarter_turn": LIKELY},
            {"horizontal_flip", "vertical_flip"},
        ),
        (
            {"horizontal_flip": UNLIKELY, "vertical_flip": UNLIKELY, "quarter_turn": UNLIKELY},
            {"horizontal_flip", "vertical_flip", "rotation"},
        ),
        ({}, {"horizontal_flip"}),
    ],
)
def test_views_are_turned_only_where_nobody_could_tell(told: dict[str, Told], expected: set[str]):
    turns = operations(plan(replace(PHOTOS, told=told))) & {"horizontal_flip", "vertical_flip", "rotation"}
    assert turns == expected


def test_signs_are_cropped_more_gently_than_photographs():
    signs = plan(replace(PHOTOS, told={"horizontal_flip": LIKELY})).config.augment.views["global"]
    photos = plan().config.augment.views["global"]
    assert signs.random_resized_crop.scale[0] > photos.random_resized_crop.scale[0]
    assert signs.rotation.degrees <= 20


@pytest.mark.parametrize(
    "evidence",
    [
        replace(PHOTOS, grey=1.0),
        replace(PHOTOS, saturation=0.02),
        replace(
            PHOTOS, spec=ImageSpec(channels=1, dtype="uint16", low=0, high=4095), pixels=PixelsChoice(name="as_is")
        ),
        replace(PHOTOS, spec=ImageSpec(channels=5, dtype="uint8", low=0, high=255), pixels=PixelsChoice(name="as_is")),
    ],
    ids=["grey", "pale", "16 bits", "five bands"],
)
def test_images_without_colours_keep_them_out_of_views(evidence: Evidence):
    assert plan(evidence).config.augment.views["global"].on_colours() == []
    assert at(plan(evidence), "ingest.pixels") == evidence.pixels.name


@pytest.mark.parametrize(
    ("aspect", "resize"),
    [
        (Spread(1, 1, 1), "squash"),
        (Spread(0.9, 1, 1.1), "squash"),
        (Spread(0.6, 0.75, 1.3), "crop"),
        (Spread(0.4, 1, 1.2), "letterbox"),
    ],
)
def test_how_images_become_squares_depends_on_their_shapes(aspect: Spread, resize: str):
    assert at(plan(replace(PHOTOS, aspect=aspect)), "ingest.resize") == resize


@pytest.mark.parametrize(("side", "view"), [(8, 16), (20, 16), (28, 24), (32, 32), (40, 32)])
def test_small_images_are_not_enlarged_unless_they_are_tiny(side: int, view: int):
    found = plan(replace(PHOTOS, short_side=Spread(side, side, side)), hours=10)
    assert found.config.augment.views["global"].size == view
    assert view <= at(found, "ingest.canvas") <= max(16, side)


def test_more_hours_bring_larger_views_or_networks_and_never_fewer_pixels():
    plans = [plan(hours=hours) for hours in (0.1, 1, 10, 100)]
    sizes = [one.config.augment.views["global"].size for one in plans]
    networks = [SHELF.networks.index(at(one, "pretrain.backbone")) for one in plans]
    assert sizes == sorted(sizes)
    assert (sizes[0], networks[0]) == (32, 0)
    assert sizes[-1] > sizes[0]
    assert networks[-1] > networks[0]


def test_a_gpu_gets_larger_views_and_networks_for_photographs():
    found = plan(machine=SERVER, hours=4)
    assert found.config.augment.views["global"].size >= 96
    assert at(found, "pretrain.backbone") in SHELF.photo_networks
    assert "gaussian_blur" in operations(found)


@pytest.mark.parametrize("hours", [0.5, 1, 5])
def test_all_stages_together_take_the_time_that_they_may(hours: float):
    found = plan(hours=hours)
    assert 0.7 * 60 * hours < found.minutes <= 1.05 * 60 * hours


def test_of_many_labels_finetune_sees_each_less_often():
    many = replace(PHOTOS, labelling=Labelling(60_000, 60_000, 10, 6000, 6000, 0, {"train": 50_000, "test": 10_000}))
    found = plan(many)
    assert at(found, "finetune.epochs") < SHIPPED["finetune.epochs"]
    assert "finetune.epochs" not in {
        setting.key for setting in plan(replace(PHOTOS, labelling=Labelling(10_000, 0, 0, 0, 0, 0, {}))).settings
    }


def test_a_plan_with_more_hours_takes_back_what_one_with_few_has_cut():
    def study(proposal: Proposal) -> tuple[int, int]:
        return at(proposal, "finetune.epochs"), at(proposal, "finetune.draws")

    hurried = plan(hours=0.05)
    again = propose(REGISTRY, SHELF, PHOTOS, LAPTOP, 1.0, hurried.content, measure=measure(500.0))
    assert study(hurried) == (1, 2)
    assert study(again) == study(plan()) > (1, 2)


@pytest.mark.parametrize("images", [1, 2, 30, 300])
def test_few_images_get_small_batches(images: int):
    few = replace(PHOTOS, labelling=Labelling(images, 0, 0, 0, 0, 0, {}), sampled=images, told={})
    found = plan(few)
    assert 2 <= at(found, "pretrain.batch_size") <= max(4, images / 10)
    assert at(found, "pretrain.epochs") >= 100


def test_stages_that_take_longer_than_the_time_are_told_with_what_shortens_them():
    hurried, usual = told_proposal(plan(hours=0.05)), told_proposal(plan())
    assert "Even so, finetune takes more than 30% of the time. Shorten finetune.budgets" in hurried
    assert "as the other stages alone take" in hurried
    assert "That exceeds the limit of 3 minutes; finetune takes the longest." in hurried
    assert "exceeds the limit" not in usual
    (time,) = [line for line in told_shortly(PHOTOS, LAPTOP, plan(hours=0.05)) if "Time" in line]
    assert "more than the limit of 3" in time


def test_what_a_person_has_set_stays_and_the_rest_fits_it():
    network = {"name": "torchvision/resnet18"}
    found = plan(pretrain__backbone=network, pretrain__epochs=3)
    assert at(found, "pretrain.backbone") == network
    assert at(found, "pretrain.epochs") == 3
    left = {setting.key: setting for setting in found.settings if setting.left}
    assert left.keys() == {"pretrain.backbone", "pretrain.epochs"}
    assert left["pretrain.epochs"].value != 3
    own, usual = ({stage.stage: stage.minutes for stage in one.estimates} for one in (found, plan()))
    assert own["pretrain"] < usual["pretrain"] / 2


def test_views_of_a_person_decide_the_canvas():
    views = {"global": {"size": 48}, "plain": {"size": 48}}
    found = plan(augment__views=views)
    assert found.config.augment.views["global"].active() == set()
    assert at(found, "ingest.canvas") == 60


def test_a_pretext_task_of_a_person_gets_no_views_that_it_refuses():
    found = plan(pretrain__recipe="flip")
    assert at(found, "pretrain.recipe") == "flip"
    assert operations(found, "plain") == {"random_resized_crop"}
    assert "tiles" in plan(pretrain__recipe="jigsaw", pretrain__pretext_task={"view": "tiles"}).config.augment.views


def test_a_mistake_in_params_is_told_by_its_key():
    with pytest.raises(ConfigError, match=r"pretrain\.seed"):
        plan(pretrain__seed=-1)


def test_small_views_save_the_time_that_their_area_saves():
    schedule = ((0.0, 0.5), (0.6, 0.75), (0.85, 1.0))
    config = load(ROOT / "params.yaml")
    smaller = config.model_copy(update={"pretrain": config.pretrain.model_copy(update={"resolution": schedule})})
    full, less = (
        {stage.stage: stage.minutes for stage in estimate_all(REGISTRY, one, PHOTOS, LAPTOP, measure(500.0))}
        for one in (config, smaller)
    )
    fixed = FIXED["pretrain"] / 60
    assert less["pretrain"] - fixed == pytest.approx(0.440625 * (full["pretrain"] - fixed))
    assert {**less, "pretrain": 0} == {**full, "pretrain": 0}
    set_by_hand = {"augment__views": {"global": {"size": 32}, "plain": {"size": 32}}, "pretrain__backbone": BACKBONE}
    plain, faster = (plan(**set_by_hand, pretrain__resolution=one) for one in ([[0, 1.0]], schedule))
    assert faster.config.pretrain.epochs > 2 * plain.config.pretrain.epochs
    assert faster.minutes == pytest.approx(plain.minutes, rel=0.1)


def test_a_batch_that_does_not_fit_is_encoded_in_parts_and_takes_longer():
    by_hand = {"augment__views": {"global": {"size": 32}, "plain": {"size": 32}}, "pretrain__backbone": BACKBONE}
    roomy, tight = (plan(machine=replace(LAPTOP, memory=memory), **by_hand) for memory in (2**36, 2**30))
    assert "pretrain.micro_batch" not in {setting.key for setting in roomy.settings}
    micro_batch, batch = at(tight, "pretrain.micro_batch"), at(tight, "pretrain.batch_size")
    assert 1 <= micro_batch < batch == at(roomy, "pretrain.batch_size")
    assert tight.config.pretrain.epochs < roomy.config.pretrain.epochs
    again = propose(REGISTRY, SHELF, PHOTOS, SERVER, 1.0, tight.content, measure=measure(500.0))
    assert at(again, "pretrain.micro_batch") is None


CAPTIONED = replace(PHOTOS.labelling, captioned=9_000, captions=5_000)


def test_captions_of_nearly_all_images_are_learned_with_them() -> None:
    proposal = plan(replace(PHOTOS, labelling=CAPTIONED))
    assert at(proposal, "pretrain.recipe") == "clip"
    assert "90% of the images have captions, so both are learned together (docs/text.md)." in told_proposal(proposal)
    assert "no flips and no rotations, as captions may mention directions" in told_proposal(proposal)
    assert not {"horizontal_flip", "rotation"} & (operations(proposal) | operations(proposal, "plain"))
    assert "horizontal_flip" in operations(plan(replace(PHOTOS, labelling=CAPTIONED), pretrain__recipe="dcl"))
    assert "9,000 have captions" in told_shortly(replace(PHOTOS, labelling=CAPTIONED), LAPTOP, proposal)[0]


@pytest.mark.parametrize("fewer", [{"captioned": 8_999}, {"captions": 1}])
def test_captions_of_some_images_and_one_for_all_are_not(fewer: dict[str, int]) -> None:
    proposal = plan(replace(PHOTOS, labelling=replace(CAPTIONED, **fewer)))
    assert at(proposal, "pretrain.recipe") == SHELF.recipe
