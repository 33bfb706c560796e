"""`ssl_pipeline.loss` computes what the same loss computes in training, and keeps the same state between steps."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import ssl_pipeline
from ssl_pipeline.config import Choice
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.loading import load_registry
from ssl_pipeline.testing.material import make_step
from ssl_pipeline.types import Loss, TaughtLoss


def pair(generator: torch.Generator, count: int = 12, dim: int = 8) -> tuple[Tensor, Tensor]:
    """Return unnormalised projections of two views, as leaves of a graph."""
    first = torch.randn(count, dim, generator=generator)
    return first.requires_grad_(), (first.detach() + torch.randn(count, dim, generator=generator)).requires_grad_()


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """SimCLR's equation 1, over all 2N views."""
    views = F.normalize(torch.cat([first, second]), dim=1)
    logits = (views @ views.T / temperature).fill_diagonal_(-torch.inf)
    return F.cross_entropy(logits, torch.arange(len(views)).roll(len(first)))


def test_info_nce_of_two_views_is_nt_xent(generator: torch.Generator):
    first, second = pair(generator)
    value, expected = ssl_pipeline.loss("info_nce", temperature=0.2)(first, second), nt_xent(first, second, 0.2)
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    for mine, theirs in zip(
        torch.autograd.grad(value, (first, second)), torch.autograd.grad(expected, (first, second)), strict=True
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-4)


def test_a_loss_of_views_is_given_all_of_them(generator: torch.Generator):
    views = [*pair(generator), pair(generator)[0]]
    step = make_step(12)
    loss = load_registry().build("loss", Choice(name="vicreg"))
    loss.fit_to(8)
    assert ssl_pipeline.loss("vicreg")(*views) == loss(torch.stack(views), torch.stack(views), step).loss
    towards = [view.detach() for view in views[:2]]
    value = ssl_pipeline.loss("negative_cosine")(*views[:2], targets=towards)
    assert torch.equal(torch.autograd.grad(value, views[1], retain_graph=True)[0].isfinite().all(), torch.tensor(True))
    cosines = [F.cosine_similarity(views[a], towards[b]).mean() for a, b in ((0, 1), (1, 0))]
    assert value.item() == pytest.approx(-torch.stack(cosines).mean().item(), rel=1e-5)


def test_keys_of_a_teacher_are_positives_and_negatives(generator: torch.Generator):
    queries, keys = pair(generator), [view.detach() for view in pair(generator)]
    value = ssl_pipeline.loss("info_nce", temperature=0.5)(*queries, targets=keys)
    asking, asked = (F.normalize(torch.cat(list(views)), dim=1) for views in (queries, keys))
    logits = asking @ asked.T / 0.5
    own_image = torch.eye(12, dtype=torch.bool).repeat(2, 2)
    positive = logits.diagonal(12).repeat(1), logits.diagonal(-12)
    mass = logits.masked_fill(own_image, -torch.inf).logsumexp(dim=1)
    expected = F.softplus(mass - torch.cat(positive)).mean()
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)


def queued(**options: int) -> ssl_pipeline.Criterion:
    return ssl_pipeline.loss("info_nce", temperature=0.2, negatives={"name": "queue", "queue_size": 48}, **options)


def test_a_queue_holds_the_keys_of_past_steps(generator: torch.Generator):
    criterion = queued()
    for negatives in (22, 24, 48, 48):
        criterion(*pair(generator))
        assert criterion.figures["negatives"] == negatives
    criterion.eval()(*pair(generator))
    with torch.no_grad():
        criterion.train()(*pair(generator))
    assert criterion.step_count == 4  # evaluation does not count as a step


def test_an_image_does_not_meet_its_own_past_keys_where_ids_are_given(generator: torch.Generator):
    criterion, ids = queued(), torch.arange(12)
    for _ in range(2):
        criterion(*pair(generator), ids=ids)
    assert criterion.figures["negatives"] == 22


def test_a_state_that_was_saved_goes_on_to_the_bit(generator: torch.Generator):
    batches = [pair(generator) for _ in range(4)]
    whole, first, resumed = queued(), queued(), queued()
    values = [whole(*batch).item() for batch in batches]
    for batch in batches[:2]:
        first(*batch)
    resumed.load_state_dict(first.state_dict())
    assert [resumed(*batch).item() for batch in batches[2:]] == values[2:]


def test_weights_of_a_loss_are_there_for_the_optimizer_or_that_is_told(generator: torch.Generator):
    criterion = ssl_pipeline.loss("swav", prototypes=5, dim=8, steps=10)
    (weight,) = criterion.parameters()
    before = weight.detach().clone()
    optimizer = torch.optim.SGD(criterion.parameters(), lr=1.0)
    for _ in range(2):
        optimizer.zero_grad()
        criterion(*pair(generator)).backward()
        optimizer.step()
    assert not torch.equal(weight, before)
    lazy = ssl_pipeline.loss("swav", prototypes=5, steps=10)
    for _ in range(2):
        with pytest.raises(ConfigError, match="Pass dim=8, the length of projections"):
            lazy(*pair(generator))


def test_what_changes_in_the_course_of_a_training_asks_how_long_it_is(generator: torch.Generator):
    with pytest.raises(ConfigError, match="Pass the number of steps"):
        ssl_pipeline.loss("swav", prototypes=5, dim=8)(*pair(generator))
    criterion = ssl_pipeline.loss("swav", prototypes=5, dim=8, steps=2)
    for _ in range(4):  # more steps than announced are no error
        assert criterion(*pair(generator)).isfinite()


def every_loss() -> list[str]:
    """Return the losses that are functions of views; losses of a teacher's embeddings have their own task."""
    registry = load_registry()
    return [name for name in registry.names("loss") if not issubclass(registry.find("loss", name).factory, TaughtLoss)]


def test_a_loss_of_a_teacher_s_embeddings_is_refused():
    with pytest.raises(ConfigError, match="Choose a loss that compares the projections of two views"):
        ssl_pipeline.loss("embedding_distillation", dim=8)


@pytest.mark.parametrize("name", every_loss())
def test_every_loss_runs_in_a_loop(name: str, generator: torch.Generator):
    needed = {"prototypes": 4, "temperature": 0.2, "margin": 0.5, "epsilon": 0.5}
    registry = load_registry()
    fields = registry.find("loss", name).schema().model_fields
    options = {key: needed[key] for key, field in fields.items() if field.is_required()}
    options |= {"rank": 2} if "rank" in fields else {}
    criterion = ssl_pipeline.loss(name, dim=8, steps=4, **options)
    for _ in range(2):
        first, second = pair(generator, count=16)
        value = criterion(first.half().float(), second)
        gradient = torch.autograd.grad(value, (first, second))
        assert value.isfinite()
        assert all(each.isfinite().all() for each in gradient)
        assert any(each.any() for each in gradient)


def test_half_precision_is_widened_and_the_seed_decides(generator: torch.Generator):
    first, second = (view.detach().bfloat16() for view in pair(generator))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = ssl_pipeline.loss("info_nce", temperature=0.2)(first, second)
    assert value.item() == pytest.approx(nt_xent(first.float(), second.float(), 0.2).item(), rel=1e-5)
    made = [ssl_pipeline.loss("swav", prototypes=5, dim=8, seed=seed) for seed in (0, 0, 1)]
    weights = [next(criterion.parameters()) for criterion in made]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("info_ncee", {}, "unknown name 'info_ncee'. Did you mean 'info_nce'"),
        ("info_nce", {"temperature": 0.0}, "temperature"),
        ("info_nce", {"temprature": 0.1}, "loss.temprature: unknown key. Did you mean 'temperature'"),
        ("vicreg", {"negatives": "in_batch"}, "loss 'vicreg' takes no negatives"),
        ("negative_log_likelihood", {"negatives": "hard"}, "negatives"),
        ("info_nce", {"temperature": 0.1, "negatives": "queue"}, "negatives.queue_size: missing"),
        ("info_nce", {"temperature": 0.1, "dim": 0}, "dim and steps must be at least 1"),
    ],
)
def test_a_bad_choice_is_told_as_in_params_yaml(name: str, options: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        ssl_pipeline.loss(name, **options)  # type: ignore[arg-type]


def test_projections_of_another_shape_are_told(generator: torch.Generator):
    first, second = pair(generator)
    criterion = ssl_pipeline.loss("info_nce", temperature=0.2)
    assert isinstance(criterion.objective, Loss)
    for views, message in [
        ((first,), "takes two views, got 1"),
        ((first, second, first), "takes two views, got 3"),
        ((first, second[:5]), r"floats of one shape \(N, D\), got \[\(5, 8\), \(12, 8\)\]"),
        ((first[0], second[0]), r"floats of one shape \(N, D\), got \[\(8,\)\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            criterion(*views)
    with pytest.raises(ValueError, match="targets must match the 2 views, got 1"):
        criterion(first, second, targets=[first])
    with pytest.raises(ValueError, match=r"ids must have shape \(12,\)"):
        criterion(first, second, ids=torch.arange(3))
    criterion(first, second)
    with pytest.raises(ValueError, match="have length 4, but this loss was set up for length 8"):
        criterion(first[:, :4], second[:, :4])
