"""The visual vocabulary: its entries lie where features are, equal a direct count, and can be drawn."""

import pytest
import torch
from torch import Tensor

from ssl_pipeline.parts.vocabulary import Vocabulary
from ssl_pipeline.testing.material import make_step, small_encoder
from ssl_pipeline.types import UNIFORMS
from ssl_pipeline_plugins.pretext.masked_tokens import MaskedTokens


def of_clusters(seed: int, count: int = 400) -> tuple[Tensor, Tensor]:
    """Return features (M, 3) around five centres, and the centres."""
    centres = 10 * torch.randn(5, 3, generator=torch.Generator().manual_seed(7))
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(5, (count,), generator=generator)
    return centres[chosen] + 0.1 * torch.randn(count, 3, generator=generator), centres


def make(words: int = 8, momentum: float = 0.9) -> Vocabulary:
    torch.manual_seed(0)
    return Vocabulary(words, 3, momentum)


def test_every_cluster_gets_an_entry_and_no_entry_is_idle():
    vocabulary = make()
    for step in range(60):
        features, centres = of_clusters(step)
        vocabulary.follow(vocabulary.note(features))
    nearest = torch.cdist(centres, vocabulary.entries).min(dim=1).values
    assert nearest.max() < 0.2
    used = vocabulary(of_clusters(99)[0]).bincount(minlength=8)
    assert used.sum() == 400
    assert (used > 0).sum() >= 5


def test_where_every_feature_has_an_entry_none_moves_any_more():
    vocabulary, centres = make(), of_clusters(0)[1]
    for _ in range(60):
        vocabulary.follow(vocabulary.note(centres))
    words, entries = vocabulary(centres), vocabulary.entries.clone()
    assert len(words.unique()) == 5
    torch.testing.assert_close(entries[words], centres)
    vocabulary.follow(vocabulary.note(centres))
    torch.testing.assert_close(vocabulary.entries, entries)


def test_an_entry_is_the_moving_average_of_what_is_nearest_to_it():
    vocabulary = make(2, 0.75)
    with torch.no_grad():
        vocabulary.entries.copy_(torch.tensor([[0.0, 0, 0], [1, 1, 1]]))
        vocabulary.shares.fill_(0.5)
        vocabulary.sums.copy_(0.5 * vocabulary.entries)
    features = torch.tensor([[0.1, 0, 0], [0.2, 0, 0], [0.3, 0, 0], [1, 1, 2]], dtype=torch.float32)
    vocabulary.follow(vocabulary.note(features))
    first = 0.75 * torch.zeros(3) + 0.25 * torch.tensor([0.6, 0, 0]) / 4
    assert vocabulary.shares.tolist() == pytest.approx([0.75 * 0.5 + 0.25 * 0.75, 0.75 * 0.5 + 0.25 * 0.25])
    torch.testing.assert_close(vocabulary.entries[0], first / vocabulary.shares[0])
    second = 0.75 * torch.full((3,), 0.5) + 0.25 * torch.tensor([1.0, 1, 2]) / 4
    torch.testing.assert_close(vocabulary.entries[1], second / vocabulary.shares[1])


def test_the_nearest_entry_is_that_of_least_distance():
    vocabulary = make(16)
    features = torch.randn(100, 3)
    assert torch.equal(vocabulary(features), torch.cdist(features, vocabulary.entries).argmin(dim=1))


def test_the_order_of_features_makes_no_difference():
    first, second = make(), make()
    features, _ = of_clusters(0)
    for vocabulary, batch in ((first, features), (second, features.flip(0))):
        vocabulary.follow(vocabulary.note(batch))
    torch.testing.assert_close(first.entries, second.entries)


def test_images_without_anything_to_tell_apart_are_named():
    task = MaskedTokens(small_encoder(0), 16, words=8, patch_size=4, mask_size=4)
    plain = {"plain": torch.full((4, 1, 3, 16, 16), 0.5), UNIFORMS: torch.rand(4, task.uniforms)}
    figures = task.compare(task(plain), make_step()).metrics
    assert figures["words_used"].item() == pytest.approx(1.0)
    (said,) = task.diagnose({name: value.item() for name, value in figures.items()})
    assert "vocabulary collapse: hidden patches use only 1.0 of 8 entries" in said.message
    assert task.diagnose({"words_used": 3.0}) == []


def test_entries_are_drawn_for_a_hole_of_each_image(tmp_path):
    task = MaskedTokens(small_encoder(0), 16, words=8, patch_size=4, mask_size=8).eval()
    views = {"plain": torch.rand(3, 1, 3, 16, 16), UNIFORMS: torch.rand(3, task.uniforms)}
    with torch.no_grad():
        chances = task.predict(views["plain"][:, 0])
        task.draw(views, tmp_path)
    torch.testing.assert_close(chances.sum(dim=2), torch.ones(3, 16))
    assert [path.name for path in tmp_path.iterdir()] == ["words.png"]
