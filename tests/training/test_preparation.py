"""What does not fit a task is refused before training: sizes of views and of what is cut from them, and operations."""

import pytest

from ssl_pipeline import hookimpl
from ssl_pipeline.artifacts.files import save_weights
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.data.framing import Framing
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.loading import load_registry
from ssl_pipeline.provenance.fingerprint import fingerprint
from ssl_pipeline.recipes import resolve
from ssl_pipeline.testing.material import SmallBackbone
from ssl_pipeline.training.preparation import build, check_kinds, check_operations, check_sizes, describe_run
from ssl_pipeline.types import Backbone, Encoder, Register, ViewNeeds

FRAMING = Framing(16, "squash", (0, 0, 0))


@pytest.fixture
def built(configure, pool):
    """Return a function of a recipe, its kinds of views and other values that builds the task."""

    def go(recipe, views, **values):
        policies = {kind: Policy.model_validate(view) for kind, view in views.items()}
        config, registry = configure(recipe=recipe, **values), load_registry()
        return build(registry, resolve(registry, config), config, pool, policies)

    return go


def test_a_task_is_built_for_the_kind_of_view_that_it_learns_from(built):
    """It may be the larger or the smaller one, and the task might refuse the other."""
    assert built("jigsaw", {"global": {"size": 8}, "plain": {"size": 16}}).tiling.size == 16
    assert built("jigsaw", {"global": {"size": 32}, "plain": {"size": 16}}).tiling.size == 16
    own = built("jigsaw", {"global": {"size": 8}, "own": {"size": 20}}, pretext_task={"view": "own"})
    assert (own.tiling.size, own.views) == (20, ViewNeeds("own"))
    with pytest.raises(ConfigError, match=r"jigsaw: views of 8 px are too small for 2 x 2 tiles"):
        built("jigsaw", {"global": {"size": 32}, "plain": {"size": 8}})
    with pytest.raises(ConfigError, match=r"augment\.views\.plain: missing, but pretext task 'jigsaw'"):
        built("jigsaw", {"global": {"size": 32}})


@pytest.mark.parametrize(("recipe", "grayscale"), [("flip", False), ("colorization", True)])
def test_the_card_says_whether_the_encoder_sees_colours(built, configure, pool, recipe, grayscale):
    views = {"plain": {"size": 16}}
    policies = {kind: Policy(**view) for kind, view in views.items()}
    config = configure(recipe=recipe)
    card = describe_run(config, resolve(load_registry(), config), built(recipe, views), pool, FRAMING, policies, {})
    assert card.grayscale is grayscale


def test_the_card_tells_encoders_of_other_seeds_from_others(built, configure, pool, tmp_path):
    """The digest ignores the seed and the name of a file; all other settings that shape the weights change it."""

    def card(size=16, **values):
        config, views = configure(recipe="flip", **values), {"plain": {"size": size}, "global": {"size": 8}}
        policies, recipe = {kind: Policy(**view) for kind, view in views.items()}, resolve(load_registry(), config)
        return describe_run(config, recipe, built("flip", views, **values), pool, FRAMING, policies, {})

    plain = card(seed=0)
    for name in ("a", "b"):
        save_weights(tmp_path / f"{name}.safetensors", built("flip", {"plain": {"size": 16}}).encoder.state_dict())
    given = [card(init=str(tmp_path / f"{name}.safetensors")).seedless_sha256 for name in ("a", "b")]
    assert card(seed=1, checkpoint_minutes=3).seedless_sha256 == plain.seedless_sha256 != plain.params_sha256
    assert given[0] == given[1]
    others = [card(size=12), card(epochs=3), card(batch_size=9), card(precision="bf16")]
    assert len({plain.seedless_sha256, given[0], *(one.seedless_sha256 for one in others)}) == 6


@pytest.mark.parametrize(
    ("recipe", "side", "model"), [("jigsaw", 5, "test_vit"), ("relative_patch", 4, "vit_tiny_patch16_224")]
)
def test_a_backbone_for_one_size_is_refused_where_tiles_have_another(built, recipe, side, model):
    transformer = {"name": f"timm/{model}", "patch_size": 2}
    views = {"global": {"size": 16}, "plain": {"size": 16}}
    words = rf"pretrain\.backbone: .*'timm/{model}', built for the 16 px of .*plain, cannot take the task's tiles of {side} px"
    with pytest.raises(ConfigError, match=words):
        built(recipe, views, backbone=transformer)
    assert built("flip", views, backbone=transformer).parts == {}


@pytest.mark.parametrize(
    ("backbone", "size", "words"),
    [
        (
            {"name": "timm/vit_tiny_patch16_224"},
            24,
            "it cuts images into patches of 16 px and would not see the last 8 of 24 px. Set it to 16,",
        ),
        (
            {"name": "timm/test_convnext"},
            38,
            "it cuts images into patches of 4 px and would not see the last 2 of 38 px. Set it to 36,",
        ),
        ({"name": "timm/efficientformer_l1"}, 160, "it does not take this size. Set it to 224,"),
    ],
)
def test_a_backbone_is_refused_at_a_size_that_it_does_not_take_and_a_size_named_that_it_does(
    built, backbone, size, words
):
    with pytest.raises(ConfigError) as caught:
        built("rotation", {"global": {"size": size}}, backbone=backbone)
    expected = (
        f"augment.views.global.size: backbone '{backbone['name']}' cannot be trained on views of {size} px: {words}"
    )
    assert str(caught.value) == f"{expected} or choose another backbone."


@pytest.mark.parametrize(
    ("recipe", "operation"),
    [("flip", "horizontal_flip"), ("flip", "vertical_flip"), ("jigsaw", "rotation"), ("relative_patch", "rotation")],
)
def test_operations_that_give_an_answer_away_are_refused_in_the_kind_that_is_learned_from(built, recipe, operation):
    spoiling = {"size": 16, operation: {"p": 0.5} | ({"degrees": 10} if operation == "rotation" else {})}
    with pytest.raises(ConfigError, match=rf"augment\.views\.plain\.{operation}: pretext task '{recipe}'"):
        built(recipe, {"plain": spoiling})
    built(recipe, {"plain": spoiling, "own": {"size": 16}}, pretext_task={"view": "own"})


def test_what_ends_a_run_does_not_make_it_another(build_small, configure, policies, pool):
    def of(**values):
        config = configure(**values)
        return fingerprint(config, build_small(config), policies, pool, {})

    bounds = {"min_embedding_std": 0.5, "min_effective_rank": 0.5}
    assert of() == of(on_collapse="warn", collapse=bounds, checkpoint_minutes=0.0)
    assert of() != of(epochs=5)


def test_a_task_names_the_kind_of_view_that_it_misses(build_small, configure, policies):
    task = build_small(configure())
    with pytest.raises(
        ConfigError, match=r"augment\.views\.global: missing, but pretext task 'joint_embedding'.*plain"
    ):
        check_kinds(task.views, "joint_embedding", {"plain": policies["global"]})


def test_a_task_names_the_operation_that_spoils_it(build_small, configure, policies):
    task = build_small(configure(recipe="rotation"))
    flipped = policies["global"].model_copy(update={"vertical_flip": policies["global"].gaussian_noise})
    with pytest.raises(
        ConfigError, match=r"augment\.views\.global\.vertical_flip: pretext task 'rotation'.*set its p to 0"
    ):
        check_operations(task, "rotation", {"global": flipped})


def test_a_kind_of_view_that_an_option_asks_for_is_named_too(configure, policies, pool):
    config, registry = configure(pretext_task={"local_views": 2}), load_registry()
    recipe = resolve(registry, config)
    with pytest.raises(
        ConfigError, match=r"augment\.views\.local: missing, but .*'joint_embedding'.*there are only: global"
    ):
        build(registry, recipe, config, pool, {"global": policies["global"]})
    assert build(registry, recipe, config, pool, policies).views == ViewNeeds("global", 2, {"local": 2})


def test_a_backbone_is_built_once_for_the_main_kind_of_view(configure, pool):
    """No model is built just to learn which views it needs."""
    sizes = []

    class Plugin:
        @hookimpl
        def register_backbones(self, register: Register) -> None:
            register("small", lambda size: sizes.append(size) or SmallBackbone())

    config, registry = configure(recipe="jigsaw", backbone="small", pretext_task={"view": "own"}), load_registry()
    registry.add(Plugin(), "a-plugin", "1")
    policies = {kind: Policy(size=size) for kind, size in {"global": 16, "plain": 32, "own": 20}.items()}
    build(registry, resolve(registry, config), config, pool, policies)
    assert sizes == [20]


def test_a_task_that_does_not_say_which_views_it_needs_is_refused(configure, pool, policies):
    class Plugin:
        @hookimpl
        def register_pretext_tasks(self, register: Register) -> None:
            register("mute", lambda encoder: None)

    config, registry = configure(recipe="rotation", pretext_task={"name": "mute"}), load_registry()
    registry.add(Plugin(), "a-plugin", "1.5")
    words = r"pretrain\.pretext_task: 'mute' of a-plugin 1.5 does not say which views it needs\. Its author must"
    with pytest.raises(ConfigError, match=words):
        build(registry, resolve(registry, config), config, pool, policies)


@pytest.mark.parametrize(
    ("recipe", "options", "words"),
    [
        ("emp", {"global_views": 1}, r"pretext_task non_contrastive: global_views must be at least 2, got 1"),
        ("simclr", {"local_views": -1}, r"pretext_task joint_embedding: local_views must be at least 0, got -1"),
        (
            "flip",
            {"view": 3},
            r'pretrain\.pretext_task\.view: YAML reads this as 3, not as text; .* such as view: "2024"',
        ),
    ],
)
def test_numbers_of_views_out_of_range_are_refused(built, recipe, options, words):
    with pytest.raises(ConfigError, match=words):
        built(recipe, {"global": {"size": 8}, "plain": {"size": 8}}, pretext_task=options)


def test_a_list_of_policies_has_one_for_each_view(built):
    pair = [{"size": 8}, {"size": 8, "solarize": {"p": 0.2, "threshold": 0.5}}]
    built("simclr", {"global": pair})
    built("rotation", {"global": pair[:1]})
    with pytest.raises(
        ConfigError, match=r"augment\.views\.global: a list of 2 policies, but .*'rotation'.* 1 view of"
    ):
        built("rotation", {"global": pair})
    spoiled = [{"size": 8}, {"size": 8, "vertical_flip": {"p": 0.5}}]
    with pytest.raises(ConfigError, match=r"augment\.views\.global\.vertical_flip"):
        built("rotation", {"global": spoiled[1:]})
    with pytest.raises(ConfigError, match=r"a list of 2 policies, but .* 4 views of this kind"):
        built("emp", {"global": pair})


def test_needs_of_no_view_are_refused():
    with pytest.raises(ValueError, match="views of kind 'local' must be at least 1, got 0"):
        ViewNeeds("global", 2, {"local": 0})
    with pytest.raises(ValueError, match="'global' is already the main kind of view"):
        ViewNeeds("global", 2, {"global": 1})


def test_a_backbone_for_one_size_is_refused_by_name_where_views_have_two(build_small, configure):
    """It is refused before training; a network whose views all have the right size passes."""
    transformer = {"name": "timm/vit_tiny_patch16_224", "patch_size": 2}
    assert build_small(configure(backbone=transformer)).views == ViewNeeds("global", 2)
    words = r"augment\.views\.local\.size: backbone 'timm/vit_tiny_patch16_224', built for the 8 px of .*global.* 4 px"
    with pytest.raises(ConfigError, match=words):
        build_small(configure(backbone=transformer, pretext_task={"local_views": 2}))


class Flattening(Backbone):
    """A backbone whose embedding length depends on the size of its images."""

    embedding_dim = 3 * 8 * 8

    def forward(self, images):
        self.seen = images.shape
        return images.flatten(1)


def test_trying_sizes_leaves_the_encoder_alone_and_looks_at_the_embeddings_length():
    encoder = Encoder(Flattening(), (0.5,) * 3, (0.5,) * 3)
    check_sizes(encoder, "flattening", "global", {"global": 8, "local": 8}, {})
    with pytest.raises(ConfigError, match=r"views of 4 px: embeddings of shape \(48,\)"):
        check_sizes(encoder, "flattening", "global", {"global": 8, "local": 4}, {})
    assert encoder.training
    assert not hasattr(encoder.backbone, "seen")
