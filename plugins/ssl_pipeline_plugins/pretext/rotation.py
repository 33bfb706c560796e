"""Rotation: by how many quarter turns was the image rotated?

Shortcuts: chromatic aberration, and the interpolation traces of other angles. Quarter turns move pixels without
resampling them, and views are square, so that no border reveals the turn. A policy with vertical flips is refused:
together with horizontal flips, they make "upright" and "upside down" the same question.

Source: Gidaris et al. 2018 (1803.07728), equations 2 and 3.
"""

import torch
from torch import Tensor, nn

from ssl_pipeline import hookimpl
from ssl_pipeline.parts.answers import graded
from ssl_pipeline.types import Encoded, Encoder, PretextTask, Register, Step, StepOutput, Views


class Rotation(PretextTask):
    """All four quarter turns of one `global` view, which a linear head identifies.

    Args:
        encoder: The encoder to train.
    """

    forbidden = frozenset({"vertical_flip"})

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.views = self.views_for({})
        self.encoder = encoder
        self.head = nn.Linear(encoder.embedding_dim, 4)

    def forward(self, views: Views) -> Encoded:
        """Return logits (N, 4 turns made, 4 turns predicted)."""
        images = views["global"][:, 0]  # (N, C, S, S)
        turned = torch.stack([torch.rot90(images, turns, dims=(2, 3)) for turns in range(4)], dim=1)
        return {"logits": self.head(self.encoder(turned.flatten(0, 1))).unflatten(0, turned.shape[:2])}

    def compare(self, encoded: Encoded, step: Step) -> StepOutput:
        """Return the mean cross-entropy in nats; chance is log 4."""
        logits = encoded["logits"]
        return graded(logits, torch.arange(4, device=logits.device).expand(len(logits), 4))

    def predict(self, images: Tensor) -> Tensor:
        """Return probabilities (N, 4) of 0, 90, 180 and 270 degrees, counter-clockwise."""
        probabilities: Tensor = self.head(self.encoder(images)).softmax(dim=1)
        return probabilities


@hookimpl
def register_pretext_tasks(register: Register) -> None:
    """Add `rotation`."""
    register("rotation", Rotation)
