"""The weights that pretraining started from can be restored from the products alone."""

import pytest
import safetensors.torch
import torch

from ssl_pipeline.artifacts.assembly import build_encoder
from ssl_pipeline.artifacts.card import read_card
from ssl_pipeline.artifacts.files import save_model
from ssl_pipeline.artifacts.start import START, save_start, started
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.loading import load_registry
from tests.artifacts.test_artifacts import CONFIG, MEAN, REGISTRY, STD, saved


def test_given_weights_come_back_and_random_ones_are_not_kept(tmp_path):
    task, card = saved(tmp_path, "colorization")
    assert started(REGISTRY, tmp_path) is None
    before = build_encoder(REGISTRY, CONFIG.backbone, MEAN, STD, 7, 16).eval()
    card = save_start(tmp_path, before.state_dict(), card)
    save_model(tmp_path, task.encoder, None, card)
    found = started(load_registry(), tmp_path)
    assert found is not None
    assert not found.training
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(found(images), before(images))  # in colour, though the trained encoder ignores colour


def test_other_weights_than_those_of_the_card_are_refused(tmp_path):
    task, card = saved(tmp_path)
    save_model(tmp_path, task.encoder, None, save_start(tmp_path, task.encoder.state_dict(), card))
    assert read_card(tmp_path).start_sha256
    another = save_start(tmp_path, {"other": torch.zeros(1)}, card)
    with pytest.raises(PipelineError, match=r"start\.safetensors is not the file that .*model\.json describes"):
        started(REGISTRY, tmp_path)
    save_model(tmp_path, task.encoder, None, another)
    with pytest.raises(PipelineError, match=r"start\.safetensors does not fit the network that the code now builds"):
        started(REGISTRY, tmp_path)
    safetensors.torch.save_file({"other": torch.ones(1)}, tmp_path / START)
    with pytest.raises(PipelineError, match=r"start\.safetensors is damaged"):
        started(REGISTRY, tmp_path)
    (tmp_path / START).unlink()
    with pytest.raises(PipelineError, match="the stage 'pretrain' makes it"):
        started(REGISTRY, tmp_path)
