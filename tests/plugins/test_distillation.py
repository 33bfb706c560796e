"""Distillation: losses of a teacher's embeddings against the papers' formulas in float64, and what a student learns."""

from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline.artifacts.assembly import build_encoder, build_task, teaching_of
from ssl_pipeline.config import Choice
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.loading import load_registry
from ssl_pipeline.recipes import Recipe
from ssl_pipeline.testing.material import make_step, make_views, small_encoder
from ssl_pipeline.types import TEACHER, PretextTask, Step
from ssl_pipeline_plugins.losses.embedding_distillation import EmbeddingDistillation
from ssl_pipeline_plugins.losses.prototype_distillation import PrototypeDistillation
from ssl_pipeline_plugins.losses.similarity_distillation import SimilarityDistillation

REGISTRY = load_registry()


def views_of(pairs: Any, count: int = 12) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Return the predictions (2, N, D) for two views with a graph, one target (1, N, D) for both, and the leaves."""
    leaves = pairs(count)
    return torch.stack(leaves), torch.randn(1, count, 8, generator=torch.Generator().manual_seed(1)).double(), leaves


def simreg(prediction: Tensor, target: Tensor) -> Tensor:
    """Compute equation 1 of 2201.05131: the mean squared distance of unit vectors."""
    return (F.normalize(prediction, dim=1) - F.normalize(target, dim=1)).square().sum(dim=1).mean()


def seed(prediction: Tensor, target: Tensor, row: int, past: Tensor, own: bool) -> Tensor:
    """Compute equations 3 to 5 of 2101.04731 for one image; without its own key they are 3 to 5 of 2107.09282.

    The keys are the other images of the batch and those of past steps.
    """
    z_s, z_t = F.normalize(prediction[row], dim=0), F.normalize(target, dim=1)
    keys = [*(z_t[j] for j in range(len(z_t)) if j != row), *past, *([z_t[row]] if own else [])]
    of_teacher = torch.stack([torch.exp(z_t[row] @ key / 0.1) for key in keys])
    of_student = torch.stack([torch.exp(z_s @ key / 0.2) for key in keys])
    return -(of_teacher / of_teacher.sum() * (of_student / of_student.sum()).log()).sum()


def test_embeddings_are_held_to_the_teacher_s_as_in_the_paper(pairs: Any, same: Any):
    predictions, targets, leaves = views_of(pairs)
    expected = (simreg(leaves[0], targets[0]) + simreg(leaves[1], targets[0])) / 2
    same(EmbeddingDistillation()(predictions, targets, make_step(12)).loss, expected, leaves)


@pytest.mark.parametrize("own", [True, False], ids=["SEED", "ReSSL"])
def test_similarities_are_the_teacher_s_as_in_the_papers(own: bool, pairs: Any, same: Any):
    """The queue also holds a key of the first image, which counts for every image except that one."""
    predictions, targets, leaves = views_of(pairs)
    past = F.normalize(torch.randn(5, 8, generator=torch.Generator().manual_seed(2)).double(), dim=1)
    loss, step = SimilarityDistillation(temperature=0.2, teacher_temperature=0.1, queue_size=5, own=own), make_step(12)
    assert loss.queue is not None
    loss.queue.remember(past, torch.tensor([1, 2, 3, 4, int(step.ids[0])]))
    rows = [(view, row, past[:4] if row == 0 else past) for view in leaves for row in range(12)]
    expected = torch.stack([seed(view, targets[0], row, keys, own) for view, row, keys in rows]).mean()
    same(loss(predictions, targets, step).loss, expected, leaves)


def test_where_the_teacher_sees_each_view_all_views_of_others_are_keys(pairs: Any, same: Any):
    """Two equal targets double every key, which adds log 2 to the cross-entropy."""
    predictions, targets, leaves = views_of(pairs)
    loss = SimilarityDistillation(temperature=0.2, teacher_temperature=0.1, own=False)
    of_each = [seed(view, targets[0], row, targets[0, :0], own=False) for view in leaves for row in range(12)]
    expected = torch.stack(of_each).mean() + torch.log(torch.tensor(2.0, dtype=torch.float64))
    same(loss(predictions, targets.repeat(2, 1, 1), make_step(12)).loss, expected, leaves)


def test_an_image_without_any_key_is_left_out():
    predictions = torch.randn(1, 1, 8, requires_grad=True)
    loss = SimilarityDistillation(own=False)(predictions, torch.randn(1, 1, 8), make_step(1)).loss
    loss.backward()
    assert loss.item() == 0
    assert predictions.grad is not None
    assert not predictions.grad.any()


def test_prototypes_are_spherical_k_means_and_a_student_is_held_to_the_softened_ones(pairs: Any, same: Any):
    predictions, targets, leaves = views_of(pairs)
    loss = PrototypeDistillation(prototypes=4, temperature=0.2, teacher_temperature=0.1)
    loss.fit_to(8)
    loss.double()
    z_t = F.normalize(targets[0], dim=1)
    output = loss(predictions, targets, make_step(12))
    loss.after_step(make_step(12), output.kept)
    sums = list(z_t[:4])  # the first images start clusters; each later one joins the nearest
    nearest = [max(range(4), key=lambda k, row=row: float(z_t[row] @ z_t[k])) for row in range(4, 12)]
    for row, k in zip(range(4, 12), nearest, strict=True):
        sums[k] = sums[k] + z_t[row]
    torch.testing.assert_close(loss.sums, torch.stack(sums))
    c = F.normalize(torch.stack(sums), dim=1)
    q = torch.exp(z_t @ c.T / 0.1) / torch.exp(z_t @ c.T / 0.1).sum(dim=1, keepdim=True)
    p = [torch.exp(F.normalize(view, dim=1) @ c.T / 0.2) for view in leaves]
    expected = sum(-(q * (view / view.sum(dim=1, keepdim=True)).log()).sum(dim=1).mean() for view in p) / 2
    step = Step(1, 2, 0, 0, make_step(12).ids)
    same(loss(predictions, targets, step).loss, expected, leaves)


def test_clusters_that_fill_unevenly_are_no_collapse():
    """An early, sound state of a run on 1,297 digits; with a tenth as many prototypes in use it is a collapse."""
    loss = PrototypeDistillation(prototypes=256)
    figures = {"prototypes_used": 51.7, "prototypes_of_an_image": 2.0, "prototypes_in_reach": 256.0, "progress": 0.08}
    assert loss.diagnose(figures) == []
    (found,) = loss.diagnose({**figures, "prototypes_used": 5.2})
    assert "teacher_temperature" in found.message


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SimilarityDistillation(temperature=0.0), "temperature must be greater than 0"),
        (lambda: SimilarityDistillation(teacher_temperature=-1.0), "teacher_temperature must be greater than 0"),
        (lambda: SimilarityDistillation(queue_size=-1), "queue_size must be at least 0"),
        (lambda: PrototypeDistillation(prototypes=1), "prototypes must be at least 2"),
        (lambda: PrototypeDistillation(temperature=0.0), "temperature and teacher_temperature must be greater than 0"),
    ],
)
def test_a_loss_refuses_what_is_out_of_range(make: Any, words: str):
    with pytest.raises(ValueError, match=words):
        make()


def made(loss: str = "embedding_distillation", encoder: Any = None, **options: Any) -> PretextTask:
    recipe = Recipe(
        name="own",
        pretext_task=Choice.model_validate({"name": "distill", "hidden_dim": 32, "teacher_dim": 12, **options}),
        loss=Choice(name=loss),
    )
    return build_task(REGISTRY, recipe, encoder or small_encoder(0), 0, 16)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"views_weight": 0.5}, "one view of each image: set views to 2"),
        ({"views_weight": -0.5}, "views_weight must be at least 0"),
        ({"layers": 0}, "layers must be at least 1"),
        ({"teacher_dim": 0}, "teacher_dim must be at least 1"),
        ({"views": 0}, "the number of views of kind 'plain' must be at least 1"),
        ({"views_temperature": 0.0}, "views_temperature must be greater than 0"),
        ({"teacher": {"weights": "x.onnx", "mean": [0.5, 0.5, 0.5]}}, "mean and std belong together"),
        ({"teacher": {"weights": "x.onnx", "backbone": "timm/resnet18"}}, "an .onnx file needs no backbone"),
    ],
)
def test_the_task_refuses_what_makes_no_sense(options: dict[str, Any], words: str):
    with pytest.raises(ConfigError, match=rf"pretrain\.pretext_task.*{words}"):
        made(**options)


def test_a_loss_of_another_family_is_refused():
    with pytest.raises(ConfigError, match="takes a loss of a teacher's embeddings"):
        made(loss="negative_cosine")


def test_what_is_asked_of_the_teacher_is_known_before_anything_is_built():
    choice = Choice.model_validate({"name": "distill", "hidden_dim": 8, "teacher": "large.onnx", "targets": "views"})
    found = teaching_of(REGISTRY, choice)
    assert found is not None
    assert found.teacher is not None
    assert (found.teacher.weights, found.targets, found.centre) == ("large.onnx", "views", True)
    assert teaching_of(REGISTRY, Choice(name="rotation")) is None


def test_simclr_s_loss_of_two_views_is_added_with_its_weight():
    """The loss is that of the teacher plus `views_weight` times SimCLR's of two views."""
    alone, both = made(views=2), made(views=2, views_weight=0.5)
    both.load_state_dict(alone.state_dict(), strict=False)
    views, step = make_views(alone, 24, 16), make_step(24)
    first, second = alone.compare(alone(views), step), both.compare(both(views), step)
    added = 0.5 * second.metrics["views_loss"]
    torch.testing.assert_close(second.loss.detach(), first.loss.detach() + added)
    second.loss.backward()
    assert all(
        weight.grad is not None and weight.grad.any() for weight in both.projector.parameters() if weight.ndim > 1
    )


def test_a_teacher_that_says_the_same_of_all_images_is_found_out():
    task = made()
    views = make_views(task, 24, 16)
    output = task.compare(task({**views, TEACHER: torch.zeros_like(views[TEACHER])}), make_step(24))
    (found,) = task.diagnose({name: value.item() for name, value in output.metrics.items()})
    assert (found.kind, found.fatal) == ("empty teaching", True)
    assert "pretrain.pretext_task.teacher" in found.message


@pytest.mark.parametrize(("temperature", "word"), [(1e-3, "only one key"), (1e3, "all keys equally")])
def test_a_softmax_that_teaches_no_relations_is_told(temperature: float, word: str):
    loss = SimilarityDistillation(teacher_temperature=temperature)
    rows = torch.randn(1, 24, 8, generator=torch.Generator().manual_seed(0))
    figures = {name: value.item() for name, value in loss(rows, rows, make_step(24)).metrics.items()}
    (found,) = loss.diagnose(figures)
    assert word in found.message
    assert "teacher_temperature" in found.message
    sound = SimilarityDistillation(teacher_temperature=0.2)(rows, rows, make_step(24)).metrics
    assert loss.diagnose({name: value.item() for name, value in sound.items()}) == []


def test_a_small_student_learns_from_a_wider_teacher_without_labels():
    """On real digits; the teacher was trained with labels, on other images than the student and the kNN judge."""
    data = load_digits()
    images = F.interpolate(torch.tensor(data.images, dtype=torch.float32)[:, None] / 16, size=8).expand(-1, 3, -1, -1)
    labels = torch.tensor(data.target)
    theirs, mine, judged = torch.arange(900), torch.arange(900, 1500), torch.arange(1500, 1797)

    def encoder(width: int) -> Any:
        choice = Choice.model_validate({"name": "resnet_cifar", "depth": 8, "width": width})
        return build_encoder(REGISTRY, choice, (0.3,) * 3, (0.37,) * 3, seed=0, size=8)

    def learn(module: Any, loss_of: Any, rows: Tensor, steps: int) -> None:
        optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2)
        generator = torch.Generator().manual_seed(0)
        for number in range(steps):
            batch = rows[torch.randperm(len(rows), generator=generator)[:100]]
            optimizer.zero_grad()
            loss_of(batch, Step(number, steps, 0, 0, batch)).backward()
            optimizer.step()

    def neighbours(network: Any) -> float:
        with torch.no_grad():
            rows = F.normalize(network.eval()(images), dim=1).numpy()
        judge = KNeighborsClassifier(5).fit(rows[mine], labels[mine])
        return float(judge.score(rows[judged], labels[judged]))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        teacher, head = encoder(12).train(), torch.nn.Linear(48, 10)
        both = torch.nn.Sequential(teacher, head)
        learn(both, lambda batch, step: F.cross_entropy(both(images[batch]), labels[batch]), theirs, 30)
        with torch.no_grad():
            said = teacher.eval()(images)
            said -= said[mine].mean(dim=0)
        student = encoder(4)
        before = neighbours(student)
        task = made(encoder=student, teacher_dim=48).train()

        def imitates(batch: Tensor, step: Step) -> Tensor:
            views = {"plain": images[batch][:, None], TEACHER: said[batch][:, None]}
            return task.compare(task(views), step).loss

        learn(task, imitates, mine, 40)
    assert neighbours(student) > before + 0.1
