"""Order of the tests, and fixtures for losses and strategies: pairs of embeddings and the path from them to a loss."""

import atexit
import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._export import utils as operators
from torch.export import decomp_utils, exported_program
from torch.nn import functional as F
from torch.onnx._internal.exporter._registration import ONNXRegistry

from ssl_pipeline.contrast.fold import tiles_of
from ssl_pipeline.deployment import traces
from ssl_pipeline.testing.material import make_step
from ssl_pipeline.types import Candidates, Loss, NegativeStrategy

Pairs = tuple[Tensor, Tensor]

LONGEST_FIRST = (
    "pipeline/test_experiments.py",
    "stages",
    "plugins",
    "pipeline",
    "training",
    "deployment",
    "evaluation",
)
"""When two processes share the suite file by file, short files come last so that both processes finish together.

`test_experiments.py` is the longest file and makes the finished project. The other files of `pipeline` need that
project and would wait for it, so they come later.
"""


def pytest_configure() -> None:
    """Make Ctrl-C work: a shell starts commands behind `&` with SIGINT ignored, and their children inherit this.

    Garbage is collected as rarely as under the command `ssl-pipeline`. All processes of a run share one cache of traced
    graphs, so that a graph that one of them has traced serves the others.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        os.environ[traces.FOLDER] = tempfile.mkdtemp()
        atexit.register(shutil.rmtree, os.environ[traces.FOLDER], ignore_errors=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest; the order within a file does not change."""

    def rank(item: pytest.Item) -> int:
        path = item.path.relative_to(Path(__file__).parent).as_posix()
        return next((n for n, start in enumerate(LONGEST_FIRST) if path.startswith(start)), len(LONGEST_FIRST))

    items.sort(key=rank)


@pytest.fixture(scope="session", autouse=True)
def operators_described_once() -> Iterator[None]:
    """Let torch describe the ONNX operators once instead of once per export.

    For each export, torch also searches twice for those of its own operators that it can decompose. All of this takes
    half a second each time, and the answers do not change.
    """
    apart = cache(operators._collect_all_valid_cia_ops)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(cache(ONNXRegistry.from_torchlib)))
        for module in (decomp_utils, exported_program):
            patch.setattr(module, "_collect_all_valid_cia_ops", apart)
        yield


@pytest.fixture
def pairs() -> Callable[..., Pairs]:
    """Return a function of (n, D) that makes two views of n samples: float64 leaves that are not normalised."""

    def make(n: int, dim: int = 8) -> Pairs:
        generator = torch.Generator().manual_seed(n)
        first = torch.randn(n, dim, generator=generator, dtype=torch.float64)
        second = first + 0.7 * torch.randn(n, dim, generator=generator, dtype=torch.float64)
        return first.requires_grad_(), second.requires_grad_()

    return make


@pytest.fixture
def apply() -> Callable[..., Tensor]:
    """Return a function of (loss, strategy, first, second), the metric to return and the id of the first image.

    Both views of each image are anchors. More than ten embeddings are split into several tiles.
    """

    def run(
        loss: Loss, strategy: NegativeStrategy, first: Tensor, second: Tensor, wanted: str = "loss", start: int = 0
    ) -> Tensor:
        anchors = F.normalize(torch.cat([first, second]), dim=1)
        positives = anchors.roll(len(first), 0)
        step = replace(make_step(), ids=torch.arange(start, start + len(first)))
        samples = step.ids.repeat(2)
        with tiles_of(10):
            negatives = strategy.select(Candidates(anchors, positives, samples, anchors, samples, step))
            value, metrics, _ = loss.to(first.dtype)(anchors, negatives.compatible(positives), negatives, step)
        return value if wanted == "loss" else metrics[wanted]

    return run


@pytest.fixture
def same() -> Callable[..., None]:
    """Return a function of (found, expected, leaves) that compares two values and their gradients."""

    def check(found: Tensor, expected: Tensor, leaves: Pairs, tolerance: float = 1e-9) -> None:
        assert found.item() == pytest.approx(expected.item(), rel=tolerance)
        ours, theirs = (torch.autograd.grad(value, leaves, retain_graph=True) for value in (found, expected))
        for own, wanted in zip(ours, theirs, strict=True):
            assert (own - wanted).norm() <= tolerance * wanted.norm()

    return check
