"""Weights from a file: all of them, by name, or a message that names what does not fit."""

import pytest
import safetensors.torch
import timm
import torch

from plugins import load_registry
from ssl_pipeline.config import Choice
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.training.initial import load_weights


@pytest.fixture
def encoder(build_small, configure):
    return build_small(configure(seed=5)).encoder


def same(first, second):
    return all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


@pytest.mark.parametrize("whole", [True, False], ids=["encoder", "backbone alone"])
def test_both_kinds_of_files_load(encoder, build_small, configure, tmp_path, whole):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file((encoder if whole else encoder.backbone).state_dict(), path)
    task = build_small(configure(init=str(path)))
    assert same(encoder.backbone, task.encoder.backbone)
    assert not same(encoder.backbone, build_small(configure()).encoder.backbone)


def test_a_file_of_the_library_that_made_the_network_loads(tmp_path):
    """Without the name under which the network lies here, and with the classifier that it has there."""
    path = tmp_path / "weights.safetensors"
    torch.manual_seed(1)
    theirs = timm.create_model("test_resnet")
    safetensors.torch.save_file(theirs.state_dict(), path)
    backbone = load_registry().build("backbone", Choice(name="timm/test_resnet"), size=32, pretrained=False).eval()
    load_weights(backbone, path)
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(backbone(images), theirs.eval().forward_head(theirs.forward_features(images), pre_logits=True))


def test_the_pool_keeps_its_own_mean(encoder, build_small, configure, tmp_path):
    path = tmp_path / "weights.safetensors"
    wanted = encoder.mean.clone()
    safetensors.torch.save_file({**encoder.state_dict(), "mean": torch.zeros(1, 3, 1, 1)}, path)
    assert torch.equal(build_small(configure(init=str(path))).encoder.mean, wanted)


def test_misfits_are_named(encoder, tmp_path):
    state = encoder.backbone.state_dict()
    names = [name for name, value in state.items() if value.ndim == 4]
    state[names[0]] = torch.zeros(7, 3, 3, 3)
    del state[names[1]]
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(state, path)
    with pytest.raises(ConfigError) as caught:
        load_weights(encoder.backbone, path)
    message = str(caught.value)
    assert f"{names[1]} is missing" in message
    assert f"{names[0]} is (7, 3, 3, 3) there and (4, 3, 3, 3) here" in message
    assert message.startswith(f"pretrain.init: {path} does not fit")


def test_many_misfits_are_counted(encoder, tmp_path):
    safetensors.torch.save_file({"other": torch.zeros(1)}, tmp_path / "weights.safetensors")
    count = len(encoder.backbone.state_dict())
    with pytest.raises(ConfigError, match=rf"and {count - 5} more"):
        load_weights(encoder.backbone, tmp_path / "weights.safetensors")


def test_a_classifier_in_the_file_is_left_out_and_said(encoder, tmp_path, capsys):
    state = {**encoder.backbone.state_dict(), "fc.weight": torch.zeros(10, 4)}
    safetensors.torch.save_file(state, tmp_path / "weights.safetensors")
    load_weights(encoder.backbone, tmp_path / "weights.safetensors")
    assert "fc.weight" in capsys.readouterr().err


@pytest.mark.parametrize(("content", "words"), [(None, "does not exist"), (b"not safetensors", "cannot be read")])
def test_an_unreadable_file_is_a_message(encoder, tmp_path, content, words):
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"pretrain\.init: .*{words}"):
        load_weights(encoder.backbone, path)
