"""The share of a strategy's weight on the anchor's own class, against counting pairs one by one."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline.artifacts.assembly import build_task
from ssl_pipeline.artifacts.files import load_encoder, load_task, save_model
from ssl_pipeline.augment.policy import Policies, Policy
from ssl_pipeline.config import PretrainConfig
from ssl_pipeline.contrast import similarity
from ssl_pipeline.data.labels import read_labels
from ssl_pipeline.data.store import open_split
from ssl_pipeline.evaluation.replayed_negatives import Batch, false_negatives, replay
from ssl_pipeline.evaluation.seen_images import choose_seen
from ssl_pipeline.loading import load_registry
from ssl_pipeline.parts.text_transformer import TextTransformer
from ssl_pipeline.positives_config import Positives
from ssl_pipeline.recipes import Recipe
from ssl_pipeline.types import Candidates, Negatives, NegativeStrategy, TextNeeds
from ssl_pipeline_plugins.negatives.cross_batch import CrossBatch
from ssl_pipeline_plugins.negatives.debiased import Debiased
from ssl_pipeline_plugins.negatives.false_negative import FalseNegative
from ssl_pipeline_plugins.negatives.hard import Hard, HardDebiased
from ssl_pipeline_plugins.negatives.in_batch import InBatch
from ssl_pipeline_plugins.negatives.queue import Queue
from ssl_pipeline_plugins.negatives.ring import Ring
from ssl_pipeline_plugins.negatives.semi_hard import SemiHard
from ssl_pipeline_plugins.negatives.truncated import Truncated
from tests.stages.small_project import as_they_are, write_models, write_store

CLASSES = 3


def batch(images: int, seed: int) -> Batch:
    """Return two views each of images whose positions depend mostly on their class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (images,), generator=generator)
    own = 4 * torch.eye(CLASSES, 8)[labels] + torch.randn(images, 8, generator=generator)
    views = own.repeat(2, 1) + 0.3 * torch.randn(2 * images, 8, generator=generator)
    return Batch(F.normalize(views, dim=1), labels, torch.arange(images) - 1000 * seed)


def weights_of_pairs(projections: Tensor, beta: float) -> Tensor:
    """Return exp(beta cos) as (2N, 2N), and 0 between a view and its own image."""
    images = len(projections) // 2
    samples = torch.arange(images).repeat(2)
    weights = (beta * projections.double() @ projections.double().T).exp()
    return weights * (samples[:, None] != samples[None])


@pytest.mark.parametrize("edge", [7, 1024])
def test_weights_on_the_own_class_are_counted(edge, monkeypatch):
    monkeypatch.setattr(similarity, "edge", lambda device: edge)
    given = projections, labels, _ = batch(20, 0)
    same = labels.repeat(2)[:, None] == labels.repeat(2)[None]
    alike = weights_of_pairs(projections, 0.0)
    chance = (alike * same).sum() / alike.sum()
    assert replay(InBatch(), iter([given])) == pytest.approx((chance.item(), chance.item()))
    harder = weights_of_pairs(projections, 2.0)
    harder = harder / harder.sum(dim=1, keepdim=True) * alike.sum(dim=1, keepdim=True)
    rate, by_chance = replay(Hard(beta=2.0), iter([given]))
    assert rate == pytest.approx(((harder * same).sum() / harder.sum()).item(), rel=1e-5)
    assert by_chance == pytest.approx(chance.item())
    assert rate > chance + 0.05


def test_what_drops_the_nearest_has_fewer_of_them_than_chance():
    rate, chance = replay(Truncated(drop=10), iter([batch(30, 1)]))
    assert rate < chance - 0.05


@pytest.mark.parametrize(
    ("strategy", "own_keys"), [(Queue(queue_size=1000), False), (CrossBatch(memory_size=1000), True)]
)
def test_remembered_keys_have_the_labels_of_the_images_they_came_from(strategy: NegativeStrategy, own_keys: bool):
    first, second = batch(12, 2), batch(12, 3)
    both = [labels.repeat(2) for _, labels, _ in (first, second)]
    of_first, of_second = weights_of_pairs(first[0], 0.0), weights_of_pairs(second[0], 0.0)
    hits = (of_first * (both[0][:, None] == both[0][None])).sum() + (both[1][:, None] == both[0][None]).sum()
    pairs = of_first.sum() + 24 * 24
    if own_keys:
        hits, pairs = hits + (of_second * (both[1][:, None] == both[1][None])).sum(), pairs + of_second.sum()
    rate, _ = replay(strategy, iter([first, second]))
    assert rate == pytest.approx((hits / pairs).item())


class Invented(NegativeStrategy):
    """Keys of images that were in no batch."""

    def select(self, candidates: Candidates) -> Negatives:
        return Negatives(-candidates.keys, candidates.anchor_samples, candidates.key_samples + 10**9)


def test_keys_without_a_label_have_no_rate():
    rate, chance = replay(Invented(), iter([batch(10, 4)]))
    assert math.isnan(rate)
    assert 0 < chance < 1


@pytest.mark.parametrize(
    "strategy",
    [
        Debiased(class_prior=0.1),
        HardDebiased(beta=2.0, class_prior=0.1),
        SemiHard(margin=0.3),
        Ring(lower=0.2, upper=0.9),
        FalseNegative(count=2, mode="attract"),
    ],
    ids=lambda strategy: type(strategy).__name__,
)
def test_any_strategy_can_be_replayed(strategy: NegativeStrategy):
    rate, chance = replay(strategy, iter([batch(16, 5), batch(16, 6)]))
    assert 0 < rate < 1
    assert 0 < chance < 1


def test_the_recipe_of_a_trained_model_is_replayed_on_its_own_batches(tmp_path):
    write_models(tmp_path)
    write_store(tmp_path / "store", as_they_are)
    folder, registry, store = tmp_path / "models/pretrain", load_registry(), tmp_path / "store"
    known = read_labels(store, "train"), read_labels(store, "val")
    seen = choose_seen((open_split(store, "train"), open_split(store, "val")), known, 260)
    views = {"global": Policy(size=8)}
    policies = Policies(seed=0, views=views)
    encoder, card = load_encoder(registry, folder)
    assert false_negatives(registry, None, card, seen, policies) == {}  # rotation has no negatives
    parts = {
        "pretext_task": {"name": "joint_embedding", "hidden_dim": 8, "out_dim": 4},
        "loss": {"name": "info_nce", "temperature": 0.5},
        "negatives": {"name": "hard", "beta": 3.0},
    }
    recipe = Recipe.model_validate({"name": "hcl", **parts})
    task = build_task(registry, recipe, encoder, 0, 16)
    card = save_model(folder, encoder, task.energy_head, card.model_copy(update={"recipe": recipe}))
    found = false_negatives(registry, load_task(registry, folder), card, seen, policies)
    assert (found["strategy"], found["images"]) == ("hard", 256)  # 260 are 4 batches of 64, and 4 are left over
    assert 0.07 < found["chance"] < 0.13
    assert 0 < found["rate"] < 0.3  # the network has learned nothing
    assert found["rate"] != found["chance"]
    reads_captions = load_task(registry, folder)
    reads_captions.text_tower = TextTransformer(TextNeeds(300, 4), 4, width=4, depth=1, heads=1)
    assert false_negatives(registry, reads_captions, card, seen, policies) == {}
    in_time = PretrainConfig.model_construct(positives=Positives(within=1.0))
    card = card.model_copy(update={"pretrain": in_time})
    assert false_negatives(registry, load_task(registry, folder), card, seen, policies) == {}
