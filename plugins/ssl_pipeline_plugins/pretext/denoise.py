"""Denoising autoencoder: what did the image look like before it was corrupted?

Each view is corrupted by noise, a blur or a hidden block, or occasionally left as it is. The task predicts the
correction: added to the corrupted image, it should give the original. The mean square of the correction is the
reconstruction error, and also an energy. It is low if there is nothing to correct, because the image already looks as
images do; the correction itself points downhill (Alain and Bengio 2012, 1211.4246, theorem 2: it tends to the score of
the data).

Shortcut: copying the input, which is right nearly everywhere. The head predicts only the correction, from the maps of
the last layer, so that its prediction has to come through the encoder. The kinds of corruption differ, so no
single filter undoes them. The content of a hidden block has to be inferred from its surroundings.

Source: Vincent et al. 2008, "Extracting and Composing Robust Features with Denoising Autoencoders", section 2.3.
"""

from pathlib import Path

import torch
from torch import Tensor

from ssl_pipeline import hookimpl
from ssl_pipeline.augment.noise import blur_radius, gaussian_blur
from ssl_pipeline.parts.holes import ToGrid, explained, save_rows
from ssl_pipeline.types import (
    UNIFORMS,
    Encoded,
    Encoder,
    ImageEnergyHead,
    Offer,
    PretextTask,
    Register,
    Step,
    StepOutput,
    Views,
)

_DECISIONS_PER_IMAGE = 5  # random numbers for the kind, strength, size and place of a corruption
_BLOCK_SIDE_SHARES = (0.25, 0.5)  # smallest and largest side of a block, as a share of the view's side


class ReconstructionError(ImageEnergyHead):
    """Mean squared correction of an image, in standard deviations of the channels, and the corruption of images.

    Args:
        encoder: The encoder of the images, which offers maps.
        size: Side of the views, S, in px.
        noise: Largest standard deviation of the noise, as a share of the full range, greater than 0.
        blur: Largest sigma of the blur, in px, greater than 0.
    """

    name = "squared_reconstruction_error"

    def __init__(self, encoder: Encoder, size: int, *, noise: float, blur: float):
        super().__init__()
        for option, value in {"noise": noise, "blur": blur}.items():
            if value <= 0:
                raise ValueError(f"{option} must be greater than 0, got {value}")
        self.noise, self.blur = noise, blur
        self.uniforms = _DECISIONS_PER_IMAGE + encoder.images.channels * size**2
        self.head = ToGrid(encoder, size, encoder.images.channels, size)
        with torch.no_grad():  # corrections start small, as images are nearly right
            self.head.linear.weight.mul_(0.1)

    def correction(self, encoder: Encoder, images: Tensor) -> Tensor:
        """Return the corrections of images (N, C, S, S), in standard deviations of the channels, float32."""
        found: Tensor = self.head(encoder.maps(images)[-1])
        return found.float()

    def forward(self, encoder: Encoder, images: Tensor) -> Tensor:
        """Return energies (N,)."""
        return self.correction(encoder, images).square().mean(dim=(1, 2, 3))

    def corrupt(self, images: Tensor, uniforms: Tensor) -> Tensor:
        """Return corrupted images (N, C, S, S): a third noisy, a third blurred, a third with a block of mean colour."""
        which, strength, size, top, left = uniforms[:, :_DECISIONS_PER_IMAGE].unbind(1)
        normal = torch.special.ndtri(
            uniforms[:, _DECISIONS_PER_IMAGE:] + 2.0**-25
        )  # uniforms are multiples of 2^-24, among them 0
        noisy = images + _each(self.noise * (0.25 + 0.75 * strength)) * normal.reshape(images.shape)
        sigma = self.blur * (0.25 + 0.75 * strength)
        radius = blur_radius(self.blur, images.shape[-1])
        blurred = gaussian_blur(images, sigma, torch.ones_like(which, dtype=torch.bool), radius)
        mean = images.mean(dim=(2, 3), keepdim=True)
        blocked = torch.where(_block(images.shape[-1], size, top, left), mean, images)
        chosen = torch.where(_each(which < 2 / 3), blurred, blocked)
        return torch.where(_each(which < 1 / 3), noisy.clamp(0, 1), chosen)


def _each(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def _block(side: int, size: Tensor, top: Tensor, left: Tensor) -> Tensor:
    """Return the place of a square in each image, (N, 1, S, S) bool, drawn by numbers (N,) in [0, 1)."""
    edge = side * (_BLOCK_SIDE_SHARES[0] + (_BLOCK_SIDE_SHARES[1] - _BLOCK_SIDE_SHARES[0]) * size)
    place = torch.arange(side, device=size.device)

    def inside(number: Tensor) -> Tensor:
        first = number * (side - edge)
        return (place >= first[:, None]) & (place < (first + edge)[:, None])  # (N, S)

    return inside(top)[:, None, :, None] & inside(left)[:, None, None, :]


class Denoise(PretextTask):
    """Mean squared error of the corrected image, in standard deviations of the channels.

    Args:
        encoder: The encoder to train, which has to offer maps.
        size: Side of the views, in px.
        noise: Largest standard deviation of the noise, greater than 0; 1 is the range from black to white.
        blur: Largest sigma of the blur, in px, greater than 0.
        clean: Share of the views that are not corrupted, in [0, 1).
        view: The kind of view to learn from, with gentle augmentation.
    """

    needs: frozenset[Offer] = frozenset({"maps"})
    forbidden = frozenset({"gaussian_noise", "gaussian_blur"})
    energy_head: ReconstructionError

    def __init__(
        self,
        encoder: Encoder,
        size: int,
        *,
        noise: float = 0.3,
        blur: float = 2.0,
        clean: float = 0.1,
        view: str = "plain",
    ):
        super().__init__()
        if not 0 <= clean < 1:
            raise ValueError(f"clean must lie in [0, 1), got {clean}")
        self.views, self.kind, self.clean = self.views_for({"view": view}), view, clean
        self.encoder = encoder
        self.energy_head = ReconstructionError(encoder, size, noise=noise, blur=blur)
        self.uniforms = 1 + self.energy_head.uniforms

    def forward(self, views: Views) -> Encoded:
        """Return errors (N,) of corrected images, and those of the corrupted images without correction."""
        images, numbers = views[self.kind][:, 0], views[UNIFORMS]
        corrupted = self.energy_head.corrupt(images, numbers[:, 1:])
        corrupted = torch.where(_each(numbers[:, 0] < self.clean), images, corrupted)
        missing = (images - corrupted) / self.encoder.std
        error = self.energy_head.correction(self.encoder, corrupted) - missing
        return {"error": error.square().mean(dim=(1, 2, 3)), "of_input": missing.square().mean(dim=(1, 2, 3))}

    def compare(self, encoded: Encoded, step: Step) -> StepOutput:
        """Return the mean error."""
        error = encoded["error"].float().mean()
        return StepOutput(error, explained(error, encoded["of_input"].float()))

    def predict(self, images: Tensor) -> Tensor:
        """Return corrected images (N, C, S, S)."""
        corrected: Tensor = images + self.energy_head.correction(self.encoder, images) * self.encoder.std
        return corrected

    def draw(self, views: Views, folder: Path) -> None:
        """Draw corrected.png: corrupted images, corrected images, and the originals."""
        images = views[self.kind][:, 0]
        corrupted = self.energy_head.corrupt(images, views[UNIFORMS][:, 1:])
        save_rows(folder / "corrected.png", [corrupted, self.predict(corrupted), images], self.encoder.images)


@hookimpl
def register_pretext_tasks(register: Register) -> None:
    """Add `denoise`."""
    register("denoise", Denoise)
