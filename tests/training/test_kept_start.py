"""Protection of initial weights: frozen at first, batch norms recalibrated, slow early layers, a shipped average."""

import os
import signal
from itertools import islice

import numpy as np
import pytest
import safetensors.torch
import torch
from timm.optim import param_groups_layer_decay
from torch import nn

from ssl_pipeline.config import Choice
from ssl_pipeline.training import pretraining
from ssl_pipeline.training.average import WeightAverage, put_average
from ssl_pipeline.training.batch_encoder import BatchEncoder
from ssl_pipeline.training.layer_depth import layers_from_the_end
from ssl_pipeline.training.optimization import learning_rate, parameter_groups
from ssl_pipeline.training.precision import Precision
from ssl_pipeline.training.pretraining import Plan
from ssl_pipeline.training.settling import settle
from ssl_pipeline.training.view_sizes import ViewSizes
from tests.factories import BACKBONE
from tests.training.conftest import REGISTRY
from tests.training.test_pretraining import same_bits


@pytest.fixture
def continued(configure, build_small, tmp_path):
    """Return a function of values that configures a run from the weights of an encoder of another seed.

    Its batch norms learn, too, unless the values say otherwise.
    """
    path = tmp_path / "start.safetensors"
    first = build_small(configure(seed=7)).encoder
    safetensors.torch.save_file(first.state_dict(), path)
    return lambda **values: configure(**{"init": str(path), "freeze_norms": False} | values)


def backbone_of(task):
    """Return weights and statistics as bytes."""
    return {name: value.numpy().tobytes() for name, value in task.encoder.backbone.state_dict().items()}


@pytest.mark.parametrize("values", [{}, {"recipe": "byol"}, {"micro_batch": 6}, {"recipe": "rotation"}])
def test_a_frozen_backbone_keeps_its_bytes_and_its_heads_learn(run, continued, monkeypatch, values):
    """The same holds for a teacher's copy. Statistics are recalibrated before, and change once the backbone learns."""
    seen, heads, step = [], [], pretraining.Run.step

    def stepping(self, *args, **options):
        seen.append(backbone_of(self.module))
        heads.append([w.detach().clone() for n, w in self.module.named_parameters() if "backbone" not in n])
        return step(self, *args, **options)

    monkeypatch.setattr(pretraining.Run, "step", stepping)
    task, _ = run(continued(freeze_epochs=2, **values))
    assert all(state == seen[0] for state in seen[:6])  # two of four epochs, with three steps each
    assert seen[6] != seen[5]  # its running statistics: the first batch has been encoded in training mode
    assert seen[7]["stem.0.weight"] != seen[6]["stem.0.weight"] == seen[0]["stem.0.weight"]
    assert not all(torch.equal(first, second) for first, second in zip(heads[0], heads[5], strict=True))
    assert all(weight.requires_grad for weight in task.encoder.parameters())
    assert task.encoder.backbone.training or values.get("recipe") == "byol"


@pytest.mark.parametrize("values", [{"freeze_epochs": 1}, {"recipe": "byol"}])
def test_batch_norms_that_are_frozen_keep_what_was_given_while_all_weights_learn(run, continued, values):
    section = continued(**values, freeze_norms=True)
    given = safetensors.torch.load_file(section.init)
    task, _ = run(section)
    learned = {name: value.numpy() for name, value in task.encoder.state_dict().items() if name in given}
    kept = {name for name, value in learned.items() if np.array_equal(value, given[name].numpy())}
    statistics = {name for name in learned if "running_" in name or "num_batches" in name}
    assert statistics
    assert {name for name in kept if name.startswith("backbone.")} == statistics


def test_each_phase_warms_up_and_falls_by_itself(configure, tmp_path):
    plan = Plan.of(48, configure(init="a.pth", epochs=8, freeze_epochs=2, warmup=0.25))
    assert (plan.frozen, plan.frozen_warmup, plan.warmup, plan.total) == (6, 2, 4, 24)
    wanted = [learning_rate(step, 6, 2, 3.0) for step in range(6)] + [learning_rate(s, 18, 4, 3.0) for s in range(18)]
    assert [plan.rate(step, 3.0) for step in range(24)] == wanted
    plain = Plan.of(48, configure(epochs=8, warmup=0.25))
    assert [plain.rate(step, 3.0) for step in range(24)] == [learning_rate(step, 24, 6, 3.0) for step in range(24)]


KEPT = {"freeze_epochs": 2, "layer_decay": 0.5, "ema": 0.8}


@pytest.mark.parametrize("values", [KEPT, {**KEPT, "recipe": "byol"}], ids=["simclr", "byol"])
def test_a_stopped_run_ends_as_if_it_had_not_been(run, continued, monkeypatch, values):
    """It is stopped while the backbone is frozen, in the last step before it learns, and once the average has begun."""
    config = continued(**values)
    whole, curves = run(config, name="whole")
    steps, compare, at = [], type(whole).compare, {2, 5, 9}

    def interrupted(task, encoded, step):
        steps.append(step.number)
        if step.number in at:
            os.kill(os.getpid(), signal.SIGINT)
        return compare(task, encoded, step)

    monkeypatch.setattr(type(whole), "compare", interrupted)
    for done in (3, 6, 10):
        with pytest.raises(KeyboardInterrupt, match=rf"stopped after step {done} of 12"):
            run(config)
    pieced, again = run(config)
    assert steps == list(range(12))
    assert same_bits(whole, pieced)
    assert curves.rows == again.rows


def test_the_average_is_that_of_its_formula_from_the_thaw_on(run, continued, monkeypatch):
    """Computed in float64 from the weights after each step in which the backbone learns; it is watched and it ships."""
    decay, weights, watched = 0.8, [], []
    step, measure = pretraining.Run.step, pretraining.EmbeddingWatch.measure

    def stepping(self, *args, **options):
        found = step(self, *args, **options)
        state = {name: value.double().clone() for name, value in self.module.state_dict().items()}
        weights.append({name: value for name, value in state.items() if not name.endswith("tracked")})
        return found

    def measuring(self, encoder, policy):
        watched.append(encoder.backbone.stem[0].weight.detach().clone())
        return measure(self, encoder, policy)

    monkeypatch.setattr(pretraining.Run, "step", stepping)
    monkeypatch.setattr(pretraining.EmbeddingWatch, "measure", measuring)
    task, _ = run(continued(freeze_epochs=1, ema=decay))
    learned = weights[3:]
    shares = np.array([decay ** (len(learned) - 1 - number) for number in range(len(learned))])
    shares *= (1 - decay) / (1 - decay ** len(learned))
    assert shares.sum() == pytest.approx(1.0)
    for name, value in task.state_dict().items():
        if not name.endswith("tracked"):
            wanted = sum(share * state[name] for share, state in zip(shares, learned, strict=True))
            torch.testing.assert_close(value.double(), wanted, rtol=0, atol=2e-6)
    assert torch.equal(watched[-1], task.encoder.backbone.stem[0].weight)
    plain, _ = run(continued(freeze_epochs=1), name="plain")
    assert not same_bits(plain, task)
    last = {name: value.float() for name, value in learned[-1].items()}
    assert all(torch.equal(value, last[name]) for name, value in plain.state_dict().items() if name in last)


def test_an_average_is_put_into_another_module_like_it_as_who_watches_a_checkpoint_does(build_small, configure):
    task, watched = build_small(configure()), build_small(configure(seed=3))
    average = WeightAverage(task, 0.9)
    for weight in task.parameters():
        weight.data.add_(1.0)
    average.follow(0)
    put_average(watched, average.state_dict())
    assert same_bits(task, watched)


def test_an_average_of_no_step_and_of_one_are_the_weights_themselves():
    layer = nn.Linear(2, 2)
    average, before = WeightAverage(layer, 0.99), layer.weight.detach().clone()
    average.restore()
    assert torch.equal(layer.weight, before)
    layer.weight.data.add_(1.0)
    average.follow(0)
    with average.in_place():
        assert torch.equal(layer.weight, before + 1.0)


@pytest.fixture
def encoding(pool, policies, build_small, continued, cpu):
    """Return a function that makes a task with initial weights, its batch encoder, and the places of two batches."""

    def make(at_once=16, **values):
        config = continued(**values)
        task = build_small(config).train()
        encoder = BatchEncoder(task, pool, ViewSizes.of(task, policies, config, 12), 0, Precision("fp32", cpu), at_once)
        return task, encoder, list(islice(Plan.of(48, config).batches(0, pool.ids, 0), 2))

    return make


@pytest.mark.parametrize("at_once", [16, 8])
def test_batch_norms_are_settled_to_the_means_over_batches(encoding, at_once):
    """The means of the inputs of each batch norm, batch by batch and in float64; everything else is unchanged."""
    task, encoder, places = encoding(at_once, recipe="byol")
    task.of_a_head = nn.BatchNorm1d(16)  # not in the backbone, but in the same forward pass
    task.encoder.register_forward_hook(lambda _, __, embeddings: task.of_a_head(embeddings))
    before, norm, given = task.state_dict(), task.encoder.backbone.stem[1], []
    before = {name: value.clone() for name, value in before.items()}
    with norm.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].double())):
        assert settle(task, encoder, places) == 2 * sum(isinstance(m, nn.BatchNorm2d) for m in task.encoder.modules())
    assert len(given) == 2 * 16 // at_once
    means = torch.stack([maps.mean(dim=(0, 2, 3)) for maps in given]).mean(dim=0)
    variances = torch.stack([maps.var(dim=(0, 2, 3)) for maps in given]).mean(dim=0)
    torch.testing.assert_close(norm.running_mean.double(), means, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(norm.running_var.double(), variances, atol=1e-6, rtol=1e-6)
    assert norm.momentum == 0.1
    after = task.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {
        name for name in after if "backbone" in name and name.endswith(("running_mean", "running_var", "tracked"))
    }


def test_only_a_given_start_is_settled_and_only_where_it_is_asked_for(run, configure, continued, monkeypatch):
    asked = []
    monkeypatch.setattr(pretraining, "settle", lambda task, encoder, places: asked.append(len(list(places))))
    run(configure(epochs=1))
    run(continued(epochs=1, settle_norms=False))
    assert asked == []
    run(continued(epochs=1))
    assert asked == [3]  # the batches of all 48 images


RESNET = {"stem.0.weight": 4, "stem.1.bias": 4, "blocks.0.norm1.weight": 3, "blocks.1.shortcut.0.weight": 2,
          "blocks.2.conv1.weight": 1}  # fmt: skip
TORCHVISION = {"conv1.weight": 9, "bn1.weight": 9, "layer1.0.conv1.weight": 8, "layer1.1.bn2.bias": 7,
               "layer3.0.downsample.1.weight": 4, "layer4.1.conv2.weight": 1}  # fmt: skip
TRANSFORMER = {"cls_token": 7, "pos_embed": 7, "patch_embed.proj.bias": 7, "blocks.0.norm1.weight": 6,
               "blocks.4.attn.qkv.weight": 2, "blocks.5.mlp.fc2.bias": 1, "norm.weight": 1}  # fmt: skip
REDUCED = {"stem.1.weight": 16, "stages.0.blocks.1.gamma": 14, "stages.1.downsample.0.weight": 13,
           "stages.1.downsample.1.weight": 13, "stages.1.blocks.0.conv_dw.weight": 12, "head.norm.weight": 1}  # fmt: skip
MOBILE = {"conv_stem.weight": 18, "bn1.weight": 18, "blocks.0.0.conv_dw.weight": 17, "blocks.1.1.bn3.weight": 15,
          "blocks.6.0.conv_pw.weight": 2, "conv_head.weight": 1, "bn2.bias": 1}  # fmt: skip


@pytest.mark.parametrize(
    ("backbone", "table"),
    [
        (BACKBONE, RESNET),
        (Choice(name="torchvision/resnet18"), TORCHVISION),
        (Choice(name="timm/test_vit"), TRANSFORMER),
        (Choice(name="timm/convnext_atto"), REDUCED),
        (Choice(name="timm/efficientnet_lite0"), MOBILE),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_layers_are_counted_from_the_end(backbone, table):
    network = REGISTRY.build("backbone", backbone, size=32, pretrained=False, in_channels=3)
    found = {name.removeprefix("network."): number for name, number in layers_from_the_end(network).items()}
    assert {name: found[name] for name in table} == table
    assert len(found) == len(list(network.parameters()))


def test_layers_are_those_of_timm_where_its_network_has_a_classifier():
    for model in ("resnet18", "test_vit", "regnetx_002"):
        theirs = dict(timm_shares(model))
        network = REGISTRY.build("backbone", Choice(name=f"timm/{model}"), size=32, pretrained=False, in_channels=3)
        ours = {name.removeprefix("network."): 0.5**number for name, number in layers_from_the_end(network).items()}
        assert ours == {name: theirs[name] for name in ours}


def timm_shares(model):
    import timm

    network = timm.create_model(model, num_classes=10)
    groups = param_groups_layer_decay(network, layer_decay=0.5)
    shares = {id(weight): group["lr_scale"] for group in groups for weight in group["params"]}
    return [(name, shares[id(weight)]) for name, weight in network.named_parameters()]


def test_groups_have_their_layer_s_share_of_the_rate_and_steps_take_it(run, configure, build_small):
    task = build_small(configure(seed=7))
    names = {id(weight): name for name, weight in task.named_parameters()}
    groups = parameter_groups(task, 0.1, 0.5)
    found = {
        names[id(weight)]: (group["lr_scale"], group["weight_decay"]) for group in groups for weight in group["params"]
    }
    assert len(found) == len(list(task.parameters()))
    assert found["encoder.backbone.stem.0.weight"] == (0.0625, 0.1)
    assert found["encoder.backbone.stem.1.bias"] == (0.0625, 0.0)
    assert found["encoder.backbone.blocks.2.conv1.weight"] == (0.5, 0.1)
    assert found["energy_head.projector.0.weight"] == (1.0, 0.1)
    assert "lr_scale" not in parameter_groups(task, 0.1)[0]
    moved = []
    for layer_decay in (1.0, 0.5):  # the first step of Adam is as long as its learning rate, whatever the gradient
        config = configure(seed=7, layer_decay=layer_decay, epochs=1, batch_size=48, warmup=0.0)
        after, _ = run(config, name=str(layer_decay))
        moved.append(
            {n: (w - dict(task.named_parameters())[n]).abs().max().item() for n, w in after.named_parameters()}
        )
    for name, share in found.items():
        if moved[0][name] > 1e-4:
            assert moved[1][name] == pytest.approx(share[0] * moved[0][name], rel=2e-2)
