"""Images and captions: CLIP's and SigLIP's losses, equal captions that are not negatives, and a frozen image tower."""

import importlib.util
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.project import READ_CAPTIONS
from ssl_pipeline.artifacts.assembly import class_of
from ssl_pipeline.config import load
from ssl_pipeline.contrast.fold import tiles_of
from ssl_pipeline.contrast.ranking import nearest
from ssl_pipeline.loading import load_registry
from ssl_pipeline.recipes import resolve
from ssl_pipeline.testing.material import SmallBackbone, encoder_on, make_step, make_views, small_encoder
from ssl_pipeline.types import CAPTIONS, Loss, Negatives, NegativeStrategy
from ssl_pipeline_plugins.losses.info_nce import InfoNCE
from ssl_pipeline_plugins.losses.sigmoid import Sigmoid
from ssl_pipeline_plugins.negatives.cross_batch import CrossBatch
from ssl_pipeline_plugins.negatives.in_batch import InBatch
from ssl_pipeline_plugins.negatives.queue import Queue
from ssl_pipeline_plugins.pretext.image_text import ImageText
from ssl_pipeline_plugins.pretext.image_text_views import ImageTextViews
from tests.plugins.test_conformance import CASES

REGISTRY = load_registry()
CONFIG = load(Path(__file__).parents[2] / "params.yaml").pretrain
N, DIM = 14, 8
TOWER: dict[str, Any] = {"vocabulary": 300, "context": 8, "width": 16, "depth": 1, "heads": 2, "out_dim": DIM}
UNLIKE = torch.arange(N)[:, None] + 100
"""Ids of captions, one per image, all different."""
SHARED = torch.stack([torch.tensor([100, 100, 102, 103, 104, *range(105, 114)]), torch.arange(N) + 100], dim=1)
SHARED[2:5, 1] = torch.tensor([104, 200, 200])  # the third has the fifth's; two share one not drawn
"""Ids of captions: the first two images drew the same caption, and the second image has another one as well."""


def make(loss: Loss, negatives: NegativeStrategy | None = None, **options: Any) -> ImageText:
    torch.manual_seed(0)
    return ImageText(small_encoder(0), loss, negatives or InBatch(), **{**TOWER, **options}).double().train()


def embedded(captions: Tensor, seed: int = 0) -> dict[str, Tensor]:
    """Return what forward would return, as float64 leaves."""
    generator = torch.Generator().manual_seed(seed)
    made = {side: torch.randn(len(captions), DIM, generator=generator).double() for side in ("images", "texts")}
    return {**{side: value.requires_grad_() for side, value in made.items()}, "captions": captions}


def compared(task: ImageText, encoded: dict[str, Tensor]) -> Tensor:
    with tiles_of(5):
        loss: Tensor = task.compare(encoded, make_step(len(encoded["captions"]))).loss
    return loss


def unit(encoded: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    return F.normalize(encoded["images"], dim=1), F.normalize(encoded["texts"], dim=1)


def incompatible(captions: Tensor) -> Tensor:
    """Return whether image (row) and drawn caption (column) are negatives: the image has no caption equal to it."""
    rows = [[int(other) not in own.tolist() for other in captions[:, 0]] for own in captions]
    return torch.tensor(rows)


def clip(encoded: dict[str, Tensor], scale: Tensor) -> Tensor:
    """Compute CLIP's loss: figure 3 of the paper, with equal captions left out."""
    images, texts = unit(encoded)
    kept = incompatible(encoded["captions"]) | torch.eye(len(images), dtype=torch.bool)
    logits = (scale * images @ texts.T).masked_fill(~kept, -torch.inf)
    labels = torch.arange(len(images))
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


def siglip(encoded: dict[str, Tensor], scale: Tensor, bias: Tensor) -> Tensor:
    """Compute SigLIP's loss: algorithm 1 of the paper, with equal captions left out."""
    images, texts = unit(encoded)
    logits, own = scale * images @ texts.T + bias, torch.eye(len(images), dtype=torch.float64)
    terms = -F.logsigmoid((2 * own - 1) * logits)
    return (terms * (own + incompatible(encoded["captions"]))).sum() / len(images)


def held_to(found: Tensor, wanted: Tensor, leaves: list[Tensor], bound: float = 1e-9) -> None:
    assert found.item() == pytest.approx(wanted.item(), rel=bound)
    for own, theirs in zip(*(torch.autograd.grad(value, leaves) for value in (found, wanted)), strict=True):
        assert (own - theirs).norm() <= bound * max(theirs.norm().item(), 1e-3)


@pytest.mark.parametrize("captions", [UNLIKE, SHARED], ids=["unlike", "shared"])
def test_with_a_softmax_it_is_clip(captions: Tensor):
    task, encoded = make(InfoNCE(temperature=0.07, learned_temperature=True)), embedded(captions)
    log_scale = task.loss.log_scale
    wanted = clip(encoded, log_scale.exp())
    held_to(compared(task, encoded), wanted, [encoded["images"], encoded["texts"], log_scale])


@pytest.mark.parametrize("captions", [UNLIKE, SHARED], ids=["unlike", "shared"])
def test_with_a_sigmoid_it_is_siglip(captions: Tensor):
    task, encoded = make(Sigmoid()), embedded(captions)
    wanted = siglip(encoded, task.loss.log_scale.exp(), task.loss.bias)
    held_to(compared(task, encoded), wanted, [encoded["images"], encoded["texts"], task.loss.log_scale, task.loss.bias])


def losses_of_open_clip() -> Any:
    """Load only the module of open_clip's losses; the whole package imports tokenizers and networks for seconds."""
    package = importlib.util.find_spec("open_clip")
    if package is None or package.origin is None:
        pytest.skip("open_clip_torch is not installed")
    spec = importlib.util.spec_from_file_location("open_clip_loss", Path(package.origin).with_name("loss.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_losses_are_open_clip_s():
    open_clip = losses_of_open_clip()
    encoded = embedded(UNLIKE)
    leaves = [encoded["images"], encoded["texts"]]
    task = make(InfoNCE(temperature=0.07, learned_temperature=True))
    wanted = open_clip.ClipLoss()(*unit(encoded), task.loss.log_scale.exp())
    held_to(compared(task, encoded), wanted, [*leaves, task.loss.log_scale])
    task = make(Sigmoid())
    wanted = open_clip.SigLipLoss()(*unit(encoded), task.loss.log_scale.exp(), task.loss.bias)
    held_to(compared(task, encoded), wanted, [*leaves, task.loss.log_scale, task.loss.bias])


def test_a_learned_temperature_stops_at_a_hundredth():
    loss = InfoNCE(temperature=0.0101, learned_temperature=True)
    with torch.no_grad():
        loss.log_scale.add_(1.0)
    loss.after_step(make_step(), {})
    assert loss.log_scale.exp().item() == pytest.approx(100, rel=1e-6)
    assert loss.energy(torch.eye(2), torch.eye(2)).tolist() == pytest.approx([-100, -100], rel=1e-6)
    with pytest.raises(ValueError, match=r"temperature must be at least 0\.01 if it is learned"):
        InfoNCE(temperature=0.005, learned_temperature=True)


@pytest.mark.parametrize("negatives", [Queue(queue_size=64), CrossBatch(memory_size=64, start=0.0)])
def test_what_is_remembered_of_an_image_is_no_negative_of_it(negatives: NegativeStrategy):
    """A remembered caption is not a negative if it equals the image's own, or is another caption of the same image."""
    seen: list[tuple[Tensor, Tensor, Negatives]] = []

    class Noting(InfoNCE):
        def forward(self, anchors: Tensor, positives: Tensor, negatives: Negatives, step: Any) -> Any:
            seen.append((anchors, positives, negatives))
            return super().forward(anchors, positives, negatives, step)

    task = make(Noting(temperature=0.1), negatives)
    step = make_step(N)
    task.after_step(step, task.compare(embedded(SHARED), step).kept)
    seen.clear()
    other = SHARED.flip(1)  # every image has drawn its second caption
    task.compare(embedded(other, seed=1), step)
    for anchors, _, chosen in seen:
        asked = nearest(anchors, chosen, len(chosen.keys))
        for own, places, similarities in zip(other, asked.keys, asked.similarities, strict=True):
            captions = chosen.key_samples[places[similarities > -torch.inf]]
            remembered = captions[~torch.isin(captions, other[:, 0])]
            assert len(captions) > N / 2
            assert len(remembered)
            assert not torch.isin(remembered, own).any()


FACTORIES = {(entry.kind, entry.name): entry.factory for entry in REGISTRY.entries()}
LOSSES = [name for kind, name in CASES if kind == "loss" and issubclass(class_of(FACTORIES[kind, name]), Loss)]
STRATEGIES = [name for kind, name in CASES if kind == "negatives"]


@pytest.mark.parametrize(
    ("loss", "strategy"),
    [
        *((name, "queue") for name in LOSSES if name != "nce"),
        ("nce", "in_batch"),
        *(("info_nce", name) for name in STRATEGIES),
    ],
)
def test_every_loss_and_every_strategy_takes_images_and_texts(loss: str, strategy: str):
    built = {part: FACTORIES[part](**CASES.get(part, [{}])[0]) for part in (("loss", loss), ("negatives", strategy))}
    task = make(*built.values())
    for number in range(2):  # memories are used from the second step on
        encoded, step = embedded(SHARED, seed=number), make_step(N, number=number, total=2)
        output = task.compare(encoded, step)
        gradients = torch.autograd.grad(output.loss, [encoded["images"], encoded["texts"]])
        task.after_step(step, output.kept)
        assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients)
        assert all(math.isfinite(value) for value in output.metrics.values())


class Normed(SmallBackbone):
    """A backbone with a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(self.norm(images))


def test_a_frozen_image_tower_stays_as_it_is_and_texts_learn():
    torch.manual_seed(0)
    options = {**TOWER, "out_dim": None, "image_tower": "frozen"}
    task = ImageText(encoder_on(Normed()), InfoNCE(temperature=0.07, learned_temperature=True), InBatch(), **options)
    task.train()
    assert task.encoder.projection is None
    before = {name: value.clone() for name, value in task.state_dict().items()}
    optimizer = torch.optim.SGD([weight for weight in task.parameters() if weight.requires_grad], lr=0.1)
    task.compare(task(make_views(task, N, 16)), make_step(N)).loss.backward()
    optimizer.step()
    changed = {name for name, value in task.state_dict().items() if not torch.equal(before[name], value)}
    assert not any(name.startswith("encoder.") for name in changed)
    assert {"text_tower.projection.weight", "loss.log_scale"} <= changed
    assert not task.encoder.backbone.training
    assert task.text_tower.training


def test_collapsed_captions_are_named_and_images_that_have_not_are_not():
    task, encoded = make(InfoNCE(temperature=0.1)), embedded(torch.arange(40)[:, None])
    figures = {name: value.item() for name, value in task.compare(encoded, make_step(40)).metrics.items()}
    assert not [found for found in task.diagnose(figures) if found.fatal]
    with torch.no_grad():
        encoded["texts"][:] = encoded["texts"][:1]
    figures = {name: value.item() for name, value in task.compare(encoded, make_step(40)).metrics.items()}
    (found,) = [found for found in task.diagnose(figures) if found.fatal]
    assert "complete collapse: different captions are projected to nearly the same point" in found.message
    assert figures["projection_std"] > 0.5


def test_own_captions_are_counted():
    task, encoded = make(InfoNCE(temperature=0.1)), embedded(SHARED)
    with torch.no_grad():
        encoded["texts"][:] = encoded["images"]
        encoded["texts"][[5, 6]] = encoded["images"][[6, 5]]
    assert task.compare(encoded, make_step(N)).metrics["caption_recall"].item() == pytest.approx(1 - 2 / N)


def test_what_leaves_training_lies_in_one_space():
    task = make(Sigmoid()).float().eval()
    views = make_views(task, 3, 16)
    images = views["plain"][:, 0]
    assert task.encoder.embedding_dim == task.text_tower.embedding_dim == DIM
    torch.testing.assert_close(task.predict(images), F.normalize(task.encoder(images), dim=1))
    energy = task.energy_head(task.encoder(images), task(views)["texts"])
    own = (F.normalize(task.encoder(images), dim=1) * F.normalize(task(views)["texts"], dim=1)).sum(dim=1)
    torch.testing.assert_close(energy, -(10 * own - 10))
    assert views[CAPTIONS].shape == (3, 2)


def test_with_views_it_is_slip():
    """The loss is CLIP's plus SimCLR's (equation 1), which compares a view with all views of other images."""
    torch.manual_seed(0)
    options = {**TOWER, "hidden_dim": 8, "views_dim": 6, "layers": 2, "views_temperature": 0.3, "views_weight": 0.7}
    loss = InfoNCE(temperature=0.07, learned_temperature=True)
    task = ImageTextViews(small_encoder(0), loss, InBatch(), **options).double().train()
    views = torch.randn(N, 2, 16, generator=torch.Generator().manual_seed(5)).double().requires_grad_()
    encoded = {**embedded(SHARED), "views": views}
    projected = F.normalize(task.projector(torch.cat([views[:, 0], views[:, 1]])), dim=1)
    terms = []
    for row, asking in enumerate(projected):
        own = (row + N) % (2 * N)
        others = torch.stack([asking @ other for place, other in enumerate(projected) if place != row]) / 0.3
        terms.append(others.logsumexp(0) - asking @ projected[own] / 0.3)
    wanted = clip(encoded, loss.log_scale.exp()) + 0.7 * torch.stack(terms).mean()
    held_to(compared(task, encoded), wanted, [encoded["images"], encoded["texts"], views])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_dim": 0}, "hidden_dim must be at least 1"),
        ({"layers": 1}, "layers must be at least 2"),
        ({"views_temperature": 0.0}, "views_temperature must be greater than 0"),
        ({"view": "global"}, "'global' is already the main kind of view"),
    ],
)
def test_options_of_views_out_of_range_are_refused(changes: dict[str, Any], message: str):
    options = {**TOWER, "hidden_dim": 8, "views_dim": 6, **changes}
    with pytest.raises(ValueError, match=message):
        ImageTextViews(small_encoder(0), Sigmoid(), InBatch(), **options)


def test_recipes_that_read_captions_are_left_out_of_benchmarks_on_images_alone():
    tasks = {name: resolve(REGISTRY, CONFIG.model_copy(update={"recipe": name})) for name in REGISTRY.names("recipe")}
    assert {name for name, recipe in tasks.items() if recipe.pretext_task.name.startswith("image_text")} == set(
        READ_CAPTIONS
    )


def test_a_length_out_of_range_is_refused():
    with pytest.raises(ValueError, match="out_dim must be at least 1, or null, got 0"):
        make(Sigmoid(), out_dim=0)
