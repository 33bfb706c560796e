"""Tables of the results of `benchmarks.starts`: `python -m benchmarks.starts_page LINES...` prints Markdown.

Accuracies are means over seeds and draws of labels; gains are paired by seed, draw and test image. Their 95% intervals
account for the randomness of all three, and treat frames of a track as one piece of evidence
(`ssl_pipeline/evaluation/statistics/estimates.py`).
"""

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from benchmarks.cells import Line, read
from ssl_pipeline.evaluation.statistics.estimates import accuracy, gain

__all__ = ["OTHERS", "WORDS", "accuracies", "costs", "gains", "tables"]

MEASURES = {"knn": "kNN", "1": "1 label", "5": "5 labels", "20": "20 labels", "all": "all labels"}
WORDS = {
    "start": "the start, frozen",
    "continued": "continued",
    "distilled": "distilled",
    "finetuned": "the start, fine-tuned with labels",
    "scratch": "from scratch",
    "supervised": "from scratch, with labels",
}
OTHERS = {
    "continued_slow": "continued, a third of the rate",
    "continued_fast": "continued, three times the rate",
    "continued_settled": "continued, batch norms settled",
    "start_stages": "the start's fifth stage, frozen",
    "distilled_linear": "distilled by a linear head",
    "distilled_blank": "distilled into random weights",
}
"""Names of the arms with one seed."""
Scores = npt.NDArray[np.float64]


def scores(lines: Iterable[Line], measure: str) -> Scores | None:
    """Return 1 for correct answers of an arm on a set, and 0 for others: (seeds, draws, images).

    None if the arm is not judged by this measure.
    """
    rows = [line["right"][measure] for line in sorted(lines, key=lambda line: line["seed"]) if measure in line["right"]]
    return np.array([[list(map(int, draw)) for draw in draws] for draws in rows], np.float64) if rows else None


def _by_arm(lines: Iterable[Line], data: str) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        if line.get("data") == data:
            found[line["arm"]].append(line)
    return dict(found)


def accuracies(lines: Iterable[Line], data: str) -> list[str]:
    """Return the rows of a table of the accuracies of all arms on a set, by measure."""
    arms = _by_arm(lines, data)
    rows = [f"| {data} | {' | '.join(MEASURES.values())} |", "|---|" + "---|" * len(MEASURES)]
    for arm in (arm for arm in WORDS if arm in arms):
        groups, cells = np.array(arms[arm][0]["groups"]), []
        for measure in MEASURES:
            found = scores(arms[arm], measure)
            cells.append("" if found is None else "{:.1%} ({:.1%} to {:.1%})".format(*accuracy(found, groups)))
        rows.append(f"| {WORDS[arm]} | {' | '.join(cells)} |")
    return rows


def gains(lines: Iterable[Line], words: Mapping[str, str], base: str = "start") -> list[str]:
    """Return the rows of a table of the gains of arms over another arm on each set, in percentage points.

    Args:
        lines: Lines of all arms and sets.
        words: Arm -> its name in the table.
        base: Arm to compare with.
    """
    lines = list(lines)
    rows = [f"| over {WORDS[base]} | set | {' | '.join(MEASURES.values())} |", "|---|---|" + "---|" * len(MEASURES)]
    sets = sorted({line["data"] for line in lines if "data" in line})
    for arm, data in itertools.product(words, sets):
        arms = _by_arm(lines, data)
        if arm != base and arm in arms and base in arms:
            cells = [_gain(arms[arm], arms[base], measure) for measure in MEASURES]
            rows.append(f"| {words[arm]} | {data} | {' | '.join(cells)} |")
    return rows


def _gain(own: list[Line], base: list[Line], measure: str) -> str:
    first, second = scores(own, measure), scores(base, measure)
    if first is None or second is None:
        return ""
    if first.shape[1] < second.shape[1]:  # arms that learn from labels have one draw per seed
        second = second[0, sorted(line["seed"] for line in own)][:, None]
    found = gain(first - second, np.array(own[0]["groups"]), luck=False)
    bounds = (found.mean, found.mean - found.margin, found.mean + found.margin)
    return "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * bound for bound in bounds))


def costs(lines: Iterable[Line]) -> list[str]:
    """Return the rows of a table of the cost of each network in use, and of its training time."""
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


def tables(lines: Iterable[Line]) -> dict[str, str]:
    """Return all tables in Markdown, by the name of their mark."""
    lines = list(lines)
    sets = sorted({line["data"] for line in lines if "data" in line})
    found = {data: accuracies(lines, data) for data in sets}
    found |= {"gains": gains(lines, WORDS), "others": gains(lines, OTHERS), "costs": costs(lines)}
    return {name: "\n".join(rows) for name, rows in found.items()}


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--page", type=click.Path(exists=True, path_type=Path), help="Page whose tables are replaced.")
def main(paths: tuple[Path, ...], page: Path | None) -> None:
    """Print the tables of the lines in PATHS, or put them between the marks `<!-- name -->` and `<!-- end -->`."""
    lines: list[dict[str, Any]] = [line for path in paths for line in read(path)]
    if page is None:
        click.echo("\n\n".join(tables(lines).values()))
        return
    text = page.read_text(encoding="utf-8")
    for name, table in tables(lines).items():
        block = f"<!-- {name} -->\n{table}\n<!-- end -->"
        text, found = re.subn(rf"(?s)<!-- {name} -->\n.*?<!-- end -->", lambda _, block=block: block, text)
        if not found:
            raise SystemExit(f"{page} has no place for a table: add the marks <!-- {name} --> and <!-- end -->")
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
