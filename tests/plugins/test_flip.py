"""Flip: which flips are made and how they are named, and that only the content of an image reveals them."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline.augment import geometry
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.augment.views import ViewMaker
from ssl_pipeline.testing.material import make_images, make_step, small_encoder
from ssl_pipeline_plugins.pretext.flip import Flip
from tests.plugins.shortcuts import accuracy, deviation

POLICY = {
    "size": 16,
    "random_resized_crop": {"p": 1.0, "scale": [0.5, 1.0], "ratio": [0.75, 1.333]},
    "rotation": {"p": 0.5, "degrees": 10},
    "gaussian_blur": {"p": 0.5, "sigma": [0.3, 1.0]},
}


def test_all_four_flips_are_made_and_each_is_named():
    task = Flip(small_encoder(0)).eval()
    images = make_images(3, 16)
    flipped = [
        images,
        images[:, :, :, range(15, -1, -1)],
        images[:, :, range(15, -1, -1)],
        images.rot90(2, dims=(2, 3)),
    ]
    logits = torch.stack([task.head(task.encoder(one)) for one in flipped], dim=1)
    loss, metrics, _ = task.compare(task({"plain": images[:, None]}), make_step())
    expected = -logits.log_softmax(2).diagonal(dim1=1, dim2=2).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert metrics["pretext_accuracy"].item() == (logits.argmax(2) == torch.arange(4)).float().mean().item()
    torch.testing.assert_close(task.predict(images), logits[:, 0].softmax(1))


def views(count: int, generator: torch.Generator) -> Tensor:
    """Return views that the pipeline makes of smaller canvases of white noise, with black and white pixels only."""
    maker = ViewMaker(Policy.model_validate(POLICY))
    canvases = 255 * torch.randint(0, 2, (count, 20, 20, 3), generator=generator, dtype=torch.uint8)
    return maker(canvases, torch.rand(count, maker.parameter_count, generator=generator))


def test_views_of_white_noise_show_no_trace_of_resampling(monkeypatch: pytest.MonkeyPatch):
    """The four questions about an image are dependent and count as one; a shift by half a pixel is detected."""
    sigma = deviation(4, 2000)
    found = partial(accuracy, training=views, steps=100, count=2000)
    assert found(Flip(small_encoder(0))) == pytest.approx(0.25, abs=4 * sigma)

    def beside(images: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
        """Resample as if the edges of pixels were their centres, and repeat the first row or column."""
        return F.pad(honest(images, rows, weights)[..., :-1, :], (0, 0, 1, 0), mode="replicate")

    honest = geometry.combine_rows
    monkeypatch.setattr(geometry, "combine_rows", beside)
    assert found(Flip(small_encoder(0))) > 0.25 + 10 * sigma
