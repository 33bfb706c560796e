"""SwAV and DINO, against their authors' algorithms in float64 and against lightly."""

import re

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline.parts.prototypes import prototype_figures, unused_prototypes
from ssl_pipeline.testing.material import make_step
from ssl_pipeline_plugins.losses.dino import DINO
from ssl_pipeline_plugins.losses.swav import SwAV, sinkhorn

HALFWAY = make_step(number=5, total=10)


def views(count: int = 3, images: int = 12, dim: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, images, dim, dtype=torch.float64, generator=generator).requires_grad_()


def started(loss, dim: int = 6):
    torch.manual_seed(0)
    loss.fit_to(dim)
    return loss.double()


def scores(loss, vectors: Tensor) -> Tensor:
    directions = loss.prototypes.directions
    return F.normalize(vectors, dim=-1) @ (directions / directions.norm(dim=1, keepdim=True)).T


def assigned(values: Tensor, iterations: int) -> Tensor:
    """The authors' algorithm: divide exponentials by the sums of their rows and of their columns, in turns."""
    q = torch.exp(values).T
    q = q / q.sum()
    for _ in range(iterations):
        q = q / q.sum(dim=1, keepdim=True) / len(q)
        q = q / q.sum(dim=0, keepdim=True) / q.shape[1]
    return (q * q.shape[1]).T


def test_swav_is_the_paper_s_formula():
    loss, leaves = started(SwAV(prototypes=7, temperature=0.2, epsilon=0.1)), views()
    found = loss(leaves, leaves[:2], HALFWAY).loss
    given = scores(loss, leaves)
    expected = torch.zeros((), dtype=torch.float64)
    for target in range(2):
        q = assigned(given[target].detach() / 0.1, 3)
        for view in range(3):
            if view != target:
                expected = expected - (q * torch.log_softmax(given[view] / 0.2, dim=1)).sum(1).mean() / 4
    assert found.item() == pytest.approx(expected.item(), rel=1e-9)
    wanted = [leaves, loss.prototypes.directions]
    for own, theirs in zip(torch.autograd.grad(found, wanted), torch.autograd.grad(expected, wanted), strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-9, atol=1e-12)


def test_swav_is_lightly_s():
    from lightly.loss import SwaVLoss

    loss, given = started(SwAV(prototypes=7)), views()
    first, second, local = scores(loss, given)
    expected = SwaVLoss()([first, second], [local])
    assert loss(given, given[:2], HALFWAY).loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_assignments_fill_all_prototypes_evenly_and_have_room_for_any_score():
    logits = 20 * torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    found = sinkhorn(logits, 200)
    torch.testing.assert_close(found.sum(1), torch.ones(40))
    torch.testing.assert_close(found.sum(0), torch.full((8,), 5.0), rtol=1e-2, atol=0.0)
    assert sinkhorn(1e4 * logits, 3).isfinite().all()
    torch.testing.assert_close(sinkhorn(logits, 0), torch.softmax(logits, dim=1))


def test_a_queue_takes_part_in_assignments_once_it_is_full():
    loss, plain = started(SwAV(prototypes=5, queue_size=24)), started(SwAV(prototypes=5))
    batches = [views(images=12).detach() + 0.1 * number for number in range(4)]
    for number, batch in enumerate(batches[:3]):
        found, alone = (one(batch, batch[:2], HALFWAY) for one in (loss, plain))
        assert (found.loss.item() == pytest.approx(alone.loss.item())) == (number < 2)
        loss.after_step(HALFWAY, found.kept)
    # the queue adds the last 24 images of each view to the assignment
    both = [torch.cat([batches[number][view] for number in (3, 1, 2)]) for view in range(2)]
    q = torch.stack([assigned(scores(loss, both[view]).detach() / 0.05, 3)[:12] for view in range(2)])
    logs = torch.log_softmax(scores(loss, batches[3]) / 0.1, dim=2)
    pairs = [(t, v) for t in range(2) for v in range(3) if t != v]
    expected = -sum((q[t] * logs[v]).sum(1).mean() for t, v in pairs) / 4
    assert loss(batches[3], batches[3][:2], HALFWAY).loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_dino_is_the_paper_s_algorithm_and_its_centre_and_prototypes_follow():
    loss, leaves = started(DINO(prototypes=5, teacher_temperature=0.07, center_momentum=0.8, momentum=0.6)), views()
    slow = loss.prototypes.directions.detach().clone()
    center = torch.zeros(5, dtype=torch.float64)
    for number in (5, 9):
        step = make_step(number=number, total=10)
        targets = views(2).detach() + number
        student = scores(loss, leaves)
        teacher = F.normalize(targets, dim=-1) @ F.normalize(slow, dim=1).T
        seen = torch.softmax((teacher - center) / 0.07, dim=2)
        logs = torch.log_softmax(student / 0.1, dim=2)
        pairs = [(t, v) for t in range(2) for v in range(3) if t != v]
        expected = -sum((seen[t] * logs[v]).sum(1).mean() for t, v in pairs) / 4
        found, _, kept = loss(leaves, targets, step)
        assert found.item() == pytest.approx(expected.item(), rel=1e-7)
        wanted = [leaves, loss.prototypes.directions]
        for own, theirs in zip(torch.autograd.grad(found, wanted), torch.autograd.grad(expected, wanted), strict=True):
            torch.testing.assert_close(own, theirs, rtol=1e-6, atol=1e-12)
        with torch.no_grad():
            loss.prototypes.directions.add_(0.3)
        loss.after_step(step, kept)
        center = 0.8 * center + 0.2 * teacher.mean((0, 1))
        momentum = loss.teacher.momentum(step.done)
        slow = momentum * slow + (1 - momentum) * loss.prototypes.directions.detach()
        torch.testing.assert_close(loss.center, center, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("loss", [SwAV(prototypes=4, frozen=0.3), DINO(prototypes=4, frozen=0.3)])
def test_prototypes_are_frozen_at_first(loss):
    torch.manual_seed(0)
    loss.fit_to(6)
    leaves = views().float()
    for number, frozen in ((2, True), (3, False)):
        gradient = torch.autograd.grad(
            loss(leaves, leaves[:2], make_step(number=number, total=10)).loss,
            loss.prototypes.directions,
            allow_unused=True,
            retain_graph=True,
        )[0]
        assert (gradient is None) == frozen


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        (torch.eye(40)[torch.zeros(2, 30, dtype=torch.int64)], "a batch uses 1.0 of 40 prototypes"),
        (torch.full((2, 30, 40), 1 / 40), "each image belongs to 40 of 40 prototypes equally"),
        (torch.eye(40)[torch.arange(60).view(2, 30) % 40], None),
        (torch.eye(40)[torch.arange(9).expand(3, 9)], None),  # views agree: the most that 9 images can use
    ],
)
def test_prototype_collapse_is_named(shares: Tensor, words: str | None):
    figures = {name: value.item() for name, value in prototype_figures(shares).items()}
    for loss in (SwAV(prototypes=40), DINO(prototypes=40)):
        found = loss.diagnose({**figures, "progress": 0.5})
        assert len(found) == (words is not None)
        assert words is None or words in found[0].message
        assert words is None or re.search(
            r"pretrain\.loss: \{(iterations|epsilon|center_momentum|teacher_temperature): ", found[0].message
        )


def test_early_on_more_prototypes_have_to_be_in_use():
    """Early in training, 30 images that use 10 of 40 prototypes are a collapse; later they are not."""
    figures = {
        name: value.item()
        for name, value in prototype_figures(torch.eye(40)[torch.arange(60).view(2, 30) % 10]).items()
    }
    for loss in (SwAV(prototypes=40), DINO(prototypes=40)):
        (found,) = loss.diagnose({**figures, "progress": 0.1})
        assert found.fatal
        assert found.kind == "prototype collapse"
        assert loss.diagnose({**figures, "progress": 0.2}) == []


@pytest.mark.parametrize(
    ("used", "count", "collapsed"),
    [(1.4, 2, True), (1.6, 2, False), (1.9, 3, True), (2.1, 3, False), (1.9, 100, True), (2.1, 100, False)],
)
def test_few_prototypes_are_a_collapse_but_where_there_are_no_more(used, count, collapsed):
    figures = {"prototypes_used": used, "prototypes_of_an_image": 1.0, "prototypes_in_reach": 3.0}
    assert bool(unused_prototypes(figures, count, 0.5, "even", "sharp")) is collapsed


@pytest.mark.parametrize(
    ("factory", "options", "message"),
    [
        (SwAV, {"prototypes": 1}, "prototypes must be at least 2, got 1"),
        (SwAV, {"prototypes": 4, "epsilon": 0.0}, "must be greater than 0, got 0.1 and 0.0"),
        (SwAV, {"prototypes": 4, "iterations": -1}, "must be at least 0, got -1 and 0"),
        (SwAV, {"prototypes": 4, "frozen": 1.0}, r"frozen must lie in \[0, 1\), got 1.0"),
        (DINO, {"prototypes": 1}, "prototypes must be at least 2, got 1"),
        (DINO, {"prototypes": 4, "temperature": 0.0}, "must be greater than 0, got 0.0, 0.04"),
        (DINO, {"prototypes": 4, "center_momentum": 1.1}, r"center_momentum must lie in \[0, 1\], got 1.1"),
        (DINO, {"prototypes": 4, "frozen": -0.1}, r"frozen must lie in \[0, 1\), got -0.1"),
    ],
)
def test_values_out_of_range_are_refused(factory, options, message):
    with pytest.raises(ValueError, match=message):
        factory(**options)
