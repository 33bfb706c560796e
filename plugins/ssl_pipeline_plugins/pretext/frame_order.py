"""Frame order: were three frames of a clip taken in the order in which they are shown?

It is often impossible to tell whether a film runs forwards or backwards, so the task does not ask: an order and
its reversal have the same answer. The question is which frame was taken between the other two.

Shortcuts that need no look at what moves, and the guards against them:

- Views: a different crop, tint or blur would give a frame away. All views of a clip are made with the same random
  numbers and by the same policy.
- Fades, exposure and clouds: rising or falling brightness and contrast reveal the order. Each channel of each frame is
  standardised to mean 0 and standard deviation 1. Changes within a frame, such as a moving shadow, remain.
- The rhythm of keyframes: a codec's frames are sharpest at a keyframe and degrade until the next one, which reveals how
  far a frame is from its keyframe. With equal times between frames, that would give their order. Therefore each of
  these times is drawn separately from a range. If the range spans the interval between keyframes, the distance from a
  keyframe says nothing about the order. Set a range as long as that interval, which is half a second to ten seconds.
- Answers by position: each of the frames is shown in the middle equally often.

Nothing guards against cues within the film: a clock, a progress bar, or a picture that becomes steadily sharper or
softer, as when focus is pulled or an object comes nearer. Crops can leave out a clock or a progress bar.

Sources: Misra et al. 2016 (1603.08561), section 3; all orders of the same frames, up to reversal: Lee et al. 2017
(1708.01246), section 3.
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from ssl_pipeline import hookimpl
from ssl_pipeline.parts.answers import graded
from ssl_pipeline.parts.heads import mlp
from ssl_pipeline.parts.tiles import standardised
from ssl_pipeline.types import (
    UNIFORMS,
    Encoded,
    Encoder,
    Frames,
    PretextTask,
    Register,
    Step,
    StepOutput,
    ViewNeeds,
    Views,
)

_ORDERS = ((0, 1, 2), (1, 0, 2), (0, 2, 1))  # with the middle frame in the middle, first and last


class FrameOrder(PretextTask):
    """The embeddings of three frames in each of three orders; an MLP predicts whether the frames are in order.

    Args:
        encoder: The encoder to train.
        hidden_dim: Width of the MLP's hidden layer.
        least: Shortest time from one frame to the next, in s, greater than 0.
        most: Longest time from one frame to the next, in s.
        asks: Question to answer: order (whether the frames are in order, forwards or backwards, as one in three is) or
            permutation (which of the three frames was taken between the other two).
        view: The kind of view to learn from.
    """

    orders: Tensor
    answers: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        hidden_dim: int = 256,
        least: float = 0.2,
        most: float = 1.0,
        asks: Literal["order", "permutation"] = "order",
        view: str = "plain",
    ):
        super().__init__()
        if hidden_dim < 1:
            raise ValueError(f"hidden_dim must be at least 1, got {hidden_dim}")
        self.views, self.view = self.views_for({"least": least, "most": most, "view": view}), view
        self.encoder, self.uniforms = encoder, len(_ORDERS)
        self.register_buffer("orders", torch.tensor(_ORDERS), persistent=False)
        answers = [0, 1, 1] if asks == "order" else [0, 1, 2]
        self.register_buffer("answers", torch.tensor(answers), persistent=False)
        self.head = mlp([3 * encoder.embedding_dim, hidden_dim, max(answers) + 1])

    @classmethod
    def views_for(cls, options: Mapping[str, Any]) -> ViewNeeds:
        """Ask for three frames of a clip."""
        return ViewNeeds(options["view"], 3, frames=Frames(options["least"], options["most"]))

    def forward(self, views: Views) -> Encoded:
        """Return embeddings (N, 3, D) in the order of time, and whether each order (N, 3) is shown backwards."""
        return {"embeddings": self._embedded(views[self.view]), "backwards": views[UNIFORMS] < 0.5}

    def _embedded(self, frames: Tensor) -> Tensor:
        """Return embeddings (N, V, D) of frames (N, V, C, S, S)."""
        frames = standardised(frames, self.encoder)
        embeddings: Tensor = self.encoder(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return embeddings

    def compare(self, encoded: Encoded, step: Step) -> StepOutput:
        """Return the mean cross-entropy in nats; chance is 0.64 (order) or 1.10 (permutation)."""
        embeddings, backwards = encoded["embeddings"], encoded["backwards"][..., None, None]
        shown = torch.where(backwards, embeddings.flip(1)[:, self.orders], embeddings[:, self.orders])  # (N, 3, 3, D)
        logits = self.head(shown.flatten(2).flatten(0, 1)).unflatten(0, shown.shape[:2])
        return graded(logits, self.answers.expand(len(logits), -1))

    def predict(self, images: Tensor) -> Tensor:
        """Return embeddings (N, D) of standardised images: the input of the head for one frame."""
        return self._embedded(images[:, None])[:, 0]


@hookimpl
def register_pretext_tasks(register: Register) -> None:
    """Add `frame_order`."""
    register("frame_order", FrameOrder)
