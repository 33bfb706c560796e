"""Pretext tasks, for all recipes: what they ask for, what they learn, and what they leave behind."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from benchmarks.project import BACKBONES
from ssl_pipeline.artifacts.assembly import build_encoder, build_task
from ssl_pipeline.config import Choice, load
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.loading import load_registry
from ssl_pipeline.recipes import resolve
from ssl_pipeline.testing.material import make_captions, make_step, make_targets
from ssl_pipeline.types import TEACHER, UNIFORMS, PretextTask
from tests.factories import BACKBONE

REGISTRY = load_registry()
STEP = make_step(32, number=1, total=2)
CONFIG = load(Path(__file__).parents[2] / "params.yaml").pretrain
DRAWING = ("denoise", "masked", "masked_tokens", "missing_frame")
"""Recipes that have to fill in images, which a network of 4 channels does not learn in 20 steps."""


@pytest.fixture(scope="module")
def images() -> Tensor:
    """32 real digits (N, 3, 16, 16) in [0, 1]."""
    grey = torch.tensor(load_digits().images[:32], dtype=torch.float32) / 16
    return torch.nn.functional.interpolate(grey[:, None], size=16).expand(-1, 3, -1, -1).contiguous()


def make(recipe: str) -> PretextTask:
    usual = CONFIG.backbone if recipe in DRAWING else BACKBONE
    backbone = Choice.model_validate(BACKBONES.get(recipe, usual))
    encoder = build_encoder(REGISTRY, backbone, (0.3,) * 3, (0.3,) * 3, seed=0, size=16)
    for_few = {  # a long queue would hold many keys of each of 32 images; a covariance of 32 dimensions is singular
        "mocov2": {"negatives": {"queue_size": 32}},
        "w_mse": {"pretext_task": {"out_dim": 8}},
        "distill_relations": {"loss": {"queue_size": 0}},
    }
    values = {"recipe": recipe, **for_few.get(recipe, {})}
    return build_task(REGISTRY, resolve(REGISTRY, CONFIG.model_copy(update=values)), encoder, seed=0, size=16)


def views_of(task: PretextTask, images: Tensor) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    drift = 2 if task.views.frames else 0  # px from one frame of a clip to the next
    noisy = [
        images.roll(drift * number, 3) + (0.1 if drift else 0.5) * torch.randn(images.shape, generator=generator)
        for number in range(max(task.views.counts.values()))
    ]  # different enough to leave something to learn
    views = {kind: torch.stack(noisy[:count], dim=1) for kind, count in task.views.counts.items()}
    numbers = torch.rand(len(images), task.uniforms, generator=generator)
    captions = {} if task.text_tower is None else make_captions(task.text_tower.needs, len(images), seed=0)
    taught = {} if task.teaching is None else {TEACHER: make_targets(images[:, None], task.teaching.dim)}
    return {**views, UNIFORMS: numbers, **captions, **taught}


@pytest.mark.parametrize("recipe", REGISTRY.names("recipe"))
def test_a_recipe_learns_and_its_gradients_reach_the_whole_encoder(recipe: str, images: Tensor):
    task = make(recipe).train()
    optimizer = torch.optim.AdamW(task.parameters(), lr=2e-3)
    losses = []
    for number in range(20):
        step = make_step(32, number=number, total=20)
        output = task.compare(task(views_of(task, images)), step)
        assert torch.isfinite(output.loss)
        assert all(not metric.requires_grad and metric.ndim == 0 for metric in output.metrics.values())
        optimizer.zero_grad()
        output.loss.backward()
        if number == 0:
            missing = [name for name, weight in task.encoder.named_parameters() if weight.grad is None]
            assert missing == []
            assert all(weight.grad.any() for weight in task.encoder.parameters())
        optimizer.step()
        task.after_step(step, output.kept)
        losses.append(output.loss.item())
    assert sum(losses[-3:]) / 3 < 0.8 * losses[0]


@pytest.mark.parametrize("recipe", REGISTRY.names("recipe"))
def test_the_loss_does_not_depend_on_the_order_of_the_samples(recipe: str, images: Tensor):
    task = make(recipe).train()
    order = torch.randperm(32, generator=torch.Generator().manual_seed(0))
    views = views_of(task, images)
    shuffled = {kind: value[order] for kind, value in views.items()}
    steps = STEP, replace(STEP, ids=STEP.ids[order])
    losses = [task.compare(task(batch), step).loss.item() for batch, step in zip((views, shuffled), steps, strict=True)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("recipe", REGISTRY.names("recipe"))
def test_a_task_is_drawn_from_its_seed_and_leaves_the_generator_alone(recipe: str):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = make(recipe).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    second = make(recipe).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_rotation_turns_by_quarters_and_names_the_turn(images: Tensor):
    task = make("rotation").eval()
    logits = task({"global": images[:2, None]})["logits"]
    turned = torch.stack([images[:2], images[:2].transpose(2, 3).flip(2)], dim=1)  # 0 and 90 degrees, built by hand
    for turns in range(2):
        expected = task.head(task.encoder(turned[:, turns]))  # type: ignore[operator,union-attr]
        torch.testing.assert_close(logits[:, turns], expected, rtol=1e-4, atol=1e-5)


def test_rotation_on_images_without_an_upright_stays_at_chance():
    """A centred disc looks the same after each quarter turn: an accuracy above 1/4 would reveal a trace of turning."""
    axis = torch.linspace(-1, 1, 16)
    radius = (axis[:, None] ** 2 + axis[None, :] ** 2).sqrt()
    sizes = torch.linspace(0.2, 1.0, 32)
    discs = (radius[None] < sizes[:, None, None]).float()[:, None].expand(-1, 3, -1, -1)
    task = make("rotation").train()
    optimizer = torch.optim.AdamW(task.parameters(), lr=2e-3)
    for _ in range(15):
        output = task.compare(task({"global": discs[:, None]}), STEP)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
    assert output.metrics["pretext_accuracy"].item() == pytest.approx(0.25, abs=0.02)


def test_joint_embedding_s_energy_is_the_loss_s_own_energy_of_its_projections(images: Tensor):
    task = make("simclr").eval()
    assert task.energy_head is not None
    embeddings = task.encoder(images)
    energy = task.energy_head(embeddings[:16], embeddings[16:])
    projections = task.predict(images)
    torch.testing.assert_close(projections.norm(dim=1), torch.ones(32))
    torch.testing.assert_close(energy, -(projections[:16] * projections[16:]).sum(1) / 0.2, rtol=1e-4, atol=1e-4)
    assert task.energy_head.name == "negative_cosine_over_temperature_of_projections"


def test_moco_holds_the_first_view_against_the_teacher_s_second_and_a_queue(images: Tensor):
    """He et al.'s algorithm 1 on the encoded views, with a teacher that differs from its student."""
    task = make("mocov2").train()
    for weight in task.teacher.parameters():
        weight.data.mul_(1.1)
    views = views_of(task, images)
    past = make_step(32, seed=1, total=2)  # other images, since an image does not meet its own old keys
    task.after_step(past, task.compare(task(views), past).kept)
    queue = task.negatives.memory.held().clone()
    encoded = task(views)
    q = torch.nn.functional.normalize(task.energy_head.projector(torch.cat(encoded["embeddings"].unbind(1))), dim=1)[
        :32
    ]
    both = task.teacher["projector"](torch.cat(encoded["teacher"].unbind(1)))
    k = torch.nn.functional.normalize(both, dim=1)[32:]
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T], dim=1) / 0.2
    expected = torch.nn.functional.cross_entropy(logits, torch.zeros(32, dtype=torch.long))
    output = task.compare(encoded, STEP)
    assert output.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    task.after_step(STEP, output.kept)
    torch.testing.assert_close(task.negatives.memory.held(), k)


def test_after_a_step_the_teacher_s_encoder_and_projector_follow_the_student_s(images: Tensor):
    task = make("mocov2").train()
    students = {"encoder": task.encoder, "projector": task.energy_head.projector}
    with torch.no_grad():
        for student in students.values():
            for weight in student.parameters():
                weight.add_(1.0)
    kept = task.compare(task(views_of(task, images)), STEP).kept
    before = {name: [w.clone() for w in task.teacher[name].network.parameters()] for name in students}
    task.after_step(STEP, kept)
    for name, student in students.items():
        moved = task.teacher[name].network.parameters()
        for old, new, theirs in zip(before[name], moved, student.parameters(), strict=True):
            torch.testing.assert_close(new, 0.99 * old + 0.01 * theirs)


def test_no_gradient_goes_to_what_asks_for_a_neighbour(images: Tensor):
    task = make("nnclr").train()
    encoded = task(views_of(task, images))
    own = task.projected(encoded)
    assert not task._candidates(encoded, own, STEP)[
        0
    ].anchors.requires_grad  # it is its own neighbour while the support set is empty
    task.after_step(STEP, task.compare(encoded, STEP).kept)
    assert not task._candidates(encoded, task.projected(encoded), STEP)[0].anchors.requires_grad


def test_nnclr_asks_the_neighbour_for_the_other_view(images: Tensor):
    task = make("nnclr").train()
    views = views_of(task, images)
    task.after_step(STEP, task.compare(task(views), STEP).kept)
    past = task.support.held().clone()
    encoded = task(views)
    own = task.energy_head.projector(torch.cat(encoded["embeddings"].unbind(1)))
    predicted = torch.nn.functional.normalize(task.predictor(own), dim=1)
    neighbours = past[(torch.nn.functional.normalize(own, dim=1) @ past.T).argmax(1)]
    terms = []
    for asking, asked in ((slice(32), slice(32, 64)), (slice(32, 64), slice(32))):
        logits = neighbours[asking] @ predicted[asked].T / 0.2  # (N, N): N - 1 negatives, as in the paper
        terms.append(torch.nn.functional.cross_entropy(logits, torch.arange(32)))
    expected = torch.stack(terms).mean()
    assert task.compare(encoded, STEP).loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"neighbours": -1}, "neighbours must be at least 0, got -1"),
        ({"local_views": -1}, "local_views must be at least 0, got -1"),
        ({"momentum": 0.9, "neighbours": 8}, "momentum and neighbours cannot be combined"),
        ({"momentum": 1.0}, "momentum must lie in"),
    ],
)
def test_options_of_joint_embedding_that_make_no_sense_are_refused(options: dict[str, float], words: str):
    encoder = build_encoder(REGISTRY, CONFIG.backbone, (0.3,) * 3, (0.3,) * 3, seed=0, size=16)
    config = CONFIG.model_copy(update={"pretext_task": options})
    with pytest.raises(ConfigError, match=words):
        build_task(REGISTRY, resolve(REGISTRY, config), encoder, seed=0, size=16)
