"""Multi-crop compares every crop with each global view other than itself: checked against a loop over all pairs."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline.artifacts.assembly import build_encoder, build_task, class_of
from ssl_pipeline.config import Choice, PretrainConfig, load
from ssl_pipeline.loading import load_registry
from ssl_pipeline.parts.embedded_views import EmbeddedViews
from ssl_pipeline.parts.multi_crop import add_local_pairs
from ssl_pipeline.recipes import resolve
from ssl_pipeline.testing.material import make_step
from ssl_pipeline.types import ViewNeeds
from ssl_pipeline_plugins.pretext.joint_embedding import JointEmbedding

REGISTRY = load_registry()
CONFIG = load(Path(__file__).parents[2] / "params.yaml").pretrain
BACKBONE = Choice.model_validate({"name": "resnet_cifar", "depth": 8, "width": 4})
IMAGES, LOCAL, TEMPERATURE = 5, 4, 0.2
STEP = make_step(IMAGES)


def make(recipe: str = "simclr", negatives: dict[str, object] | None = None, **options: object) -> EmbeddedViews:
    values = {"recipe": recipe, "pretext_task": {"local_views": LOCAL, **options}, "negatives": negatives or {}}
    config = PretrainConfig.model_validate({**CONFIG.model_dump(), **values})
    encoder = build_encoder(REGISTRY, BACKBONE, (0.3,) * 3, (0.3,) * 3, seed=0, size=8)
    task = build_task(REGISTRY, resolve(REGISTRY, config), encoder, seed=0, size=16)
    assert isinstance(task, EmbeddedViews)
    return task.train()


def random_views(images: int = IMAGES) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "global": torch.rand(images, 2, 3, 8, 8, generator=generator),
        "local": torch.rand(images, LOCAL, 3, 4, 4, generator=generator),
    }


def random_embeddings(task: JointEmbedding) -> dict[str, Tensor]:
    """Return what forward would return, as float64 leaves."""
    generator = torch.Generator().manual_seed(1)
    counts = {"embeddings": 2, "local": LOCAL} | ({"teacher": 2} if task.teacher else {})
    shapes = {name: (IMAGES, count, task.encoder.embedding_dim) for name, count in counts.items()}
    made = {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}
    return {name: value.requires_grad_(name != "teacher") for name, value in made.items()}


def by_definition(task: JointEmbedding, encoded: dict[str, Tensor], past: Tensor | None) -> Tensor:
    """Compute InfoNCE in loops over all pairs of a crop and another view that is global."""
    crops = torch.cat([encoded["embeddings"], encoded["local"]], dim=1).unbind(1)  # (2 + L) of (N, D)
    own = task.energy_head.projector(torch.cat(crops))
    seen = F.normalize(task.predictor(own), dim=1).split(IMAGES)
    plain = F.normalize(own, dim=1).split(IMAGES)
    targets = plain[:2]
    if task.teacher:
        projected = task.teacher["projector"](torch.cat(encoded["teacher"].unbind(1)))
        targets = F.normalize(projected, dim=1).split(IMAGES)
    terms = []
    for crop in range(2 + LOCAL):
        for target in (0, 1) if task.symmetric else (0,) if past is not None else (1,):
            if crop == target:
                continue
            for image in range(IMAGES):
                # keys are targets of other images; for NNCLR, a neighbour is the anchor, and predictions are the keys
                asks, answer, keys, used = seen[crop][image], targets[target][image], targets, (0, 1)
                if past is not None:
                    nearest = past[(past @ plain[target][image]).argmax()].detach()
                    asks, answer, keys = nearest, seen[crop][image], seen
                if not task.symmetric:
                    used = (1,)
                others = [asks @ keys[view][other] for view in used for other in range(IMAGES) if other != image]
                positive = asks @ answer / TEMPERATURE
                terms.append(torch.stack([positive, *(one / TEMPERATURE for one in others)]).logsumexp(0) - positive)
    return torch.stack(terms).mean()


@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "one-sided"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"predictor_dim": 16},
        {"momentum": 0.9},
        {"momentum": 0.9, "predictor_dim": 16},
        {"neighbours": 20},
        {"neighbours": 20, "predictor_dim": 16},
    ],
    ids=["plain", "predictor", "teacher", "teacher and predictor", "neighbours", "neighbours and predictor"],
)
def test_value_and_gradients_are_those_of_the_definition_in_float64(options: dict[str, object], symmetric: bool):
    task = make(symmetric=symmetric, **options).double()
    for weight in task.teacher.parameters():
        weight.data.mul_(1.1)  # makes the teacher differ from its student
    past = None
    if task.support is not None:
        past = F.normalize(torch.randn(20, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(2)), dim=1)
        task.support.push(past)
    encoded = random_embeddings(task)
    heads = [*task.energy_head.projector.parameters(), *task.predictor.parameters()]
    leaves = [encoded["embeddings"], encoded["local"], *heads]
    found, expected = task.compare(encoded, STEP).loss, by_definition(task, encoded, past)
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    ours, theirs = (torch.autograd.grad(value, leaves) for value in (found, expected))
    assert theirs[1].norm() > 1e-3  # local views receive gradients
    for own, wanted in zip(ours, theirs, strict=True):
        assert (own - wanted).norm() <= 1e-9 * theirs[0].norm()


@pytest.mark.parametrize(("symmetric", "rows"), [(True, 2 + 2 * LOCAL), (False, 1 + LOCAL)])
def test_local_views_are_anchors_and_no_keys(symmetric: bool, rows: int):
    task = make("mocov2", {"queue_size": 64}, symmetric=symmetric)
    encoded = task(random_views())
    (candidates,) = task._candidates(encoded, task.projected(encoded), STEP)
    assert len(candidates.anchors) == len(candidates.positives) == len(candidates.anchor_samples) == rows * IMAGES
    assert len(candidates.keys) == len(candidates.key_samples) == (2 if symmetric else 1) * IMAGES
    task.after_step(STEP, task.compare(task(random_views()), STEP).kept)
    assert len(task.negatives.memory.held()) == len(candidates.keys)


def test_the_teacher_sees_global_views_only():
    task, seen = make("mocov2"), []
    task.teacher["encoder"].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape))
    encoded = task(random_views())
    assert seen == [(2 * IMAGES, 3, 8, 8)]
    assert encoded["teacher"].shape == encoded["embeddings"].shape == (IMAGES, 2, 16)
    assert encoded["local"].shape == (IMAGES, LOCAL, 16)
    assert encoded["local"].requires_grad
    assert not encoded["teacher"].requires_grad
    task.eval()
    views, encoded = random_views(), task(random_views())
    for view in range(2):
        expected = task.teacher["encoder"](views["global"][:, view])
        torch.testing.assert_close(encoded["teacher"][:, view], expected, rtol=1e-4, atol=1e-5)


def test_each_kind_is_encoded_in_one_pass_and_chunks_can_be_concatenated():
    task, sizes = make().eval(), []
    task.encoder.register_forward_hook(lambda module, inputs, output: sizes.append(inputs[0].shape[-1]))
    views = random_views()
    whole = task(views)
    assert sizes == [8, 4]
    parts = [task({kind: value[part] for kind, value in views.items()}) for part in (slice(0, 2), slice(2, None))]
    for name, value in whole.items():
        torch.testing.assert_close(torch.cat([part[name] for part in parts]), value, rtol=1e-4, atol=1e-5)
    for view in range(LOCAL):
        alone = task.encoder(views["local"][:, view])
        torch.testing.assert_close(whole["local"][:, view], alone, rtol=1e-4, atol=1e-5)


def test_without_local_views_all_is_as_it_was():
    task = make(local_views=0)
    assert task.views == ViewNeeds("global", 2)
    assert task(random_views()).keys() == {"embeddings"}
    anchors, positives = torch.rand(6, 4), torch.rand(6, 4)
    for as_anchors in (True, False):
        added = add_local_pairs(anchors, positives, anchors[6:], 3, as_anchors=as_anchors)
        assert added[0] is anchors
        assert added[1] is positives


def of_views(recipe: str) -> bool:
    """Return whether a recipe learns from views of images alone, so that some of them can be local."""
    task = resolve(REGISTRY, CONFIG.model_copy(update={"recipe": recipe})).pretext_task.name
    return issubclass(class_of(REGISTRY.find("pretext_task", task).factory), EmbeddedViews)


RECIPES = [name for name in REGISTRY.names("recipe") if of_views(name)]
OTHERS = {
    "cross_batch": {"memory_size": 16, "start": 0.0},
    "hard_debiased": {"beta": 2.0, "class_prior": 0.02},
    "semi_hard": {"margin": 0.5},
    "ring": {"lower": 0.2, "upper": 0.9},
    "truncated": {"drop": 2},
}


@pytest.mark.parametrize(
    ("recipe", "negatives"),
    [(name, {}) for name in RECIPES]
    + [(name, {"name": other, **options}) for other, options in OTHERS.items() for name in ("simclr", "triplet")],
    ids=lambda value: value if isinstance(value, str) else value.get("name", ""),
)
def test_every_loss_and_strategy_takes_local_views(recipe: str, negatives: dict[str, object]):
    few = {"out_dim": 4} if recipe == "w_mse" else {}  # few dimensions: 12 centred images have a rank of at most 11
    task, views = make(recipe, negatives, **few), random_views(12)
    for number in range(2):  # memories are used from the second step on
        task.zero_grad()
        step = make_step(12, number=number, total=2)
        output = task.compare(task(views), step)
        output.loss.backward()
        task.after_step(step, output.kept)
    assert all(torch.isfinite(value) for value in (output.loss, *output.metrics.values()))
    assert all(torch.isfinite(weight.grad).all() for weight in task.encoder.parameters())
    assert any(weight.grad.any() for weight in task.encoder.parameters())
