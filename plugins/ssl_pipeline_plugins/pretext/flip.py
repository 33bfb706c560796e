"""Flip: was the image mirrored, and along which axis?

Shortcuts: traces of resampling, and borders. Flips move pixels without resampling them, views are square, and
augmentation treats both ends of an axis alike. A policy that flips images is refused, as no answer would be right.

Source: the question that `rotation` (Gidaris et al. 2018, 1803.07728, section 3.1) asks about rotations, asked about
flips.
"""

import torch
from torch import Tensor, nn

from ssl_pipeline import hookimpl
from ssl_pipeline.parts.answers import graded
from ssl_pipeline.types import Encoded, Encoder, PretextTask, Register, Step, StepOutput, Views

_MIRRORED_AXES = ((), (3,), (2,), (2, 3))  # none, horizontal, vertical, both


class Flip(PretextTask):
    """All four flips of one view, which a linear head identifies.

    Args:
        encoder: The encoder to train.
        view: The kind of view to learn from.
    """

    forbidden = frozenset({"horizontal_flip", "vertical_flip"})

    def __init__(self, encoder: Encoder, *, view: str = "plain"):
        super().__init__()
        self.views = self.views_for({"view": view})
        self.view, self.encoder = view, encoder
        self.head = nn.Linear(encoder.embedding_dim, len(_MIRRORED_AXES))

    def forward(self, views: Views) -> Encoded:
        """Return logits (N, 4 flips made, 4 flips predicted)."""
        images = views[self.view][:, 0]  # (N, C, S, S)
        flipped = torch.stack([images.flip(axes) for axes in _MIRRORED_AXES], dim=1)
        return {"logits": self.head(self.encoder(flipped.flatten(0, 1))).unflatten(0, flipped.shape[:2])}

    def compare(self, encoded: Encoded, step: Step) -> StepOutput:
        """Return the mean cross-entropy in nats; chance is log 4."""
        logits = encoded["logits"]
        return graded(logits, torch.arange(len(_MIRRORED_AXES), device=logits.device).expand(len(logits), -1))

    def predict(self, images: Tensor) -> Tensor:
        """Return probabilities (N, 4) of no flip, a horizontal one (left and right), a vertical one, and both."""
        probabilities: Tensor = self.head(self.encoder(images)).softmax(dim=1)
        return probabilities


@hookimpl
def register_pretext_tasks(register: Register) -> None:
    """Add `flip`."""
    register("flip", Flip)
