"""A picture of a run's curves: learning, signs of collapse, held-out images, and energies."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ssl_pipeline.config import CollapseBounds
from ssl_pipeline.health.findings import USUAL_UPDATE_RATIOS
from ssl_pipeline.palette import GREEN, PALETTE
from ssl_pipeline.terminal import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_curves"]

Row = Mapping[str, float]

_COLUMNS = 3
_WIDTH, _HEIGHT = 3.4, 1.8
"""Size of a panel, in inches."""
_TOP, _LEFT, _UNDER, _RIGHT = 0.55, 0.8, 0.75, 0.15
"""Margins in inches: above a group's panels, left of each panel, below each panel, and right of all panels."""
_NOTE = 0.2
"""Height of a note at the bottom, in inches."""
_HEALTHY = GREEN
_COLLAPSE = ("embedding_std", "effective_rank", "view_recall", "alignment", "uniformity")
_HELD_OUT = ("held_out_recall", "held_out_effective_rank", "neighbour_drift")
_ENERGY = "energy_"
_SIZE = "view_size"
_LABELS = {
    "loss": "loss",
    "gradient_norm": "norm of the gradient",
    "learning_rate": "learning rate",
    "update_ratio": "norm of step / of weights",
    "embedding_std": "0: all alike, 1: even",
    "effective_rank": "dimensions in use",
    "view_recall": "share of views found",
    "alignment": "squared distance",
    "uniformity": "0: all alike, low: even",
    "held_out_recall": "share of views found",
    "held_out_effective_rank": "dimensions in use",
    "neighbour_drift": "share of neighbours lost",
    "projection_std": "0: all alike, 1: even",
    "projection_rank": "dimensions in use",
    "energy_compatible": "two views of one image",
    "energy_incompatible": "views of two images",
    "energy_gap": "gap between the two",
    "pretext_accuracy": "share of right answers",
    "positive_probability": "probability",
    "negatives": "negatives per anchor",
    "negatives_seen": "negatives attended to",
}
"""Figure -> label of its axis; any other figure is labelled with its name."""


class _Panel(NamedTuple):
    """Figures that share an axis."""

    title: str
    label: str
    names: Sequence[str]


def draw_curves(rows: Sequence[Row], path: Path, bounds: CollapseBounds) -> None:
    """Draw the curves over the steps in groups, with the healthy range of figures that have one.

    A figure with the same value in all rows has no panel; its value is printed at the bottom. `view_size` has none
    either: a dotted line in every panel marks each change of the size of views.

    Args:
        rows: The rows of the curves, at least one.
        path: Path of the PNG file to write.
        bounds: Bounds below which embeddings have collapsed.
    """
    # imported here, as it takes half a second, which training and its other processes need not wait for
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    last = {name: value for row in rows for name, value in row.items()}  # not every row has every figure
    names = [name for name in last if name not in ("step", _SIZE)]
    told = {name: [repr(row[name]) for row in rows if name in row] for name in names}
    constant = [name for name in names if len(told[name]) > 1 and len(set(told[name])) == 1]
    groups = [group for group in _groups([name for name in names if name not in constant]) if group[1]]
    lines = [-(-len(panels) // _COLUMNS) for _, panels in groups]
    learned = [row for row in rows if row["step"]]  # without the row of the start, which has no size
    changes = [before for before, row in pairwise(learned) if before.get(_SIZE) != row.get(_SIZE)]
    notes = []
    if constant:
        notes.append("Constant: " + ", ".join(_value(name, last[name]) for name in constant))
    if changes:
        sides = ", ".join(f"{row[_SIZE]:.0f}" for row in [*changes, rows[-1]])
        notes.append(f"Dotted lines: the size of views changes ({shown(sides, 60)} px)")
    heights = [_TOP + line * (_HEIGHT + _UNDER) for line in lines]
    heights[-1] += _NOTE * len(notes)
    figure = Figure(figsize=(_COLUMNS * (_LEFT + _WIDTH) + _RIGHT, sum(heights)), dpi=110)
    if notes:
        figure.supxlabel("\n".join(notes), y=0.05 / sum(heights))
    parts = figure.subfigures(len(groups), 1, squeeze=False, height_ratios=heights)
    healthy = {
        "embedding_std": (bounds.min_embedding_std, 1.0),
        "effective_rank": (bounds.min_effective_rank, np.inf),
        "update_ratio": USUAL_UPDATE_RATIOS,
    }
    for part, line, height, (title, panels) in zip(parts[:, 0], lines, heights, groups, strict=True):
        part.suptitle(title, x=0.01, y=1 - 0.05 / height, ha="left", weight="bold")
        places = part.subplots(line, _COLUMNS, squeeze=False).flat
        # fixed margins: a layout that measures all labels would take longer than the rest of the picture
        part.subplots_adjust(
            left=_LEFT / figure.get_figwidth(),
            right=1 - _RIGHT / figure.get_figwidth(),
            top=1 - _TOP / height,
            bottom=1 - (_TOP + line * (_HEIGHT + _UNDER) - _UNDER) / height,
            wspace=_LEFT / _WIDTH,
            hspace=_UNDER / _HEIGHT,
        )
        for place, panel in zip(places, panels, strict=False):
            _draw(place, panel, rows, healthy.get(panel.names[0]))
            for row in changes:
                place.axvline(row["step"], color="0.4", linestyle=":", linewidth=1)
        for place in list(part.axes)[len(panels) :]:
            place.set_axis_off()
    FigureCanvasAgg(figure).print_png(path)  # type: ignore[no-untyped-call]  # `savefig` would draw it twice


def _groups(names: Sequence[str]) -> Iterator[tuple[str, list[_Panel]]]:
    """Yield the title of each group and its panels."""
    energies = [name for name in names if name.startswith(_ENERGY)]
    spread = [name for name in _COLLAPSE if name in names]
    spread += [name for name in names if name.startswith("projection_")]
    held_out = [name for name in _HELD_OUT if name in names]
    learning = [name for name in names if name not in (*energies, *spread, *held_out)]
    yield "Learning", [_alone(name) for name in learning]
    yield "Collapse: are embeddings of different images still different?", [_alone(name) for name in spread]
    yield "Held-out images: is the encoder still as good as its initial weights?", [_alone(name) for name in held_out]
    yield (
        "Energy: is it lower for compatible pairs than for others?",
        [_Panel("energies", "energy", energies)] if energies else [],
    )


def _alone(name: str) -> _Panel:
    return _Panel(name.replace("_", " "), _LABELS.get(name, name.replace("_", " ")), [name])


def _value(name: str, value: float) -> str:
    return shown(f"{name.replace('_', ' ')} {value:.4g}", 60)


def _draw(place: "Axes", panel: _Panel, rows: Sequence[Row], healthy: tuple[float, float] | None) -> None:
    for colour, name in zip(PALETTE, panel.names, strict=False):
        told = [(row["step"], row[name]) for row in rows if name in row]
        label = _LABELS.get(name, name.removeprefix(_ENERGY).replace("_", " "))
        place.plot(*zip(*told, strict=True), color=colour, marker="." if len(told) == 1 else "", label=label)
    if len(rows) > 1 and not rows[0]["step"] and panel.names[0] in rows[0]:
        place.axhline(rows[0][panel.names[0]], color="0.4", linestyle="--", linewidth=1, label="at the start")
    if panel.names == ["update_ratio"] and any(row.get("update_ratio", 0.0) > 0 for row in rows):
        place.set_yscale("log")
    if healthy:
        low, high = place.get_ylim()  # keep the whole curve visible, even far outside the healthy range
        low, high = min(low, healthy[0]), max(high, healthy[1] if np.isfinite(healthy[1]) else healthy[0])
        said = "usual, before the end" if panel.names == ["update_ratio"] else "healthy"
        place.axhspan(healthy[0], min(healthy[1], high), color=_HEALTHY, alpha=0.12, lw=0, label=said)
        place.set_ylim(low, high)
    handles, labels = place.get_legend_handles_labels()
    first = len(panel.names) == 1  # the label of the axis names the curve
    if first and labels[1:]:
        place.legend(handles[1:], labels[1:], edgecolor="none", fontsize="small")
    elif not first:  # to the right of the panel, where the row has room
        place.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), frameon=False)
    place.set_title(shown(panel.title, 40), fontsize=10, y=1.0)  # a fixed y saves matplotlib's slow search
    place.set(xlabel="step", ylabel=shown(panel.label, 30))
    place.grid(alpha=0.3)
    place.spines[["top", "right"]].set_visible(False)
