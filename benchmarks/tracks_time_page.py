"""Tables of what `benchmarks.tracks_time` found: `python -m benchmarks.tracks_time_page LINES` prints Markdown.

Accuracies are means over classes, draws and seeds. Intervals (95%), also those of differences, are bootstrapped over
seeds and over the test tracks of each class: the frames of a track are no independent evidence. A difference is taken
track by track between runs of the same seed.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from benchmarks.cells import Line, crossed, read

__all__ = ["MEASURES", "table"]

MEASURES = ("kNN", "kNN, tracks", "1 track", "5 tracks")
BASELINES = ("random", "simclr")


def table(lines: Iterable[Line]) -> list[str]:
    """Return the rows of a table in Markdown: accuracies of each arm, and its gains over the baselines."""
    lines = list(lines)
    classes = np.array(lines[0]["classes"])
    tracks = np.arange(len(classes))
    right: dict[str, dict[int, Mapping[str, Any]]] = defaultdict(dict)
    for line in lines:
        right[line["arm"]][line["seed"]] = line["right"]

    def values(arm: str, seeds: Iterable[int], measure: str) -> npt.NDArray[np.float64]:
        return np.array([right[arm][seed][measure] for seed in seeds])

    rows = ["| recipe | seeds | " + " | ".join(MEASURES) + " |", "|---|---:|" + "---|" * len(MEASURES)]
    for arm, runs in right.items():
        seeds = sorted(runs)
        found = [crossed(values(arm, seeds, measure), tracks, classes) for measure in MEASURES]
        rows.append(_row(f"`{arm}`", len(seeds), "{:.1%} ({:.1%} to {:.1%})", found))
    for arm, base in [(arm, base) for base in BASELINES for arm in right if base in right and arm not in BASELINES]:
        seeds = sorted(right[arm].keys() & right[base].keys())
        if seeds:
            gains = [values(arm, seeds, measure) - values(base, seeds, measure) for measure in MEASURES]
            found = [crossed(gain, tracks, classes) for gain in gains]
            rows.append(_row(f"`{arm}` over `{base}`", len(seeds), "{:+.1%} ({:+.1%} to {:+.1%})", found))
    return rows


def _row(name: str, seeds: int, form: str, found: Iterable[tuple[float, float, float]]) -> str:
    return f"| {name} | {seeds} | " + " | ".join(form.format(*figures) for figures in found) + " |"


@click.command()
@click.argument("lines", type=click.Path(exists=True, path_type=Path))
def main(lines: Path) -> None:
    """Print a table for each setting (epochs, batch, fps) of LINES."""
    settings: dict[tuple[Any, ...], list[Line]] = defaultdict(list)
    for line in read(lines):
        settings[line["epochs"], line["batch"], line["fps"]].append(line)
    for (epochs, batch, fps), own in sorted(settings.items()):
        devices = ", ".join(sorted({line["device"] for line in own}))
        click.echo(f"\n{epochs} epochs, batches of {batch}, {fps:g} frames per second; on {devices}\n")
        click.echo("\n".join(table(own)))


if __name__ == "__main__":
    main()
