"""Colorization: predict the colours of an image from its luminance.

For each place of an image, the task predicts a distribution over squares of the ab plane of CIE L*a*b*. 261 squares of
side 10 contain a colour of sRGB. The paper's 313 include colours that no screen can show, which would stay empty.

Shortcuts: a grey image that is computed in another way than by luminance, such as the mean of RGB, differs between
colours of equal luminance, and so reveals colours regardless of the content. Therefore the encoder sees the grey of
equal luminance and nothing else, in training and after export. Chromatic aberration is not visible in a single channel.
The trivial answer is grey, because most places are nearly grey; rare colours weigh more for that reason.

Source: Zhang, Isola and Efros 2016 (1603.08511), section 2, equations 2 to 5.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_pipeline import hookimpl
from ssl_pipeline.augment.srgb import luminance
from ssl_pipeline.parts.lab import gamut_bins, lab_to_rgb, to_lab
from ssl_pipeline.types import Encoded, Encoder, Finding, Kept, PretextTask, Register, Step, StepOutput, Views

GRID = 10  # side of a bin
NEAREST, SIGMA = 5, 5.0  # number of bins that a colour is spread over, and the width of the spread
UNIFORM = 0.5  # lambda: share of a uniform distribution in the one that rare colours are weighted by
TEMPERATURE = 0.38  # 1 gives the mean of the distribution, 0 its mode
GREY = 5.0  # chroma below which a place counts as grey


class Colorization(PretextTask):
    """The colours of one view, predicted from its luminance by a head on the encoder's last maps.

    Args:
        encoder: The encoder to train; it is changed into one that sees only luminance.
        view: The kind of view to learn from, without operations that change colours.
        channels: Number of channels of the head's hidden layer, at least 1.

    Attributes:
        counts: Number of places (Q,) int64 seen in training whose colour falls into each bin.
    """

    forbidden = frozenset({"color_jitter", "grayscale", "solarize"})
    needs = frozenset({"maps", "rgb"})
    bins: Tensor
    spread: Tensor
    counts: Tensor

    def __init__(self, encoder: Encoder, *, view: str = "plain", channels: int = 256):
        super().__init__()
        if channels < 1:
            raise ValueError(f"channels must be at least 1, got {channels}")
        self.views, self.view, self.encoder = self.views_for({"view": view}), view, encoder.in_grayscale()
        bins = gamut_bins(GRID)
        kernel = (torch.cdist(bins, bins).square() / (-2 * SIGMA**2)).exp()
        self.register_buffer("bins", bins, persistent=False)  # (Q, 2)
        self.register_buffer("spread", kernel / kernel.sum(dim=0), persistent=False)  # each bin keeps its mass
        self.register_buffer("counts", torch.zeros(len(bins), dtype=torch.int64))
        self.hidden = nn.Sequential(nn.Conv2d(encoder.backbone.map_channels[-1], channels, 3, padding=1), nn.ReLU())
        self.classify = nn.Conv2d(channels, len(bins), 1)

    def forward(self, views: Views) -> Encoded:
        """Return logits (N, Q, h, w), and the mean ab (N, 2, h, w) of each place, from which targets are made."""
        images = views[self.view][:, 0]  # (N, 3, S, S)
        logits = self._logits(images)
        return {"logits": logits, "ab": F.adaptive_avg_pool2d(to_lab(images)[:, 1:], logits.shape[2])}

    def compare(self, encoded: Encoded, step: Step) -> StepOutput:
        """Return the cross-entropy in nats (equation 2), averaged over places and weighted by the rarity of colours.

        Rare colours are predicted more often than they occur, so `pretext_accuracy` can be less than the share of
        the most frequent colour; `rebalanced_accuracy` weights places as the loss does. `grey_places` is the share of
        places with a chroma below 5.
        """
        logits, wanted = encoded["logits"], self.encode(encoded["ab"])
        nearest = wanted.argmax(dim=1)  # (N, h, w)
        flat = nearest.flatten()
        counted = torch.zeros_like(self.counts).scatter_add_(0, flat, torch.ones_like(flat))
        weights = self.rebalancing(self.counts + counted)[nearest]
        loss = (weights * F.cross_entropy(logits, wanted, reduction="none")).mean()
        right = (logits.argmax(dim=1) == nearest).float()
        grey = (encoded["ab"].norm(dim=1) < GREY).float()
        metrics = {
            "pretext_accuracy": right.mean(),
            "rebalanced_accuracy": (weights * right).sum() / weights.sum(),
            "grey_places": grey.mean(),
        }
        return StepOutput(loss, metrics, {"counted": counted})

    def after_step(self, step: Step, kept: Kept) -> None:
        """Count the colours of the batch."""
        self.counts += kept["counted"]

    def encode(self, ab: Tensor) -> Tensor:
        """Spread each colour (N, 2, h, w) over its nearest bins: (N, Q, h, w), with sum 1 over Q (section 2.1)."""
        a, b = (axis[:, None, None] for axis in self.bins.unbind(1))
        squares = (ab[:, :1] - a).square() + (ab[:, 1:] - b).square()
        furthest = squares.topk(NEAREST, dim=1, largest=False).values[:, -1:]
        return (squares / (-2 * SIGMA**2)).masked_fill(squares > furthest, -torch.inf).softmax(dim=1)

    def rebalancing(self, counts: Tensor) -> Tensor:
        """Return weights (Q,) of colours, from their counts (Q,); their expected value is 1 (equations 3 and 4)."""
        seen = self.spread @ (counts / counts.sum())
        weights = 1 / ((1 - UNIFORM) * seen + UNIFORM / len(self.bins))
        return weights / (seen * weights).sum()

    def diagnose(self, figures: Mapping[str, float]) -> list[Finding]:
        """Report images that have no colours to predict."""
        if figures["grey_places"] < 0.95:  # about 0.25 for photographs
            return []
        return [
            Finding(
                "grey images",
                f"the images are grey: {figures['grey_places']:.0%} of their places have no colour to predict. "
                "Use photographs in colour (ingest.source), or another pretrain.recipe.",
            )
        ]

    def predict(self, images: Tensor) -> Tensor:
        """Return colours (N, 2, h, w) in units of a* and b*: the annealed mean of the distribution (equation 5)."""
        shares = (self._logits(images) / TEMPERATURE).softmax(dim=1)
        a, b = (axis[:, None, None] for axis in self.bins.unbind(1))
        return torch.stack([(shares * a).sum(dim=1), (shares * b).sum(dim=1)], dim=1)

    def draw(self, views: Views, folder: Path) -> None:
        """Draw colours.png: the luminance that was seen, the colours predicted from it, and the originals."""
        from matplotlib.figure import Figure

        images = views[self.view][:, 0].clamp(0, 1)
        seen = luminance(images)
        ab = F.interpolate(self.predict(images), size=images.shape[2:], mode="bilinear")
        predicted = lab_to_rgb(torch.cat([to_lab(images)[:, :1], ab], dim=1))
        figure = Figure(figsize=(1.2 * len(images), 4), layout="constrained")
        rows = {"luminance": seen.expand_as(images), "predicted": predicted, "original": images}
        panels = figure.subplots(len(rows), len(images), squeeze=False)
        for (title, pictures), line in zip(rows.items(), panels, strict=True):
            line[0].set_ylabel(title)
            for panel, picture in zip(line, pictures, strict=True):
                panel.imshow(picture.permute(1, 2, 0).numpy(force=True))
                panel.set(xticks=[], yticks=[])
        figure.savefig(folder / "colours.png", dpi=110, metadata={"Software": None})

    def _logits(self, images: Tensor) -> Tensor:
        """Return logits (N, Q, h, w), where h and w are S / 4, or the side of the last maps if that is larger."""
        hidden = self.hidden(self.encoder.maps(images)[-1])
        side = images.shape[2] // 4
        if hidden.shape[2] < side:
            hidden = F.interpolate(hidden, size=(side, side), mode="bilinear")
        logits: Tensor = self.classify(hidden)
        return logits


@hookimpl
def register_pretext_tasks(register: Register) -> None:
    """Add `colorization`."""
    register("colorization", Colorization)
