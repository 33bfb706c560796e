"""Masked images: what is behind the holes, pixel by pixel?

Shortcut: neighbouring pixels. A hole of a few pixels is filled well enough by continuing its border, without knowing
what the image shows. Holes are therefore patches that are large compared with the texture, and they hide most of the
image. The loss covers hidden pixels only, so that copying earns nothing. Holes are cut after augmentation, so that no
resampling carries hidden pixels out of them.

Source: Xie et al. 2021, SimMIM (2111.09886), sections 3 and 4.1.
"""

from pathlib import Path

import torch
from torch import Tensor

from ssl_pipeline import hookimpl
from ssl_pipeline.parts.holes import Holes, ToGrid, explained, save_rows
from ssl_pipeline.types import UNIFORMS, Encoded, Encoder, Offer, PretextTask, Register, Step, StepOutput, Views


class Masked(PretextTask):
    """Mean absolute error of hidden pixels, which a linear head predicts from the maps of the last layer.

    Args:
        encoder: The encoder to train, which has to offer maps.
        size: Side of the views, in px.
        mask_size: Side of the patches that are hidden, in px, which has to divide `size`.
        ratio: Share of the patches that are hidden, in (0, 1).
        view: The kind of view to learn from, with gentle augmentation.
    """

    needs: frozenset[Offer] = frozenset({"maps"})

    def __init__(self, encoder: Encoder, size: int, *, mask_size: int, ratio: float = 0.6, view: str = "plain"):
        super().__init__()
        self.views, self.kind = self.views_for({"view": view}), view
        self.encoder = encoder
        self.holes = Holes(encoder, size, mask_size, ratio)
        self.head = ToGrid(encoder, size, encoder.images.channels, size)
        self.uniforms = self.holes.count

    def forward(self, views: Views) -> Encoded:
        """Return errors (N,) over hidden pixels, in standard deviations of the channels, and those of their means."""
        images = views[self.kind][:, 0]
        holed, where = self.holes(images, views[UNIFORMS])
        target = self.encoder.normalised(images)
        share = where / where.sum(dim=(1, 2, 3), keepdim=True) / images.shape[1]  # averages over hidden values
        mean = (target * share).sum(dim=(2, 3), keepdim=True) * images.shape[1]
        error = ((self._guess(holed) - target).abs() * share).sum(dim=(1, 2, 3))
        return {"error": error, "of_mean": ((mean - target).abs() * share).sum(dim=(1, 2, 3))}

    def _guess(self, holed: Tensor) -> Tensor:
        """Return normalised pixels (N, C, S, S), float32."""
        found: Tensor = self.head(self.encoder.maps(holed)[-1])
        return found.float()

    def compare(self, encoded: Encoded, step: Step) -> StepOutput:
        """Return the mean error."""
        error = encoded["error"].float().mean()
        return StepOutput(error, explained(error, encoded["of_mean"].float()))

    def predict(self, images: Tensor) -> Tensor:
        """Return images (N, C, S, S) whose hidden patches, the same ones in each image, are filled in."""
        holed, where = self.holes.always(images)
        return torch.where(where, self._guess(holed) * self.encoder.std + self.encoder.mean, images)

    def draw(self, views: Views, folder: Path) -> None:
        """Draw holes.png: images with holes, the same images filled in, and the originals."""
        images = views[self.kind][:, 0]
        save_rows(
            folder / "holes.png", [self.holes.always(images)[0], self.predict(images), images], self.encoder.images
        )


@hookimpl
def register_pretext_tasks(register: Register) -> None:
    """Add `masked`."""
    register("masked", Masked)
