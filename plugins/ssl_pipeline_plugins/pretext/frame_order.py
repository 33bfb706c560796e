"""Frame order: three frames of a clip; were they seen in the order in which they are shown?

Whether a film runs forwards or backwards is often not to be told, so that it is asked of no frames: an order and its
reversal have the same answer. What is to be told is which frame was seen between the other two.

What would tell it without looking at what moves, and its guard:

- Views: a crop, a tint or a blur of its own would give a frame away. All views of a clip are made with the same random
  numbers, and by one policy.
- Fades, exposure and clouds: brightness and contrast that rise or fall put frames in their order. Each channel of each
  frame is brought to mean 0 and standard deviation 1. What changes within a frame, such as a shadow that moves, stays.
- The rhythm of keyframes: a codec's frames are sharpest at a keyframe and decay until the next one, which tells how far
  a frame is from its keyframe. With equal times between frames that would be their order. These times are drawn, each
  on its own, from a range: where it spans some rhythms, such a place says nothing of the order. Take a range as long as
  the rhythm, half a second to ten.
- Answers by position: each of the frames is shown amid as often.

Nothing guards against what is in the film itself: a clock, a progress bar, or a picture that becomes sharper or softer
all the while, as where focus is pulled or a thing comes nearer. Crops can leave out the former.

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

_ORDERS = ((0, 1, 2), (1, 0, 2), (0, 2, 1))  # with the middle frame amid, first and last


class FrameOrder(PretextTask):
    """The embeddings of three frames in each of three orders, of which an MLP says whether they are in order.

    Args:
        encoder: The encoder to train.
        hidden_dim: Width of the MLP's hidden layer.
        least: Least time from one frame to the next, s, greater than 0.
        most: The most time, s.
        asks: order: whether the frames are in order, forwards or backwards, which one in three is; permutation: which
            of those shown was seen between the other two.
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
        """Return embeddings (N, 3, D) in the order of time, and for which orders (N, 3) the film runs backwards."""
        return {"embeddings": self._embedded(views[self.view]), "backwards": views[UNIFORMS] < 0.5}

    def _embedded(self, frames: Tensor) -> Tensor:
        """Return embeddings (N, V, D) of frames (N, V, C, S, S)."""
        frames = standardised(frames, self.encoder)
        embeddings: Tensor = self.encoder(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return embeddings

    def compare(self, encoded: Encoded, step: Step) -> StepOutput:
        """Return the mean cross-entropy in nats; who knows nothing has 0.64 (order) or 1.10 (permutation)."""
        embeddings, backwards = encoded["embeddings"], encoded["backwards"][..., None, None]
        shown = torch.where(backwards, embeddings.flip(1)[:, self.orders], embeddings[:, self.orders])  # (N, 3, 3, D)
        logits = self.head(shown.flatten(2).flatten(0, 1)).unflatten(0, shown.shape[:2])
        return graded(logits, self.answers.expand(len(logits), -1))

    def predict(self, images: Tensor) -> Tensor:
        """Return what the head is given of a frame: the embeddings (N, D) of images of even brightness."""
        return self._embedded(images[:, None])[:, 0]


@hookimpl
def register_pretext_tasks(register: Register) -> None:
    """Add `frame_order`."""
    register("frame_order", FrameOrder)
