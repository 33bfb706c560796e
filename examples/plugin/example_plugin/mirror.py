"""Mirror: was the image mirrored?

A flip does not resample pixels, so only the contents of an image give the answer away. A policy that contains flips
would make the question undecidable, and is refused.

Source: Gidaris et al. 2018 (1803.07728), with a reflection instead of a rotation.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_pipeline import hookimpl
from ssl_pipeline.types import Encoded, Encoder, PretextTask, Register, Step, StepOutput, Views


class Mirror(PretextTask):
    """One `global` view and its mirror image; a linear head tells them apart.

    Args:
        encoder: Encoder to train.
    """

    forbidden = frozenset({"horizontal_flip", "vertical_flip"})

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.views = self.views_for({})
        self.encoder = encoder
        self.head = nn.Linear(encoder.embedding_dim, 1)

    def forward(self, views: Views) -> Encoded:
        """Return logits (N, 2), of the original view and of its mirror image."""
        images = views["global"][:, 0]  # (N, C, S, S)
        both = torch.stack([images, images.flip(3)], dim=1)
        return {"logits": self.head(self.encoder(both.flatten(0, 1))).view(-1, 2)}

    def compare(self, encoded: Encoded, step: Step) -> StepOutput:
        """Return the mean cross-entropy in nats; chance level is log 2."""
        logits = encoded["logits"].float()
        truth = torch.tensor([0.0, 1.0], device=logits.device).expand_as(logits)
        accuracy = ((logits > 0) == truth.bool()).float().mean()
        return StepOutput(F.binary_cross_entropy_with_logits(logits, truth), {"pretext_accuracy": accuracy.detach()})

    def predict(self, images: Tensor) -> Tensor:
        """Return the probability (N, 1) that each image is mirrored."""
        return torch.sigmoid(self.head(self.encoder(images)))


@hookimpl
def register_pretext_tasks(register: Register) -> None:
    """Add `example_plugin_mirror`."""
    register("example_plugin_mirror", Mirror)
