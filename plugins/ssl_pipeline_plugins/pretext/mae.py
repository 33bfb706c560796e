"""Masked autoencoder: the encoder sees only some of the patches, and a small decoder reconstructs the others.

Shortcuts: those of `masked`; three quarters of the patches are hidden. In addition, the target of each hidden patch is
standardised by the patch's own mean and standard deviation, so that continuing the brightness around it earns nothing.

Source: He et al. 2021 (2111.06377), section 3 and appendix A.1.
"""

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from ssl_pipeline import hookimpl
from ssl_pipeline.parts.holes import explained, hide, join, patches, save_rows
from ssl_pipeline.types import UNIFORMS, Encoded, Encoder, Offer, PretextTask, Register, Step, StepOutput, Views


class MAE(PretextTask):
    """Mean squared error of the pixels of hidden patches, normalised patch by patch.

    Args:
        encoder: The encoder to train: a vision transformer that can be shown some of the patches only.
        size: Side of the views, in px.
        width: Width of the decoder's tokens, a multiple of `heads` and of 4.
        depth: Number of blocks of the decoder.
        heads: Number of attention heads of the decoder.
        ratio: Share of the patches that are hidden, in (0, 1).
        view: The kind of view to learn from, with gentle augmentation.
    """

    needs: frozenset[Offer] = frozenset({"patches"})
    places: Tensor
    always_shown: Tensor
    always_hidden: Tensor

    def __init__(
        self,
        encoder: Encoder,
        size: int,
        *,
        width: int,
        depth: int,
        heads: int,
        ratio: float = 0.75,
        view: str = "plain",
    ):
        super().__init__()
        from timm.models.vision_transformer import Block  # 2 s: only when asked for

        if width % heads or width % 4:
            raise ValueError(f"width must be a multiple of heads and of 4, got {width} and {heads}")
        if not 0 < ratio < 1:
            raise ValueError(f"ratio must lie between 0 and 1, got {ratio}")
        self.views, self.kind, self.ratio = self.views_for({"view": view}), view, ratio
        self.encoder, self.side = encoder, encoder.backbone.patch_size
        grid = size // self.side
        self.uniforms = grid**2
        self.embed = nn.Linear(encoder.backbone.embedding_dim, width)
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.register_buffer("places", sinusoids(grid, width), persistent=False)
        self.decoder = nn.Sequential(*(Block(width, heads, qkv_bias=True) for _ in range(depth)), nn.LayerNorm(width))
        self.head = nn.Linear(width, encoder.images.channels * self.side**2)
        numbers = torch.rand(1, grid**2, generator=torch.Generator().manual_seed(0))
        for name, fixed in zip(("always_shown", "always_hidden"), hide(numbers, ratio), strict=True):
            self.register_buffer(name, fixed, persistent=False)

    def forward(self, views: Views) -> Encoded:
        """Return errors (N,) over hidden patches, and those of predicting their means: 1, unless patches are flat."""
        images = views[self.kind][:, 0]
        shown, hidden = hide(views[UNIFORMS], self.ratio)
        target, _, _ = _normalised(_at(patches(images, self.side), hidden))
        guess = _at(self._guess(images, shown), hidden)
        return {"error": (guess - target).square().mean(dim=(1, 2)), "of_mean": target.square().mean(dim=(1, 2))}

    def _guess(self, images: Tensor, shown: Tensor) -> Tensor:
        """Return normalised pixels (N, L, C side^2), float32, of all patches, from those at `shown` (N, k)."""
        seen = self.embed(self.encoder.visible(images, shown))
        tokens = self.token.to(seen.dtype).repeat(images.shape[0], self.uniforms, 1)
        tokens = tokens.scatter(1, shown[..., None].expand(-1, -1, seen.shape[2]), seen)
        decoded: Tensor = self.head(self.decoder(tokens + self.places))
        return decoded.float()

    def compare(self, encoded: Encoded, step: Step) -> StepOutput:
        """Return the mean error."""
        error = encoded["error"].float().mean()
        return StepOutput(error, explained(error, encoded["of_mean"].float()))

    def predict(self, images: Tensor) -> Tensor:
        """Return images (N, C, S, S) whose hidden patches, the same ones in each image, are filled in.

        Training does not predict the mean and contrast of a hidden patch; here they are taken from the patch itself.
        """
        shown, hidden = (fixed.expand(images.shape[0], -1) for fixed in (self.always_shown, self.always_hidden))
        _, mean, std = _normalised(_at(patches(images, self.side), hidden))
        return self._filled(images, _at(self._guess(images, shown), hidden) * std + mean)

    def _filled(self, images: Tensor, filling: Tensor) -> Tensor:
        """Return images with `filling` (N, h, C side^2) as the pixels of the patches that are always hidden."""
        cut, hidden = patches(images, self.side), self.always_hidden[..., None]
        return join(cut.scatter(1, hidden.expand(cut.shape[0], -1, cut.shape[2]), filling), self.side, images.shape[1])

    def draw(self, views: Views, folder: Path) -> None:
        """Draw holes.png: images with holes, the same images filled in, and the originals."""
        images = views[self.kind][:, 0]
        grey = torch.full((images.shape[0], self.always_hidden.shape[1], images.shape[1] * self.side**2), 0.5)
        save_rows(folder / "holes.png", [self._filled(images, grey), self.predict(images), images], self.encoder.images)


def _at(tokens: Tensor, numbers: Tensor) -> Tensor:
    """Return the tokens among (N, L, D) at numbers (N, k): (N, k, D)."""
    return tokens.gather(1, numbers[..., None].expand(-1, -1, tokens.shape[2]))


def _normalised(cut: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return patches (N, k, P), each standardised by its mean and standard deviation, and both of these."""
    variance, mean = torch.var_mean(cut, dim=2, keepdim=True)
    std = (variance + 1e-6).sqrt()
    return (cut - mean) / std, mean, std


def sinusoids(grid: int, width: int) -> Tensor:
    """Return codes of positions (1, grid^2, width): sines and cosines of row and column (1706.03762, section 3.5)."""
    frequencies = torch.exp(torch.arange(width // 4) * (-math.log(10_000) / (width // 4)))
    angles = torch.arange(grid)[:, None] * frequencies  # (grid, width / 4)
    one = torch.cat([angles.sin(), angles.cos()], dim=1)  # (grid, width / 2)
    rows, columns = one[:, None].expand(-1, grid, -1), one[None].expand(grid, -1, -1)
    return torch.cat([rows, columns], dim=2).reshape(1, grid**2, width)


@hookimpl
def register_pretext_tasks(register: Register) -> None:
    """Add `mae`."""
    register("mae", MAE)
