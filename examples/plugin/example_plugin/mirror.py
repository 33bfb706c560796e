"""Mirror: was the image mirrored?

A flip resamples nothing, so that only what is in an image tells. A policy with flips of its own would make the
question undecidable, and is refused.

Source: Gidaris et al. 2018 (1803.07728), with a reflection in place of a rotation.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_pipeline import hookimpl
from ssl_pipeline.types import Encoded, Encoder, PretextTask, Register, Step, StepOutput, Views


class Mirror(PretextTask):
    """One `global` view and its mirror image; a linear head tells them apart.

    Args:
        encoder: The encoder to train.
    """

    forbidden = frozenset({"horizontal_flip", "vertical_flip"})

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.views = self.views_for({})
        self.encoder = encoder
        self.head = nn.Linear(encoder.embedding_dim, 1)

    def forward(self, views: Views) -> Encoded:
        """Logits (N, 2): of the view as it is, and mirrored."""
        images = views["global"][:, 0]  # (N, C, S, S)
        both = torch.stack([images, images.flip(3)], dim=1)
        return {"logits": self.head(self.encoder(both.flatten(0, 1))).view(-1, 2)}

    def compare(self, encoded: Encoded, step: Step) -> StepOutput:
        """Mean cross-entropy in nats; chance is log 2."""
        logits = encoded["logits"].float()
        truth = torch.tensor([0.0, 1.0], device=logits.device).expand_as(logits)
        accuracy = ((logits > 0) == truth.bool()).float().mean()
        return StepOutput(F.binary_cross_entropy_with_logits(logits, truth), {"pretext_accuracy": accuracy.detach()})

    def predict(self, images: Tensor) -> Tensor:
        """Probability (N, 1) that an image is mirrored."""
        return torch.sigmoid(self.head(self.encoder(images)))


@hookimpl
def register_pretext_tasks(register: Register) -> None:
    """Add `example_plugin_mirror`."""
    register("example_plugin_mirror", Mirror)
