"""Joint embedding of neighbouring frames: which frame a view shows, and which views are not each other's negatives."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from benchmarks.gradients import task_of
from ssl_pipeline.testing.material import InBatch, make_ids, make_step, make_views
from ssl_pipeline.types import Candidates, Near, Negatives
from ssl_pipeline_plugins.pretext.joint_embedding import JointEmbedding

COUNT = 12
IDS = make_ids(COUNT, 0)
PLACES = torch.arange(COUNT) * 10  # one clip with a frame every ten ticks
ORDER = IDS.argsort()
NEAR = Near(IDS[ORDER], PLACES[ORDER], within=20)
SECOND = (torch.arange(COUNT) + 2).clamp(max=COUNT - 1)  # the frame that each second view shows
STEP = replace(make_step(COUNT), shown=torch.stack([IDS, IDS[SECOND]], dim=1), near=NEAR)


class Own(InBatch):
    """A strategy written for an earlier version, which ignores time."""

    def select(self, candidates: Candidates) -> Negatives:
        return Negatives(candidates.keys, candidates.anchor_samples, candidates.key_samples)


@pytest.mark.parametrize("strategy", [InBatch, Own])
def test_a_view_of_another_frame_is_near_what_that_frame_is_near(strategy: type[InBatch]):
    """NT-Xent by hand; negatives are views of frames more than twenty ticks apart."""
    task = task_of("simclr")
    assert isinstance(task, JointEmbedding)
    task.negatives = strategy()
    encoded = task({kind: views.double() for kind, views in make_views(task, COUNT, 24).items()})
    found = task.compare(encoded, STEP)
    projections = F.normalize(task.projected(encoded), dim=1)
    places = torch.cat([PLACES, PLACES[SECOND]])
    logits = projections @ projections.T / 0.2
    positive = logits.diagonal(COUNT).repeat(2)
    far = logits.masked_fill((places[:, None] - places).abs() <= 20, -torch.inf)
    expected = (torch.logaddexp(positive, far.logsumexp(dim=1)) - positive).mean()
    assert found.loss.item() == pytest.approx(expected.item(), rel=1e-9)
    by_image = task.compare(encoded, replace(STEP, shown=None)).loss.item()
    assert by_image != pytest.approx(expected.item(), rel=1e-4)  # it matters which frames the views show


@pytest.mark.parametrize(
    ("recipe", "options", "expected"),
    [
        ("simclr", {"local_views": 2}, [("01LLLL", "01")]),
        ("simclr", {"local_views": 1, "keys": "other_view"}, [("0L", "1"), ("1L", "0")]),
        ("mocov2", {}, [("0", "1")]),
        ("nnclr", {"local_views": 1}, [("00", "1"), ("11", "0")]),
    ],
)
def test_anchors_and_keys_are_known_by_the_frames_that_they_are_of(
    recipe: str, options: dict[str, object], expected: list[tuple[str, str]]
):
    """Views are denoted by the frame that they show: 0 and 1 for global views; L, the sample's own, for local views."""
    task = task_of(recipe, options=options)
    assert isinstance(task, JointEmbedding)
    encoded = task({kind: views.double() for kind, views in make_views(task, COUNT, 24).items()})
    ids = {"0": IDS, "1": IDS[SECOND], "L": IDS}
    made = task._candidates(encoded, task.projected(encoded), STEP)
    for candidates, sides in zip(made, expected, strict=True):
        for samples, side in zip((candidates.anchor_samples, candidates.key_samples), sides, strict=True):
            assert torch.equal(samples, torch.cat([ids[view] for view in side]))
