"""Tiles against dense float64, with gradients; thresholds and ranks; memory that does not grow as the batch squared."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline.contrast import ranking, similarity
from ssl_pipeline.contrast.ranking import mean_of_ranks, nearest, quantiles, rank_threshold
from ssl_pipeline.contrast.similarity import log_mass, negative_sum, total_weight
from ssl_pipeline.types import Negatives, Tile


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make tiles of 16 x 16, so that few embeddings need many tiles and the last ones are narrower."""
    for module in (similarity, ranking):
        monkeypatch.setattr(module, "edge", lambda device: 16)


def unit(n: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    values = torch.randn(n, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(values, dim=1).to(dtype).requires_grad_()


def parts(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    anchors, keys = unit(37, 1, dtype), unit(53, 2, dtype)
    owners = torch.randint(0, 9, (53,), generator=torch.Generator().manual_seed(3))
    return anchors, keys, torch.arange(37) % 9, owners


def check(found: Tensor, expected: Tensor, leaves: list[Tensor], tolerance: float) -> None:
    assert (found - expected).norm() <= tolerance * expected.norm()
    weights = torch.linspace(-1, 1, len(found), dtype=torch.float64)
    ours, theirs = (
        torch.autograd.grad((value.double() * weights).sum(), leaves, retain_graph=True) for value in (found, expected)
    )
    for own, wanted in zip(ours, theirs, strict=True):
        assert (own.double() - wanted.double()).norm() <= tolerance * wanted.double().norm()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_log_mass_and_sums_with_weights_rows_and_columns(dtype: torch.dtype, tolerance: float):
    anchors, keys, own, owners = parts(dtype)
    row = torch.rand(37, dtype=dtype).requires_grad_()
    column = torch.rand(37, dtype=dtype).requires_grad_()

    def weighting(tile: Tile) -> Tensor:
        return tile.rows["row"] * tile.similarities

    plain, weighted = Negatives(keys, own, owners), Negatives(keys, own, owners, weighting, {"row": row})
    others = own[:, None] != owners[None]
    cosine = anchors.double() @ keys.double().T
    log_w = row.double()[:, None] * cosine

    def left(logits: Tensor) -> Tensor:
        return logits.masked_fill(~others, -torch.inf).logsumexp(1)

    check(log_mass(anchors, plain, 7.0), left(7 * cosine), [anchors, keys], tolerance)
    check(log_mass(anchors, weighted, 7.0), left(7 * cosine + log_w), [anchors, keys, row], tolerance)

    def terms(similarity: Tensor, column: Tensor) -> Tensor:
        return F.softplus(4 * similarity + column)

    exact = F.softplus(4 * cosine + column.double()[:, None]) * others
    check(negative_sum(anchors, plain, terms, [column]), exact.sum(1), [anchors, keys, column], tolerance)
    found = negative_sum(anchors, weighted, terms, [column])
    check(found, (exact * log_w.exp()).sum(1), [anchors, keys, row, column], tolerance)
    torch.testing.assert_close(total_weight(anchors, plain).double(), others.sum(1).double())
    torch.testing.assert_close(
        total_weight(anchors, weighted).double(), (log_w.exp() * others).sum(1), rtol=1e-5, atol=0
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
@pytest.mark.parametrize("rows", [12, 32, 53])  # a single tile, whole tiles, and a narrower last tile
def test_a_batch_against_itself_is_summed_by_half_its_tiles(rows: int, dtype: torch.dtype, tolerance: float):
    batch, samples = unit(rows, 1, dtype), torch.arange(rows) % 9
    own = Negatives(batch, samples, samples)
    cosine = batch.double() @ batch.double().T
    others = samples[:, None] != samples[None]
    computed = []

    def seen(similarity: Tensor) -> Tensor:
        computed.append(similarity.shape)
        return 3 * similarity

    for logits, scale, loss in ((7.0, 7, 1), (60.0, 60, 10), (seen, 3, 1)):  # precision is lost as the scale grows
        exact = (scale * cosine).masked_fill(~others, -torch.inf).logsumexp(1)
        check(log_mass(batch, own, logits), exact, [batch], loss * tolerance)
    tiles = -(-rows // 16)
    assert len(computed) == 2 * tiles * (tiles + 1) // 2  # once each in the forward and in the backward pass
    check(negative_sum(batch, own, torch.exp), (cosine.exp() * others).sum(1), [batch], tolerance)


def test_what_only_looks_symmetric_is_summed_over_all_tiles():
    """Weights by position, other samples for the keys, and columns: no tile can replace its mirror image."""
    batch, samples = unit(40, 1), torch.arange(20).repeat(2)
    cosine, others = batch @ batch.T, samples[:, None] != samples[None]
    place = torch.linspace(0, 1, 40, dtype=torch.float64)

    def by_place(tile: Tile) -> Tensor:
        return place[tile.keys] + 0 * tile.similarities

    weighted = log_mass(batch, Negatives(batch, samples, samples, by_place), 5.0)
    check(weighted, (5 * cosine + place).masked_fill(~others, -torch.inf).logsumexp(1), [batch], 1e-12)
    strangers = log_mass(batch, Negatives(batch, samples, samples + 3), 5.0)
    apart = samples[:, None] != samples[None] + 3
    check(strangers, (5 * cosine).masked_fill(~apart, -torch.inf).logsumexp(1), [batch], 1e-12)
    columned = negative_sum(batch, Negatives(batch, samples, samples), torch.mul, [place])
    check(columned, (cosine * place[:, None] * others).sum(1), [batch], 1e-12)


def test_the_gradient_is_that_of_finite_differences():
    anchors, keys, own, owners = parts()
    negatives = Negatives(keys, own, owners)
    assert torch.autograd.gradcheck(
        lambda a, k: log_mass(a, Negatives(k, own, owners), 3.0), (anchors, keys), fast_mode=True
    )
    assert torch.autograd.gradcheck(lambda a: negative_sum(a, negatives, torch.square), (anchors,), fast_mode=True)
    assert torch.autograd.gradcheck(lambda a: log_mass(a, Negatives(a, own, own), 3.0), (anchors,), fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype: torch.dtype):
    anchors, keys, own, owners = parts(dtype)
    found = log_mass(anchors, Negatives(keys, own, owners), 100.0)
    exact = (anchors.double() @ keys.double().T * 100).masked_fill(own[:, None] == owners[None], -torch.inf)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact.logsumexp(1), rtol=1e-5, atol=1e-4)
    assert torch.autograd.grad(found.sum(), anchors)[0].isfinite().all()


def test_an_anchor_without_negatives_has_no_mass_and_no_gradient():
    anchors = unit(3, 1)
    negatives = Negatives(anchors, torch.zeros(3, dtype=torch.long), torch.zeros(3, dtype=torch.long))
    mass = log_mass(anchors, negatives, 5.0)
    assert (mass == -torch.inf).all()
    total = (
        torch.logaddexp(torch.ones(3, dtype=torch.float64), mass).sum()
        + negative_sum(anchors, negatives, torch.square).sum()
    )
    assert not torch.autograd.grad(total, anchors)[0].any()


def test_ranks_thresholds_and_quantiles_are_those_of_sorting():
    anchors, keys, own, owners = parts()
    negatives = Negatives(keys, own, owners)
    cosine = (anchors @ keys.T).detach().masked_fill(own[:, None] == owners[None], -torch.inf)
    values, places = cosine.sort(dim=1, descending=True)
    found = nearest(anchors, negatives, 5)
    assert torch.equal(found.keys, places[:, :5])
    torch.testing.assert_close(found.similarities, values[:, :5])
    assert ((cosine > rank_threshold(anchors, negatives, 7)[:, None]).sum(1) == 7).all()
    assert ((cosine > rank_threshold(anchors, negatives, 0)[:, None]).sum(1) == 0).all()
    assert ((cosine > rank_threshold(anchors, negatives, 99)[:, None]) == (cosine > -torch.inf)).all()
    middle = torch.stack([keys[places[row, 1:4]].mean(0) for row in range(37)])
    torch.testing.assert_close(mean_of_ranks(anchors, negatives, 2, 4), middle)
    shares = [0.0, 0.25, 0.5, 1.0]
    exact = torch.stack([row[row > -torch.inf].quantile(torch.tensor(shares, dtype=torch.float64)) for row in cosine])
    steps = torch.stack([row[row > -torch.inf].sort().values.diff().max() for row in cosine])[:, None]
    assert ((quantiles(anchors, negatives, shares) - exact).abs() <= 1e-6 + steps).all()


@pytest.mark.parametrize("spread", [1.0, 1e-2, 1e-3])
def test_quantiles_split_the_keys_however_close_these_are(spread: float):
    generator = torch.Generator().manual_seed(0)
    keys = F.normalize(torch.eye(8)[0] + spread * torch.randn(300, 8, generator=generator), dim=1)
    anchors = keys[:40]
    nobody = torch.full((300,), -1)
    cosine = anchors @ keys.T
    shares = [0.0, 0.1, 0.5, 0.83, 1.0]
    found = quantiles(anchors, Negatives(keys, torch.arange(40), nobody), shares)
    for share, threshold in zip(shares, found.T, strict=True):
        assert ((cosine <= threshold[:, None] + 2e-7).sum(1) - share * 300).abs().max() <= 1 + 300 * 1e-5 / spread**2


_PEAK = """
import torch
from torch.nn import functional as F
from ssl_pipeline.contrast.similarity import log_mass
from ssl_pipeline.types import Negatives, Tile
torch.set_num_threads(1)
def step(n):
    x = F.normalize(torch.randn(n, 16), dim=1).requires_grad_()
    samples = torch.arange(n // 2).repeat(2)
    log_mass(x, Negatives(x, samples, samples), 5.0).mean().backward()
def high_water():  # in MiB; getrusage would count what the parent held too
    return int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) / 1024
step(2048)
before = high_water()
step(12288)
print(high_water() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_square_of_the_batch():
    """A dense matrix of 12,288 x 12,288 float32 takes 576 MiB, and its backward pass needs more than one of them."""
    done = subprocess.run([sys.executable, "-c", _PEAK], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 60
