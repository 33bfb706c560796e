"""The check that a text tower can ship: a sound one passes; one that depends on padding or on its batch does not."""

import pytest
import torch
from torch import Tensor, nn

from ssl_pipeline.testing import graphs
from ssl_pipeline.testing.subject import Subject
from ssl_pipeline.testing.training import Trial
from ssl_pipeline.types import Encoded, Encoder, PretextTask, Step, StepOutput, TextNeeds, TextTower, Views


class Mean(TextTower):
    """The sum of the token vectors; a broken one includes padding or weights each row by its place in the batch."""

    def __init__(self, broken: str):
        super().__init__()
        self.needs, self.embedding_dim, self.broken = TextNeeds(vocabulary=300, context=8), 4, broken
        self.vectors = nn.Embedding(300, 4)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        if self.broken == "padding":
            mask = torch.ones_like(mask)
        elif self.broken == "constant":
            mask = mask[: len(mask)] * torch.arange(1, len(mask) + 1)[:, None]
        return (self.vectors(tokens) * mask[..., None]).sum(dim=1)


class Task(PretextTask):
    """A task with a text tower."""

    def __init__(self, encoder: Encoder, *, broken: str):
        super().__init__()
        self.views, self.encoder, self.text_tower = self.views_for({}), encoder, Mean(broken)

    def forward(self, views: Views) -> Encoded:
        raise NotImplementedError

    def compare(self, encoded: Encoded, step: Step) -> StepOutput:
        raise NotImplementedError

    def predict(self, images: Tensor) -> Tensor:
        return images


def check(broken: str) -> None:
    subject = Subject(Task, "pretext_task", {"broken": broken}, size=16)
    graphs.text_tower_exports(Trial(subject, subject.build))


def test_a_tower_that_heeds_the_mask_can_ship():
    check("")


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("padding", "its embedding of a text depends on the padding after it"),
        ("constant", "its embedding of texts.*(does not run|differs between|does not export)"),
    ],
)
def test_one_that_cannot_is_told_why(broken: str, said: str):
    with pytest.raises(AssertionError, match=said):
        check(broken)
