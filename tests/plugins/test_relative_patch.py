"""Relative patch: each question compares the middle tile with one other tile."""

import pytest
import torch

from ssl_pipeline.testing.material import make_step, make_views, small_encoder
from ssl_pipeline.types import UNIFORMS
from ssl_pipeline_plugins.pretext.relative_patch import RelativePatch


def test_eight_questions_of_each_image_pair_the_middle_tile_with_each_other_one():
    task = RelativePatch(small_encoder(0), 18, hidden_dim=16).eval()
    views = make_views(task, 4, 18)
    images = views["plain"][:, 0]
    tiles = task.tiling.encode(task.encoder, images, views[UNIFORMS])  # (4, 9, D)
    others = [place for place in range(9) if place != 4]
    logits = torch.stack([task.head(torch.cat([tiles[:, 4], tiles[:, place]], dim=1)) for place in others], dim=1)
    loss, metrics, _ = task.compare(task(views), make_step())
    assert loss.item() == pytest.approx(-logits.log_softmax(2).diagonal(dim1=1, dim2=2).mean().item(), rel=1e-5)
    assert metrics["pretext_accuracy"].item() == (logits.argmax(2) == torch.arange(8)).float().mean().item()


def test_what_is_predicted_is_what_is_learned_from_tiles_in_the_middle_of_their_cells():
    task = RelativePatch(small_encoder(0), 24, hidden_dim=16, jitter=0.25).eval()
    views = make_views(task, 4, 24)
    assert task.tiling.slack == 2
    views[UNIFORMS][:] = 0.5  # the middle, in green
    expected = task._asked(task(views)["embeddings"]).softmax(dim=2)
    torch.testing.assert_close(task.predict(views["plain"][:, 0]), expected)


def test_a_width_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="hidden_dim must be at least 1, got 0"):
        RelativePatch(small_encoder(0), 32, hidden_dim=0)
