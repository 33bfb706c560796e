"""A configuration that could not ship is refused before training."""

import copy

import pytest
import torch

from ssl_pipeline.deployment.rehearsal import rehearse
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.types import Encoder
from ssl_pipeline_plugins.backbones.resnet_cifar import ResNetCifar
from tests.deployment.conftest import Model, describe


@pytest.fixture
def encoder(model: Model) -> Encoder:
    return copy.deepcopy(model.encoder)


def test_a_network_that_ships_passes_and_is_left_as_it_was(encoder, capsys):
    encoder.train()
    weights = {name: value.clone() for name, value in encoder.state_dict().items()}
    numbers = torch.get_rng_state()
    rehearse(encoder, describe(encoder))
    assert "'resnet_cifar' exports to ONNX: a trial took" in capsys.readouterr().err
    assert encoder.training
    assert torch.equal(torch.get_rng_state(), numbers)
    assert all(torch.equal(value, weights[name]) for name, value in encoder.state_dict().items())


def test_a_network_whose_way_depends_on_values_is_refused_in_one_sentence(encoder, monkeypatch):
    plain = ResNetCifar.forward
    monkeypatch.setattr(
        ResNetCifar, "forward", lambda self, images: plain(self, images if images.sum() > 0 else -images)
    )
    with pytest.raises(ConfigError) as caught:
        rehearse(encoder, describe(encoder))
    message = str(caught.value)
    assert message.startswith("pretrain.backbone: 'resnet_cifar' cannot be exported to ONNX, so nothing could ship")
    assert "data-dependent" in message
    assert message.endswith("Choose another backbone, or fix this one.")
    assert len(message) < 400
    assert "\n" not in message


def test_a_graph_that_computes_something_else_is_refused(encoder, monkeypatch):
    plain = ResNetCifar.forward

    def two_faced(self, images):
        return plain(self, images) * (1.001 if torch.compiler.is_exporting() else 1.0)

    monkeypatch.setattr(ResNetCifar, "forward", two_faced)
    with pytest.raises(ConfigError, match=r"does not export exactly: before training, .* differ by 1\.0e-03"):
        rehearse(encoder, describe(encoder))
