"""Backbones by name: shapes, stems, image sizes and refusals."""

import pytest
import torch

from ssl_pipeline.artifacts.assembly import build_encoder, build_task
from ssl_pipeline.config import Choice
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.loading import load_registry
from ssl_pipeline.recipes import Recipe
from ssl_pipeline.training.step_memory import kept_for_backward
from ssl_pipeline.types import Encoder

REGISTRY = load_registry()
HALF = (0.5, 0.5, 0.5)


def build(name: str, size: int = 32, pretrained: bool = False, **options: object) -> Encoder:
    return build_encoder(REGISTRY, Choice(name=name, **options), HALF, HALF, 0, size, pretrained)


@pytest.mark.parametrize(
    ("name", "options", "dim"),
    [
        ("resnet_cifar", {"depth": 8, "width": 4}, 16),
        ("torchvision/resnet18", {"stem": "small"}, 512),
        ("torchvision/mobilenet_v3_small", {}, 1024),
        ("timm/resnet10t", {"stem": "small"}, 512),
        ("timm/vit_tiny_patch16_224", {"patch_size": 8}, 192),
        ("timm/mobilenetv3_small_050", {}, 1024),
        # some backbones with a fixed size take another one, and some take any; "vit" in a name does not tell which
        ("timm/swin_tiny_patch4_window7_224", {}, 768),
        ("timm/mixer_s32_224", {}, 512),
        ("timm/test_coatnet", {}, 128),
        ("timm/efficientformerv2_s0", {}, 176),
        ("timm/eva02_tiny_patch14_224", {"patch_size": 16}, 192),
        ("timm/fastvit_t8", {}, 768),
        ("timm/tiny_vit_5m_224", {}, 320),
    ],
)
def test_a_backbone_embeds_and_says_how_long_its_embeddings_are(name: str, options: dict[str, object], dim: int):
    encoder = build(name, **options).eval()
    assert encoder.embedding_dim == dim
    images = torch.rand(2, 3, 32, 32)
    embeddings = encoder(images)
    assert embeddings.shape == (2, dim)
    torch.testing.assert_close(encoder(images[:1]), embeddings[:1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "options", "channels", "sides"),
    [
        ("resnet_cifar", {"depth": 14, "width": 4}, (4, 8, 16), (32, 16, 8)),
        ("torchvision/resnet18", {"stem": "small"}, (64, 128, 256, 512), (32, 16, 8, 4)),
        ("torchvision/resnet50", {}, (256, 512, 1024, 2048), (8, 4, 2, 1)),
        ("timm/test_resnet", {}, (32, 32, 48, 192, 96), (16, 8, 4, 2, 1)),
        ("timm/test_vit", {"patch_size": 8}, (64,) * 6, (4,) * 6),
    ],
)
def test_a_backbone_with_layers_gives_the_maps_of_each(
    name: str, options: dict[str, object], channels: tuple[int, ...], sides: tuple[int, ...]
):
    encoder = build(name, **options).eval()
    assert tuple(encoder.backbone.map_channels) == channels
    images = torch.rand(2, 3, 32, 32)
    maps = encoder.maps(images)
    assert [one.shape for one in maps] == [(2, dim, side, side) for dim, side in zip(channels, sides, strict=True)]
    for layer, one in enumerate(maps, 1):
        cut = encoder.at(layer)
        assert cut.embedding_dim == channels[layer - 1]
        assert torch.equal(cut(images), one.mean(dim=(2, 3)))
    if not name.startswith("timm/"):
        torch.testing.assert_close(maps[-1].mean(dim=(2, 3)), encoder(images))


def test_a_backbone_without_layers_says_so():
    assert not build("torchvision/mobilenet_v3_small").backbone.has("maps")


@pytest.mark.parametrize("name", ["timm/test_vit", "timm/deit_tiny_distilled_patch16_224"])
def test_patches_are_seen_alone_and_leave_the_network_as_it_was(name: str):
    """Compared with timm's own pass over all patches, and with the same tokens when the other patches change."""
    backbone = build(name, patch_size=8).backbone.eval()
    network, images = backbone.network, torch.rand(2, 3, 32, 32)
    modules, whole = str(network), network.forward_features(images)
    everything = torch.arange(16).expand(2, -1)
    torch.testing.assert_close(backbone.visible(images, everything), whole[:, network.num_prefix_tokens :])
    shown, others = torch.tensor([[3, 8], [0, 15]]), torch.rand(2, 3, 32, 32)
    for row, numbers in enumerate(shown.tolist()):
        for top, left in (divmod(number, 4) for number in numbers):
            part = row, slice(None), slice(8 * top, 8 * top + 8), slice(8 * left, 8 * left + 8)
            others[part] = images[part]
    torch.testing.assert_close(backbone.visible(others, shown), backbone.visible(images, shown))
    with pytest.raises(RuntimeError, match="out of bounds"):
        backbone.visible(images, torch.full((2, 1), 16))
    assert str(network) == modules
    assert torch.equal(network.forward_features(images), whole)


@pytest.mark.parametrize(
    "name",
    ["timm/vit_tiny_r_s16_p8_224", "timm/eva02_tiny_patch14_224", "timm/resnet10t"],
    ids=["patches of convolved maps", "another transformer", "no transformer"],
)
def test_a_backbone_that_does_not_embed_patches_alone_is_refused_by_a_task_that_shows_some(name: str):
    encoder = build(name)
    assert not encoder.backbone.has("patches")
    recipe = Recipe(name="mae", pretext_task=Choice(name="mae", width=16, depth=1, heads=2))
    words = "needs a backbone that can process a subset .*timm that embed each patch separately"
    with pytest.raises(ConfigError, match=words):
        build_task(REGISTRY, recipe, encoder, 0, 32)


def test_a_small_stem_keeps_the_resolution():
    shapes = {}
    for stem in ("imagenet", "small"):
        network = build("torchvision/resnet18", stem=stem).backbone.network
        network.layer1.register_forward_hook(lambda _, __, out, stem=stem: shapes.update({stem: out.shape[-1]}))
        network.eval()(torch.rand(1, 3, 32, 32))
    assert shapes == {"imagenet": 8, "small": 32}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet_cifar", {"depth": 9}, r"depth must be 6n \+ 2"),
        ("resnet_cifar", {"width": 0}, "width must be at least 1"),
        ("torchvision/resnet19", {}, "torchvision has no model 'resnet19'; the nearest: resnet"),
        ("torchvision/inception_v3", {}, "auxiliary classifiers"),
        ("torchvision/vit_b_16", {"stem": "small"}, "stem: small needs"),
        ("timm/resnet19", {}, "timm has no model 'resnet19'"),
        (
            "timm/resnet10t",
            {"patch_size": 4},
            r"timm's resnet10t does not accept patch_size \(.*unexpected keyword argument 'patch_size'\)$",
        ),
        ("timm/nest_tiny_jx", {"size": 30}, "timm's nest_tiny_jx cannot be built for images of 30 px$"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(name: str, options: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        build(name, **options)


def test_published_weights_are_refused_where_there_are_none():
    with pytest.raises(ConfigError, match="has no published weights"):
        build("resnet_cifar", pretrained=True)
    with pytest.raises(ConfigError, match="do not fit another stem or patch size: leave stem and patch_size out"):
        build("timm/resnet10t", pretrained=True, stem="small")


def test_published_weights_without_a_network_are_a_clear_message(monkeypatch: pytest.MonkeyPatch):
    import timm

    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(
        PipelineError,
        match=r"could not be downloaded \(no route to host\).*Connect to the network once, or give the path",
    ):
        build("timm/resnet10t", pretrained=True)


def test_weights_depend_on_the_seed_alone():
    states = []
    for seed, disturbance in [(0, 1), (0, 2), (1, 1)]:
        torch.manual_seed(disturbance)
        encoder = build_encoder(REGISTRY, Choice(name="resnet_cifar", depth=8, width=4), HALF, HALF, seed, 16)
        states.append(encoder.state_dict()["backbone.stem.0.weight"])
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_blocks_that_are_computed_again_have_the_same_gradients_and_keep_less():
    images, found = torch.rand(4, 3, 32, 32), []
    for checkpoint_blocks in (False, True):
        encoder = build("timm/test_vit", patch_size=8, checkpoint_blocks=checkpoint_blocks).train()
        with kept_for_backward(encoder) as kept:
            embeddings = encoder(images)
        embeddings.square().sum().backward()
        found.append((sum(kept), [weight.grad for weight in encoder.parameters()]))
        assert encoder.eval().backbone.network.grad_checkpointing is False
    (all_of_it, gradients), (less, same) = found
    assert less < 0.5 * all_of_it
    assert all(one is two is None or torch.equal(one, two) for one, two in zip(gradients, same, strict=True))


def test_blocks_that_cannot_be_computed_again_are_refused():
    with pytest.raises(ConfigError, match="dla46_c cannot recompute its blocks: leave checkpoint_blocks out"):
        build("timm/dla46_c", checkpoint_blocks=True)
