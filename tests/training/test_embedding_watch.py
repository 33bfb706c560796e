"""The watch leaves training unchanged, and non-finite numbers end a run with a remedy."""

import math
from functools import partial

import pytest
import torch

from ssl_pipeline.training.checkpoint import Checkpoints
from ssl_pipeline.training.embedding_watch import EmbeddingWatch
from ssl_pipeline.training.endings import DivergedError, refuse_non_finite
from ssl_pipeline.training.precision import Precision
from ssl_pipeline.training.run import Run


@pytest.fixture
def probe(pool, policies, cpu):
    """Return a function of a batch size that makes a watch, which is a function of an encoder."""

    def make(batch_size=16):
        watch = EmbeddingWatch(pool, "global", 0, Precision("fp32", cpu), batch_size)
        return partial(watch.measure, policy=policies["global"])

    return make


def test_looking_changes_nothing(probe, build_small, configure):
    encoder = build_small(configure()).encoder.train()
    frozen = next(module for module in encoder.modules() if isinstance(module, torch.nn.BatchNorm2d)).eval()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    generator = torch.get_rng_state()
    probe()(encoder)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert encoder.training
    assert not frozen.training


def test_what_is_seen_depends_on_the_encoder_alone(probe, build_small, configure):
    encoder = build_small(configure()).encoder
    first = probe()(encoder)
    assert probe()(encoder) == first
    assert probe(batch_size=7)(encoder) == pytest.approx(first, rel=1e-5)
    watch, other = probe(), build_small(configure(seed=1)).encoder
    assert watch(other) != first
    assert watch(encoder) == first  # whatever it evaluated before


def test_extremes_are_told_apart(probe):
    class Pixels(torch.nn.Module):
        def forward(self, images):
            return images.flatten(1)

    class Constant(torch.nn.Module):
        def forward(self, images):
            return torch.ones(len(images), 8)

    pixels, constant = probe()(Pixels()), probe()(Constant())
    assert constant["embedding_std"] == pytest.approx(0.0, abs=1e-6)
    assert constant["alignment"] == pytest.approx(0.0, abs=1e-6)
    assert constant["effective_rank"] == pytest.approx(1.0, abs=1e-3)
    assert pixels["embedding_std"] > 0.2
    assert pixels["effective_rank"] > 5
    assert 0.0 < pixels["alignment"] < 1.0  # two views of an image differ, but not like views of two images
    assert pixels["uniformity"] < constant["uniformity"]
    assert pixels["view_recall"] > 0.1
    assert constant["view_recall"] == 0.0


@pytest.mark.parametrize(
    ("loss", "norm", "fp16", "ends"),
    [
        (1.0, 2.0, False, False),
        (math.nan, 2.0, False, True),
        (math.inf, 2.0, True, True),
        (1.0, math.inf, False, True),
        (1.0, math.nan, True, False),  # GradScaler skips this step and lowers its scale
    ],
)
def test_numbers_that_are_not_finite_end_the_run(loss, norm, fp16, ends):
    if not ends:
        refuse_non_finite(7, loss, norm, fp16)
        return
    with pytest.raises(DivergedError, match=r"(?s)step 7: .*learning_rate.*clip_norm.*precision"):
        refuse_non_finite(7, loss, norm, fp16)


def test_in_step_0_the_learning_rate_is_not_blamed():
    with pytest.raises(
        DivergedError, match=r"(?s)step 0: .*not the cause.*log\(0\).*ssl_pipeline\.testing.*init"
    ) as told:
        refuse_non_finite(0, math.nan, math.nan, fp16=False)
    assert "pretrain.optimizer" not in str(told.value)


@pytest.mark.parametrize(("rate", "ratio"), [(0.02, 0.2 / math.sqrt(17)), (0.5, 5 / math.sqrt(17)), (0.0, 0.0)])
def test_a_step_is_measured_against_the_length_of_the_matrices(rate, ratio, cpu, tmp_path):
    """With weights (1, 4) and a gradient of (6, 8), a step at rate r has length 10 r. The bias is ignored."""
    layer = torch.nn.Linear(2, 1)
    layer.weight.data, layer.bias.data = torch.tensor([[1.0, 4.0]]), torch.tensor([100.0])
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    run = Run(layer, optimizer, Precision("fp32", cpu).scaler(), Checkpoints(tmp_path, "run", {}), 60)
    run.backward(layer(torch.tensor([[6.0, 8.0]])).sum(), clip_norm=0.0)
    assert run.step(rate, measured=True) == {"update_ratio": pytest.approx(ratio)}
    assert layer.weight.tolist() == [[pytest.approx(1 - 6 * rate), pytest.approx(4 - 8 * rate)]]
    assert run.step(rate) == {}


def test_a_backbone_that_computes_blocks_again_goes_on_doing_so_after_a_look(probe, build_small, configure):
    task = build_small(configure(backbone={"name": "timm/test_vit", "patch_size": 4, "checkpoint_blocks": True}))
    encoder = task.encoder.train()
    probe()(encoder)
    assert encoder.backbone.network.grad_checkpointing
