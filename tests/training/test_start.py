"""Initial weights: the network equals that of its library, and sees images normalised as in its own training."""

from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
import torchvision

from ssl_pipeline.artifacts.assembly import build_encoder
from ssl_pipeline.config import Choice
from ssl_pipeline.data.framing import Framing
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.loading import load_registry
from ssl_pipeline.recipes import method_of
from ssl_pipeline.training.preparation import describe_run
from ssl_pipeline.training.start import start_encoder
from tests.factories import BACKBONE

REGISTRY = load_registry()
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LIBRARIES = {
    "timm/resnet18": lambda: timm.create_model("resnet18"),
    "torchvision/resnet18": lambda: torchvision.models.resnet18(weights=None),
}


@pytest.fixture(scope="module")
def theirs():
    """Networks with their classifiers, as their libraries build them, with statistics of a batch."""
    torch.manual_seed(3)
    found = {name: build() for name, build in LIBRARIES.items()}
    for network in found.values():
        network(torch.randn(8, 3, 32, 32))
        network.eval()
    return found


def normalised(images, mean=MEAN, std=STD):
    return (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def embedded_by_library(network, images):
    network.fc, classifier = torch.nn.Identity(), network.fc
    try:
        return network(images)
    finally:
        network.fc = classifier


def given(path: Path, configure, pool, name="timm/resnet18", **values):
    return start_encoder(REGISTRY, configure(init=str(path), backbone={"name": name}, **values), pool, 32).eval()


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("kind", ["weights.safetensors", "weights.pth", "checkpoint.pt"])
def test_a_start_is_what_its_library_makes_of_the_same_images(theirs, configure, pool, tmp_path, name, kind, capsys):
    """The file may be plain, or a checkpoint of a network trained on several GPUs."""
    state, path = theirs[name].state_dict(), tmp_path / kind
    if kind == "weights.safetensors":
        safetensors.torch.save_file(state, path)
    elif kind == "weights.pth":
        torch.save(state, path)
    else:
        torch.save({"epoch": 9, "state_dict": {f"module.{key}": value for key, value in state.items()}}, path)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        wanted = embedded_by_library(theirs[name], normalised(images))
        found = given(path, configure, pool, name)(images)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)
    assert not capsys.readouterr().err


def test_images_are_normalised_as_the_weights_were_trained_or_as_it_is_said(theirs, configure, pool, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(theirs["timm/resnet18"].state_dict(), path)

    def mean(**values):
        encoder = given(path, configure, pool, **values)
        return [round(value, 6) for value in encoder.mean.flatten().tolist()]

    assert mean() == [0.485, 0.456, 0.406]
    assert mean(normalisation="pool") == [round(value, 6) for value in pool.mean]
    assert mean(normalisation={"mean": [0.5] * 3, "std": [0.5] * 3}) == [0.5, 0.5, 0.5]
    with pytest.raises(
        ConfigError, match=r"pretrain\.normalisation: it has 1 channels, but the images have 3\. Give the mean"
    ):
        mean(normalisation={"mean": [0.5], "std": [0.5]})


def test_an_encoder_of_ours_sees_images_as_it_has_learned_to(configure, pool, build_small, policies, tmp_path):
    """It keeps the mean and std of the pool that it was trained on, and the card records them."""
    mean, std, path = (0.25, 0.5, 0.75), (0.1, 0.2, 0.3), tmp_path / "encoder.safetensors"
    first = build_encoder(REGISTRY, BACKBONE, mean, std, 9, 8)
    safetensors.torch.save_file(first.state_dict(), path)
    config = configure(init=str(path), init_licence="CC-BY-4.0")
    task, images = build_small(config), torch.rand(2, 3, 8, 8)
    assert torch.equal(task.encoder.eval()(images), first.eval()(images))
    method = method_of(REGISTRY, config)
    card = describe_run(config, method.recipe, task, pool, Framing(8, "squash", (0, 0, 0)), policies, {})
    assert (card.mean, card.std, card.init_licence) == (mean, std, "CC-BY-4.0")
    config = configure()
    card = describe_run(config, method.recipe, build_small(config), pool, Framing(8, "squash", (0, 0, 0)), policies, {})
    assert (card.mean, card.std) == (pool.mean, pool.std)
    assert "init_licence" not in card.model_dump()


@pytest.fixture
def published(monkeypatch):
    """Pretend that timm's published weights are the untrained ones, and record which were asked for."""
    asked, create = [], timm.create_model

    def offline(model, *, pretrained=False, **options):
        if pretrained:
            asked.append(model)
        return create(model, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    return asked


def test_a_name_stands_for_published_weights_and_for_the_backbone(configure, pool, published):
    method = method_of(REGISTRY, configure().model_copy(update={"init": "timm/resnet18.a1_in1k", "backbone": "recipe"}))
    assert method.pretrain.backbone == Choice(name="timm/resnet18")
    encoder = start_encoder(REGISTRY, method.pretrain, pool, 32)
    assert set(published) == {"resnet18.a1_in1k"}  # asked for twice: with a size and without
    assert encoder.mean.flatten().tolist() == pytest.approx(MEAN)
    assert encoder.backbone.published_licence == "apache-2.0"


@pytest.mark.parametrize(
    ("init", "backbone", "words"),
    [
        (
            "timm/resnet18.a1_in1k",
            {"name": "timm/resnet34"},
            r"weights of another network than pretrain\.backbone 'timm/resnet34'\. .*\{name: timm/resnet18\} or pretrain\.backbone",
        ),
        ("timm/resnet18", BACKBONE, "weights of another network than pretrain.backbone 'resnet_cifar'"),
        ("timm/resnet18", {"name": "timm/resnet18", "stem": "small"}, "do not fit another stem or patch size"),
        ("torchvision/resnet18", {"name": "torchvision/resnet18"}, "has no published weights"),
        ("resnet_cifar", BACKBONE, "backbone 'resnet_cifar' has no published weights"),
        ("resnet.safetensors", BACKBONE, r"'resnet\.safetensors' does not exist\. Use random, pretrained, the path"),
        ("timm/resnet18.pth", BACKBONE, r"'timm/resnet18\.pth' does not exist"),
        ("anything", BACKBONE, r"'anything' does not exist.*Backbones with published weights: timm/"),
    ],
)
def test_what_names_no_weights_of_the_backbone_is_refused(configure, pool, published, init, backbone, words):
    with pytest.raises(ConfigError, match=words):
        start_encoder(REGISTRY, configure(init=init, backbone=backbone), pool, 32)
    assert not published


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"freeze_epochs": 1, "init": "random"},
            r"pretrain\.freeze_epochs freezes trained weights .*init is random\. Set",
        ),
        ({"freeze_epochs": 4}, r"pretrain\.freeze_epochs: 4 of 4 epochs leave none in which the backbone learns"),
        (
            {"ema": 0.9, "recipe": "dino"},
            r"pretrain\.ema: pretext task 'non_contrastive' ships its teacher, which already is",
        ),
    ],
)
def test_what_keeps_a_start_is_refused_where_it_would_do_nothing(configure, build_small, tmp_path, values, words):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(build_small(configure()).encoder.state_dict(), path)
    with pytest.raises(ConfigError, match=words):
        build_small(configure(**{"init": str(path), **values}))
