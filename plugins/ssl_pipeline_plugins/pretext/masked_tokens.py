"""Masked tokens: which entry of a visual vocabulary is behind each hole?

A single prediction of pixels cannot represent the many contents that a hole may have: it is their average, which looks
like none of them. A score for each entry of a vocabulary can: it states how likely each content is. The vocabulary is
learned during training, by clustering the patches of the images.

Shortcuts: those of `masked`, with the same guards: holes are large, and the loss covers hidden patches only. One entry
for nearly all patches would make the answer easy; idle entries are moved, and `diagnose` reports that this is not
enough.

Source: BEiT (2106.08254), section 2, with clusters of patches in place of its pretrained tokenizer.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ssl_pipeline import hookimpl
from ssl_pipeline.augment.display import shown_bands
from ssl_pipeline.parts.holes import Holes, ToGrid, patches
from ssl_pipeline.parts.vocabulary import Vocabulary, graded_words, vocabulary_troubles
from ssl_pipeline.parts.word_pictures import draw_words
from ssl_pipeline.types import (
    UNIFORMS,
    Encoded,
    Encoder,
    Finding,
    Kept,
    Offer,
    PretextTask,
    Register,
    Step,
    StepOutput,
    Views,
)

_DRAWN = 6


class MaskedTokens(PretextTask):
    """Mean cross-entropy in nats of the softmax over the vocabulary at hidden patches; chance is log K.

    Args:
        encoder: The encoder to train, which has to offer maps.
        size: Side of the views, in px.
        words: Number of entries of the vocabulary, K.
        patch_size: Side of the patches that entries represent, in px, which has to divide `mask_size`.
        mask_size: Side of the squares that are hidden, in px, which has to divide `size`.
        ratio: Share of the image that is hidden, in (0, 1).
        momentum: Momentum of the vocabulary's averages, in [0, 1).
        view: The kind of view to learn from, with gentle augmentation.
    """

    needs: frozenset[Offer] = frozenset({"maps"})

    def __init__(
        self,
        encoder: Encoder,
        size: int,
        *,
        words: int,
        patch_size: int,
        mask_size: int,
        ratio: float = 0.4,
        momentum: float = 0.99,
        view: str = "plain",
    ):
        super().__init__()
        if patch_size < 1 or mask_size % patch_size:
            raise ValueError(f"patch_size must divide mask_size, {mask_size} px, got {patch_size}")
        self.views, self.kind, self.side = self.views_for({"view": view}), view, patch_size
        self.encoder = encoder
        self.holes = Holes(encoder, size, mask_size, ratio)
        self.vocabulary = Vocabulary(words, encoder.images.channels * patch_size**2, momentum)
        self.head = ToGrid(encoder, size, words, size // patch_size)
        self.uniforms = self.holes.count
        self._hidden_count = int(self._hidden(self.holes.fixed).sum())  # patches, the same number in each image

    def forward(self, views: Views) -> Encoded:
        """Return scores (N, L, K) and features (N, L, F) of all patches, and whether each is hidden, (N, L) bool."""
        images = views[self.kind][:, 0]
        holed, where = self.holes(images, views[UNIFORMS])
        return {"scores": self._scores(holed), "features": self._features(images), "hidden": self._hidden(where)}

    def _scores(self, holed: Tensor) -> Tensor:
        found: Tensor = self.head(self.encoder.maps(holed)[-1])
        return found.flatten(2).transpose(1, 2)

    def _features(self, images: Tensor) -> Tensor:
        return patches(self.encoder.normalised(images), self.side)

    def _hidden(self, where: Tensor) -> Tensor:
        return where[:, 0, :: self.side, :: self.side].flatten(1)

    def compare(self, encoded: Encoded, step: Step) -> StepOutput:
        """Compare the scores of hidden patches with the entries that the patches belong to."""
        features = encoded["features"].float()
        places = encoded["hidden"].byte().argsort(dim=1, descending=True, stable=True)[:, : self._hidden_count]
        images = torch.arange(len(places), device=places.device)[:, None]
        scores = encoded["scores"].float()[images, places].flatten(0, 1)
        wanted = self.vocabulary(features)[images, places].flatten()
        return graded_words(scores, wanted, self.vocabulary.note(features.flatten(0, 1)), step.measured)

    def after_step(self, step: Step, kept: Kept) -> None:
        """Update the vocabulary."""
        self.vocabulary.follow(kept)

    def diagnose(self, figures: Mapping[str, float]) -> list[Finding]:
        """Report that only one entry of the vocabulary is used."""
        return vocabulary_troubles(figures, self.vocabulary, "hidden patches")

    def predict(self, images: Tensor) -> Tensor:
        """Return probabilities (N, L, K) of the entries at each patch of images that all have the same holes."""
        return self._scores(self.holes.always(images)[0]).float().softmax(dim=2)

    def draw(self, views: Views, folder: Path) -> None:
        """Draw words.png: the distribution over the vocabulary, and its best entries, for a hole of some images."""
        images = views[self.kind][:_DRAWN, 0]
        holed, where = self.holes.always(images)
        features = self._features(images)
        places = features.var(dim=2).masked_fill(~self._hidden(where), -1.0).argmax(dim=1)
        pictures = [(shown_bands(self.encoder.images) or "image", holed)]
        words = self.vocabulary, self.encoder, self.side
        draw_words(folder / "words.png", pictures, places, features, self.predict(images), *words)


@hookimpl
def register_pretext_tasks(register: Register) -> None:
    """Add `masked_tokens`."""
    register("masked_tokens", MaskedTokens)
