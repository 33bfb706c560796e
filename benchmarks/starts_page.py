"""Tables of what `benchmarks.starts` found: `python -m benchmarks.starts_page LINES...` prints Markdown.

Accuracies are means over seeds and draws of labels, gains are paired: of the same seeds, draws and test images. Their
95% intervals hold the chance in all three, and frames of a track count as one piece of evidence
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
"""Arms of one seed."""
Scores = npt.NDArray[np.float64]


def scores(lines: Iterable[Line], measure: str) -> Scores | None:
    """Return what an arm got right on a set: (seeds, draws, images), 1 or 0; None where it is not judged by that."""
    rows = [line["right"][measure] for line in sorted(lines, key=lambda line: line["seed"]) if measure in line["right"]]
    return np.array([[list(map(int, draw)) for draw in draws] for draws in rows], np.float64) if rows else None


def _by_arm(lines: Iterable[Line], data: str) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        if line.get("data") == data:
            found[line["arm"]].append(line)
    return dict(found)


def accuracies(lines: Iterable[Line], data: str) -> list[str]:
    """Return the rows of a table of a set: the accuracy of each arm by each measure."""
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
    """Return the rows of a table: by how many points each arm that has words is better than the base, on each set."""
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
    if first.shape[1] < second.shape[1]:  # each seed of what learns from labels has a draw of its own
        second = second[0, sorted(line["seed"] for line in own)][:, None]
    found = gain(first - second, np.array(own[0]["groups"]), luck=False)
    bounds = (found.mean, found.mean - found.margin, found.mean + found.margin)
    return "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * bound for bound in bounds))


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


def tables(lines: Iterable[Line]) -> dict[str, str]:
    """Return all tables: the name of a mark -> Markdown."""
    lines = list(lines)
    sets = sorted({line["data"] for line in lines if "data" in line})
    found = {data: accuracies(lines, data) for data in sets}
    found |= {"gains": gains(lines, WORDS), "others": gains(lines, OTHERS), "costs": costs(lines)}
    return {name: "\n".join(rows) for name, rows in found.items()}


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--page", type=click.Path(exists=True, path_type=Path), help="A page whose tables are replaced.")
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
            raise SystemExit(f"{page}: add the marks <!-- {name} --> and <!-- end -->, between which its table goes")
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
