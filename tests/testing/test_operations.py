"""Each check of operations on views catches one that is broken in exactly that way."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssl_pipeline.testing import check_operation
from ssl_pipeline.types import ViewOperation


class SoundOperation(ViewOperation):
    """Darkens a view.

    Args:
        strength: Largest share of the light to remove, in [0, 1].
    """

    uniforms = 1

    def __init__(self, strength: float = 0.5):
        super().__init__()
        self.strength = strength

    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        return images * (1 - self.strength * uniforms[:, :, None, None])


def test_a_sound_one_passes():
    check_operation(SoundOperation, strength=0.3)


def in_place(self: Any, images: Tensor, uniforms: Tensor) -> Tensor:
    return images.mul_(0.5)


def by_value(self: Any, images: Tensor, uniforms: Tensor) -> Tensor:
    return images if images.max() > 2 else images * 0.5


def with_weights(self: Any, strength: float = 0.5) -> None:
    ViewOperation.__init__(self)
    self.strength, self.weight = strength, nn.Parameter(torch.ones(1))


def with_p(self: Any, strength: float = 0.5, p: float = 0.5) -> None:
    SoundOperation.__init__(self, strength)


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        (r"uniforms is -1; it must be the number", {"uniforms": -1}),
        (r"needs is 'rgb'; it must be frozenset", {"needs": "rgb"}),
        (r"it has parameters, which nothing trains\. Use buffers", {"__init__": with_weights}),
        (r"it has an option 'p'", {"__init__": with_p, "__doc__": f"{SoundOperation.__doc__}    p: A share."}),
        (r"views must keep their shape and type", {"forward": lambda self, images, uniforms: images[..., ::2]}),
        (r"values leave \[0, 1\]", {"forward": lambda self, images, uniforms: images + uniforms[:, :, None, None]}),
        (r"it changes the images or numbers", {"forward": in_place}),
        (r"give different views each time", {"forward": lambda self, images, uniforms: images * torch.rand(())}),
        (r"depends on the other images", {"forward": lambda self, images, uniforms: images * uniforms.mean()}),
        (r"does not export to an ONNX graph", {"forward": by_value}),
    ],
)
def test_a_broken_one_is_told_what_is_wrong(words: str, changes: dict[str, Any]):
    operation = type("Broken", (SoundOperation,), {"__doc__": SoundOperation.__doc__, **changes})
    with pytest.raises(AssertionError, match=words):
        check_operation(operation)


def test_what_is_no_operation_is_told():
    with pytest.raises(AssertionError, match=r"its factory returns Identity; derive it from"):
        check_operation(lambda: nn.Identity())
