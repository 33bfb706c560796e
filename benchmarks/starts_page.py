"""Tables of what `benchmarks.starts` found: `python -m benchmarks.starts_page LINES` prints Markdown.

Accuracies are means over seeds and draws of labels, gains are paired: of the same seeds, draws and test images. Their
95% intervals hold the chance in all three, and frames of a track count as one piece of evidence
(`ssl_pipeline/evaluation/statistics/estimates.py`).
"""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from benchmarks.cells import Line, read
from ssl_pipeline.evaluation.statistics.estimates import accuracy, gain

__all__ = ["accuracies", "costs", "gains"]

MEASURES = {"knn": "kNN", "1": "1 label", "5": "5 labels", "20": "20 labels", "all": "all labels"}
WORDS = {
    "start": "the start, frozen",
    "continued": "continued",
    "distilled": "distilled",
    "scratch": "from scratch",
    "supervised": "from scratch, with labels",
    "finetuned": "the start, fine-tuned with labels",
}
Scores = npt.NDArray[np.float64]


def scores(lines: Iterable[Line], measure: str) -> Scores | None:
    """Return what an arm got right on a set: (seeds, draws, images), 1 or 0; None where it is not judged by that."""
    rows = [line["right"][measure] for line in sorted(lines, key=lambda line: line["seed"]) if measure in line["right"]]
    return np.array([[[int(one) for one in draw] for draw in draws] for draws in rows], np.float64) if rows else None


def _by_arm(lines: Iterable[Line], data: str) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        if line.get("data") == data:
            found[line["arm"]].append(line)
    return dict(found)


def accuracies(lines: Iterable[Line], data: str) -> list[str]:
    """Return the rows of a table of a set: each arm's accuracy by each measure, in per cent."""
    rows = [f"| {data} | seeds | {' | '.join(MEASURES.values())} |", "|---|---:|" + "---|" * len(MEASURES)]
    for arm, own in _by_arm(lines, data).items():
        groups, cells = np.array(own[0]["groups"]), []
        for measure in MEASURES:
            found = scores(own, measure)
            cells.append("" if found is None else "{:.1%} ({:.1%} to {:.1%})".format(*accuracy(found, groups)))
        rows.append(f"| {WORDS.get(arm, f'`{arm}`')} | {len(own)} | {' | '.join(cells)} |".replace("%", ""))
    return rows


def gains(lines: Iterable[Line], data: str, base: str = "start") -> list[str]:
    """Return the rows of a table of a set: by how many points each arm is better than the base."""
    arms = _by_arm(lines, data)
    rows = [f"| {data}, over {WORDS[base]} | {' | '.join(MEASURES.values())} |", "|---|" + "---|" * len(MEASURES)]
    for arm, own in arms.items():
        if arm == base or base not in arms:
            continue
        groups, cells = np.array(own[0]["groups"]), []
        for measure in MEASURES:
            first, second = scores(own, measure), scores(arms[base], measure)
            if first is None or second is None:
                cells.append("")
                continue
            if first.shape[1] < second.shape[1]:  # each seed of what learns from labels has a draw of its own
                second = second[0, [line["seed"] for line in own]][:, None]
            found = gain(first - second, groups, luck=False)
            low, high = found.mean - found.margin, found.mean + found.margin
            cells.append(f"{100 * found.mean:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})")
        rows.append(f"| {WORDS.get(arm, f'`{arm}`')} | {' | '.join(cells)} |")
    return rows


def costs(lines: Iterable[Line]) -> list[str]:
    """Return the rows of a table: what each network costs, and how long learning it took."""
    lines = list(lines)
    rows = ["| network | weights, millions | MB | ms per image | minutes to learn |", "|---|---:|---:|---:|---:|"]
    for line in lines:
        if "network" in line:
            arms = ("start", "continued") if line["network"] == "start" else (line["network"],)
            for arm in arms:
                taken = [cell["seconds"] / 60 for cell in lines if cell.get("arm") == arm]
                minutes = "0" if arm == "start" else f"{min(taken):.1f} to {max(taken):.1f}" if taken else ""
                figures = f"{line['weights'] / 1e6:.2f} | {line['megabytes']:.1f} | {line['milliseconds']:.1f}"
                rows.append(f"| {WORDS[arm]} (`{line['backbone']}`) | {figures} | {minutes} |")
    return rows


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
def main(paths: tuple[Path, ...]) -> None:
    """Print the tables of the lines in PATHS."""
    lines: list[dict[str, Any]] = [line for path in paths for line in read(path)]
    for data in dict.fromkeys(line["data"] for line in lines if "data" in line):
        click.echo("\n".join(["", *accuracies(lines, data), "", *gains(lines, data)]))
    click.echo("\n".join(["", *costs(lines)]))
    click.echo("\non " + ", ".join(sorted({line["device"] for line in lines if "device" in line})))


if __name__ == "__main__":
    main()
