"""Pictures of what a task with a visual vocabulary predicts: its distribution at a place, and the likeliest entries."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssl_pipeline.augment.display import chosen_bands
from ssl_pipeline.palette import BLUE, VERMILION
from ssl_pipeline.parts.holes import join
from ssl_pipeline.parts.vocabulary import Vocabulary
from ssl_pipeline.types import Encoder

__all__ = ["draw_words"]

_BEST = 5  # entries


def draw_words(
    path: Path,
    pictures: Sequence[tuple[str, Tensor]],
    places: Tensor,
    features: Tensor,
    chances: Tensor,
    vocabulary: Vocabulary,
    encoder: Encoder,
    side: int,
) -> None:
    """Draw one row per image: pictures, the patch that was there, the distribution over entries and the likeliest ones.

    Args:
        path: Path of the PNG to write.
        pictures: Pairs of a title and images (n, C, S, S) in [0, 1], in which the place is framed.
        places: Numbers (n,) of the patches that are shown, row by row from the top left.
        features: Normalised pixels (n, L, F) of the patches.
        chances: Probabilities (n, L, K) of the entries at each patch.
        vocabulary: The vocabulary of such patches.
        encoder: The encoder, which knows how images are normalised.
        side: Side of a patch, in px.
    """
    from matplotlib.figure import Figure

    channels, rows = encoder.images.channels, torch.arange(len(places), device=places.device)

    def pixels(patches: Tensor) -> Tensor:
        return chosen_bands(join(patches[:, None], side, channels) * encoder.std + encoder.mean, encoder.images, 1)

    true, entries, count = pixels(features[rows, places]), pixels(vocabulary.entries), len(pictures)
    figure = Figure(figsize=(1.3 * (count + 2 + _BEST) + 2, 1.4 * len(places)), layout="constrained")
    widths = [1] * (count + 1) + [2.5] + [1] * _BEST
    panels = figure.subplots(len(places), count + 2 + _BEST, squeeze=False, width_ratios=widths)
    for row, place in enumerate(places.tolist()):
        chance = chances[row, place]
        best = chance.argsort(descending=True)[:_BEST].tolist()
        for panel, (title, images) in zip(panels[row], pictures, strict=False):
            _show(panel, chosen_bands(images[row : row + 1], encoder.images, 1)[0], title)
            top, left = (side * number for number in divmod(place, images.shape[-1] // side))
            panel.add_patch(_frame(left, top, side))
        _show(panels[row, count], true[row], "was there")
        bars = panels[row, count + 1]
        bars.bar(range(len(chance)), chance.sort(descending=True).values.tolist(), width=1.0, color=BLUE)
        bars.set_title("entries, likeliest first", fontsize=7)
        bars.tick_params(labelsize=6)
        for column, word in enumerate(best):
            _show(panels[row, count + 2 + column], entries[word], f"{chance[word].item():.0%}")
    figure.savefig(path, dpi=110)


def _show(panel: Any, image: Tensor, title: str) -> None:
    """Show an image (3, H, W) in [0, 1] without axes."""
    panel.imshow(image.clamp(0, 1).permute(1, 2, 0).cpu().numpy(), interpolation="nearest")
    panel.set_title(title, fontsize=7)
    panel.set_axis_off()


def _frame(left: int, top: int, side: int) -> Any:
    """Return the outline of a patch."""
    from matplotlib.patches import Rectangle

    return Rectangle((left - 0.5, top - 0.5), side, side, fill=False, color=VERMILION)
