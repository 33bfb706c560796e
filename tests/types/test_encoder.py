"""Encoders derived from the same backbone: what they share, and what belongs to each."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch

from ssl_pipeline.data.image_spec import ImageSpec
from ssl_pipeline.testing.material import SmallBackbone, make_images
from ssl_pipeline.types import Encoder

MEAN, STD = (0.2, 0.5, 0.7), (0.1, 0.2, 0.3)
IMAGES = make_images(count=2, size=16)

Derive = Callable[[Encoder], Encoder]
DERIVED = pytest.mark.parametrize(
    "derive", [lambda encoder: encoder.at(1), lambda encoder: encoder.in_grayscale()], ids=["at", "in_grayscale"]
)


@pytest.fixture
def encoder() -> Encoder:
    return Encoder(SmallBackbone(), MEAN, STD).eval()


@DERIVED
def test_weights_and_their_names_are_the_same(encoder: Encoder, derive: Derive):
    own, derived = encoder.state_dict(), derive(encoder).state_dict()
    assert list(own) == list(derived)
    assert list(own)[:3] == ["mean", "std", "backbone.first.weight"]
    assert all(own[name].data_ptr() == derived[name].data_ptr() for name in own)


@DERIVED
def test_what_loads_weights_loads_them_for_all(encoder: Encoder, derive: Derive):
    derived, other = derive(encoder), Encoder(SmallBackbone(), STD, MEAN)
    derived.load_state_dict(other.state_dict())
    assert torch.equal(encoder(IMAGES), other(IMAGES))
    assert not torch.equal(encoder.mean, Encoder(SmallBackbone(), MEAN, STD).mean)


@DERIVED
def test_mode_hooks_attributes_and_buffers_are_each_ones_own(encoder: Encoder, derive: Derive):
    derived, wanted = derive(encoder), encoder(IMAGES)
    assert not derived.training
    derived.training = True
    derived.register_forward_hook(lambda *_: torch.zeros(1))
    derived.register_buffer("further", torch.zeros(1))
    derived.mean = torch.full_like(derived.mean, 9.0)
    assert not encoder.training
    assert torch.equal(encoder(IMAGES), wanted)
    assert list(encoder.state_dict())[:2] == ["mean", "std"]
    assert "further" not in encoder.state_dict()
    assert (encoder.layer, encoder.grayscale) == (None, False)


@pytest.mark.parametrize("moved", ["own", "derived"])
@DERIVED
def test_whichever_is_moved_all_move(encoder: Encoder, derive: Derive, moved: str):
    """A change of dtype is tested in place of a change of device: both replace every tensor."""
    derived = derive(encoder)
    (encoder if moved == "own" else derived).to(torch.float64)
    for one in (encoder, derived):
        assert {value.dtype for value in one.state_dict().values()} == {torch.float64}
        assert one(IMAGES.double()).dtype == torch.float64
    assert encoder.mean is derived.mean


def test_a_copy_shares_nothing(encoder: Encoder):
    copied = deepcopy(encoder).at(1)
    copied.to(torch.float64)
    assert {value.dtype for value in encoder.state_dict().values()} == {torch.float32}


def test_what_is_derived_keeps_the_rest(encoder: Encoder):
    both = encoder.in_grayscale().at(1)
    assert (both.layer, both.grayscale, both.embedding_dim) == (1, True, 8)
    assert torch.equal(both(IMAGES), encoder.at(1).in_grayscale()(IMAGES))
    assert not torch.equal(both(IMAGES), encoder.at(1)(IMAGES))
    bands = ImageSpec(channels=3, dtype="uint16", low=0, high=4095)
    assert Encoder(SmallBackbone(), MEAN, STD, bands).at(2).images == bands


@pytest.mark.parametrize("layer", [0, 3, -1])
def test_a_layer_that_the_backbone_does_not_have_is_refused(encoder: Encoder, layer: int):
    with pytest.raises(ValueError, match=rf"layer must lie in \[1, 2\], got {layer}"):
        encoder.at(layer)
