"""Missing frame: which entry of a visual vocabulary is at each place of the frame between those that are shown?

Many frames could lie between two others, because a moving object may have been here or there. A single prediction of
pixels is the average of all of them, which looks like none. A score for each entry of a vocabulary states how likely
each content is. The vocabulary is learned during training, by clustering the patches of the missing frames.

Shortcuts that need no understanding of motion, and the guards against them:

- Stillness: where nothing moves, the previous frame is the answer. The figure `copied` is the share of places where
  this is so, and `diagnose` reports that there is hardly anything else to learn: set a longer time between frames.
- Views: all frames of a clip are augmented with the same random numbers, so that a place is the same in all of them.
- One entry for nearly all patches: idle entries are moved, and `diagnose` reports that this is not enough.

Sources: a distribution over visual words in place of pixels: BEiT (2106.08254), section 2; missing words of a clip:
VideoBERT (1904.01766), section 3.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_pipeline import hookimpl
from ssl_pipeline.parts.holes import ToGrid, patches
from ssl_pipeline.parts.vocabulary import Vocabulary, graded_words, vocabulary_troubles
from ssl_pipeline.parts.word_pictures import draw_words
from ssl_pipeline.types import (
    Encoded,
    Encoder,
    Finding,
    Frames,
    Kept,
    Offer,
    PretextTask,
    Register,
    Step,
    StepOutput,
    ViewNeeds,
    Views,
)

_STILL = 0.95  # share of the places that equal the previous frame, above which a film stands still
_DRAWN = 6


class MissingFrame(PretextTask):
    """Mean cross-entropy in nats of the softmax over the vocabulary at all patches of a frame; chance is log K.

    Args:
        encoder: The encoder to train, which has to offer maps.
        size: Side of the views, in px.
        words: Number of entries of the vocabulary, K.
        patch_size: Side of the patches that entries represent, in px, which has to divide `size`.
        frames: Number of frames, odd and at least 3; the middle one is missing.
        least: Shortest time from one frame to the next, in s, greater than 0.
        most: Longest time from one frame to the next, in s.
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
        frames: int = 3,
        least: float = 0.2,
        most: float = 1.0,
        momentum: float = 0.99,
        view: str = "plain",
    ):
        super().__init__()
        if patch_size < 1 or size % patch_size:
            raise ValueError(f"patch_size must divide the views' {size} px, got {patch_size}")
        self.views = self.views_for({"frames": frames, "least": least, "most": most, "view": view})
        self.kind, self.side, self.missing = view, patch_size, frames // 2
        self.encoder = encoder
        channels = encoder.backbone.map_channels[-1]
        self.mix = nn.Conv2d((frames - 1) * channels, channels, 3, padding=1)
        self.head = ToGrid(encoder, size, words, size // patch_size)
        self.vocabulary = Vocabulary(words, encoder.images.channels * patch_size**2, momentum)

    @classmethod
    def views_for(cls, options: Mapping[str, Any]) -> ViewNeeds:
        """Ask for an odd number of frames of a clip."""
        count = options["frames"]
        if count < 3 or count % 2 == 0:
            raise ValueError(f"frames must be 3, 5, 7, ..., got {count}")
        return ViewNeeds(options["view"], count, frames=Frames(options["least"], options["most"]))

    def forward(self, views: Views) -> Encoded:
        """Return scores (N, L, K) of the missing frame, and features (N, L, F) of it and of the previous one."""
        frames = views[self.kind]
        around = torch.cat([frames[:, : self.missing], frames[:, self.missing + 1 :]], dim=1)
        return {
            "scores": self._scores(around),
            "features": self._features(frames[:, self.missing]),
            "before": self._features(frames[:, self.missing - 1]),
        }

    def _scores(self, around: Tensor) -> Tensor:
        maps: Tensor = self.encoder.maps(around.flatten(0, 1))[-1]
        maps = maps.reshape(*around.shape[:2], *maps.shape[1:])
        found: Tensor = self.head(F.relu(self.mix(maps.flatten(1, 2))))
        return found.flatten(2).transpose(1, 2)

    def _features(self, images: Tensor) -> Tensor:
        return patches(self.encoder.normalised(images), self.side)

    def compare(self, encoded: Encoded, step: Step) -> StepOutput:
        """Compare the scores with the entries that the patches of the missing frame belong to."""
        features, scores = encoded["features"].float(), encoded["scores"].float().flatten(0, 1)
        wanted = self.vocabulary(features).flatten()
        loss, metrics, kept = graded_words(scores, wanted, self.vocabulary.note(features.flatten(0, 1)), step.measured)
        if step.measured:
            copied = self.vocabulary(encoded["before"].float()).flatten() == wanted
            metrics = {"pretext_accuracy": metrics["pretext_accuracy"], "copied": copied.float().mean(), **metrics}
        return StepOutput(loss, metrics, kept)

    def after_step(self, step: Step, kept: Kept) -> None:
        """Update the vocabulary."""
        self.vocabulary.follow(kept)

    def diagnose(self, figures: Mapping[str, float]) -> list[Finding]:
        """Report that only one entry of the vocabulary is used, or that films stand still."""
        collapsed, copied = vocabulary_troubles(figures, self.vocabulary), figures["copied"]
        if collapsed:
            return collapsed
        if copied <= _STILL:
            return []
        return [
            Finding(
                "still frames",
                f"still frames: at {copied:.0%} of the places, the missing frame equals the previous one, so "
                "there is little to learn but copying. Raise pretrain.pretext_task: {least: ..., most: ...}, or "
                "{words: ...}.",
            )
        ]

    def predict(self, images: Tensor) -> Tensor:
        """Return probabilities (N, L, K) of the entries at each patch of a frame whose neighbours are all `images`."""
        around = images[:, None].expand(-1, self.views.count - 1, -1, -1, -1)
        return self._scores(around).float().softmax(dim=2)

    def draw(self, views: Views, folder: Path) -> None:
        """Draw words.png: the distribution over the vocabulary, and its best entries, where most has changed."""
        frames = views[self.kind][:_DRAWN]
        around = torch.cat([frames[:, : self.missing], frames[:, self.missing + 1 :]], dim=1)
        chances = self._scores(around).float().softmax(dim=2)
        before, features, after = (
            self._features(frames[:, number]) for number in (self.missing - 1, self.missing, self.missing + 1)
        )
        places = (before - after).square().mean(dim=2).argmax(dim=1)
        titles = (("before", self.missing - 1), ("missing", self.missing), ("after", self.missing + 1))
        pictures = [(title, frames[:, number]) for title, number in titles]
        draw_words(folder / "words.png", pictures, places, features, chances, self.vocabulary, self.encoder, self.side)


@hookimpl
def register_pretext_tasks(register: Register) -> None:
    """Add `missing_frame`."""
    register("missing_frame", MissingFrame)
