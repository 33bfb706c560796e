"""Tables of the results of `benchmarks.tracks_time`: `python -m benchmarks.tracks_time_page LINES` prints Markdown.

Accuracies are means over classes, draws and seeds. 95% intervals, including those of differences, are bootstrapped over
seeds and over the test tracks of each class, because the frames of a track are not independent. Differences are paired
by track, between runs of the same seed.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import numpy.typing as npt

from benchmarks.cells import Line, crossed, read

__all__ = ["MEASURES", "summary", "table"]

MEASURES = ("kNN", "kNN, tracks", "1 track", "5 tracks")
BASELINES = ("random", "simclr")
Interval = tuple[float, float, float]


class Found(NamedTuple):
    """Results of several runs.

    Attributes:
        right: Arm -> seed -> measure -> share of correct answers for each track (t,).
        classes: Class of each track (t,).
    """

    right: Mapping[str, Mapping[int, Mapping[str, Any]]]
    classes: npt.NDArray[Any]

    @classmethod
    def of(cls, lines: Iterable[Line]) -> "Found":
        """Collect the results of lines with the same settings."""
        right: dict[str, dict[int, Mapping[str, Any]]] = defaultdict(dict)
        for line in lines:
            right[line["arm"]][line["seed"]] = line["right"]
        return cls(right, np.array(line["classes"]))

    def values(self, arm: str, seeds: Iterable[int], measure: str) -> npt.NDArray[np.float64]:
        """Return the shares of correct answers (s, t) for seeds and tracks."""
        return np.array([self.right[arm][seed][measure] for seed in seeds])

    def mean(self, values: npt.NDArray[np.float64]) -> Interval:
        """Return the mean of values (s, t) with the bounds of its 95% interval."""
        return crossed(values, np.arange(len(self.classes)), self.classes)


def table(lines: Iterable[Line]) -> list[str]:
    """Return the rows of a table in Markdown: the accuracies of each arm, and its gains over the baselines."""
    found = Found.of(lines)
    rows = ["| recipe | seeds | " + " | ".join(MEASURES) + " |", "|---|---:|" + "---|" * len(MEASURES)]
    for arm, runs in found.right.items():
        means = [found.mean(found.values(arm, runs, measure)) for measure in MEASURES]
        rows.append(_row(f"`{arm}`", len(runs), "{:.1%} ({:.1%} to {:.1%})", means))
    for (arm, base, seeds), means in gains(found).items():
        rows.append(_row(f"`{arm}` over `{base}`", seeds, "{:+.1%} ({:+.1%} to {:+.1%})", means))
    return rows


def gains(found: Found) -> dict[tuple[str, str, int], list[Interval]]:
    """Return the mean gain of arms over baselines for each measure, by arm, baseline and number of seeds."""
    made = {}
    for base in BASELINES:
        for arm in [arm for arm in found.right if arm not in BASELINES and base in found.right]:
            seeds = sorted(found.right[arm].keys() & found.right[base].keys())
            if seeds:
                pairs = [[found.values(each, seeds, measure) for each in (arm, base)] for measure in MEASURES]
                made[arm, base, len(seeds)] = [found.mean(ours - theirs) for ours, theirs in pairs]
    return made


def summary(lines: Iterable[Line]) -> list[Line]:
    """Return a line for each gain over a baseline and each measure, in shares of all answers."""
    return [
        {"arm": arm, "over": base, "seeds": seeds, "measure": measure, "difference": mean[0], "interval": mean[1:]}
        for (arm, base, seeds), means in gains(Found.of(lines)).items()
        for measure, mean in zip(MEASURES, means, strict=True)
    ]


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
