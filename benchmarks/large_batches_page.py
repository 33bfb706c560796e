"""The tables and the picture of docs/large_batches.md, made from rows of `large_batches`; its text is handwritten."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ssl_pipeline.palette import BLUE, GREEN, PINK, VERMILION

__all__ = ["BASELINE", "LOSSES", "ONE_PASS", "Row", "write_page"]

Row = dict[str, Any]
BASELINE, ONE_PASS = "untrained", "one pass"
LOSSES: dict[str, dict[str, Any]] = {
    "info_nce": {"recipe": "simclr", "loss": {"temperature": 0.5}},  # the temperature of debiased
    "debiased": {"recipe": "debiased"},
    "vicreg": {"recipe": "vicreg"},
}
"""Loss -> values of the section `pretrain`."""
STYLE = {"info_nce": (BLUE, "o-"), "debiased": (GREEN, "s-"), "vicreg": (VERMILION, "^-")}
HEAD = "| loss | batch | steps | images seen | kNN | verdict | k* | homogeneity | seconds | MiB |"
ASIDE = {"info_nce": 0.93, "debiased": 1.0, "vicreg": 1.07}
"""Loss -> factor by which its points are shifted along the axis of batch sizes, so that intervals do not overlap."""


def write_page(page: Path, rows: Sequence[Row], seen: Mapping[str, int]) -> None:
    """Fill in the tables between the marks `<!-- name -->` and `<!-- end -->` of the page, and draw its picture.

    Args:
        page: Path of the page; if it does not exist, a page that consists only of marks is created.
        rows: Rows of all runs.
        seen: Set of images -> number of images that each run sees at equal images.

    Raises:
        SystemExit: The page has no marks for a table.
    """
    tables = {
        f"{data} {name}": table(chosen, [row for row in rows if row["data"] == data and row["loss"] == BASELINE])
        for data in seen
        for name, chosen in budgets(rows, data, seen[data]).items()
    }
    tables["memory"] = memory(rows)
    marks = "".join(f"<!-- {name} -->\n<!-- end -->\n" for name in tables)
    text = page.read_text(encoding="utf-8") if page.exists() else marks
    for name, content in tables.items():
        block = f"<!-- {name} -->\n{content}\n<!-- end -->"
        text, found = re.subn(rf"(?s)<!-- {name} -->\n.*?<!-- end -->", lambda _, block=block: block, text)
        if not found:
            raise SystemExit(f"{page} has no place for a table: add the marks <!-- {name} --> and <!-- end -->")
    page.write_text(text, encoding="utf-8")
    draw(rows, seen, page.with_suffix(".png"))


def budgets(rows: Sequence[Row], data: str, seen: int) -> dict[str, list[Row]]:
    """Return the rows at equal images (`images`) and at equal steps (`steps`), smaller batches first."""
    own = sorted((row for row in rows if row["data"] == data and row["loss"] in LOSSES), key=lambda row: row["batch"])
    at_images = [row for row in own if row["batch"] * row["steps"] == seen]
    counts = [row["steps"] for row in own]
    steps = max(set(counts), key=counts.count) if counts else 0  # the one number that all batch sizes share
    return {"images": at_images, "steps": [row for row in own if row["steps"] == steps]}


def table(rows: Sequence[Row], baseline: Sequence[Row]) -> str:
    lines = [HEAD, "|---" * HEAD.count(" | ") + "|---|"]
    for row in [*baseline, *sorted(rows, key=lambda row: (list(LOSSES).index(row["loss"]), row["batch"], row["seed"]))]:
        trained = row["steps"] > 0
        low, high = row["interval"]
        cells = [
            f"`{row['loss']}`" if trained else "untrained",
            *([f"{row[key]:,}" for key in ("batch", "steps")] if trained else ["", ""]),
            f"{row['batch'] * row['steps']:,}" if trained else "",
            f"{row['knn']:.1%} ({low:.1%} to {high:.1%})",
            row["verdict"],
            str(row["k_star"]),
            f"{row['homogeneity']:.2f}",
            *([f"{row['seconds']:.0f}", f"{row['MiB']:,}"] if trained else ["", ""]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def memory(rows: Sequence[Row]) -> str:
    """Return a table of peak memory by batch size, in one pass and in micro-batches."""
    lines = ["| batch | one pass, MiB | micro-batches of 128, MiB |", "|---|---|---|"]
    trained = [row for row in rows if row["steps"]]
    for batch in sorted({row["batch"] for row in trained}):
        held: dict[bool, list[int]] = {True: [], False: []}
        for row in trained:
            if row["batch"] == batch:
                held[row["loss"] == ONE_PASS].append(row["MiB"])
        one_pass = f"{max(held[True]):,}" if held[True] else "not run"
        span = f"{min(held[False]):,} to {max(held[False]):,}" if held[False] else ""
        lines.append(f"| {batch:,} | {one_pass} | {span} |")
    return "\n".join(lines)


def draw(rows: Sequence[Row], seen: Mapping[str, int], path: Path) -> None:
    """Draw kNN accuracy over batch size at equal images and at equal steps, and memory and time beside it."""
    figure = Figure(figsize=(10.5, 6.4), dpi=120, layout="constrained")
    grid = figure.subplots(len(seen), 3, squeeze=False)
    for places, data in zip(grid, seen, strict=True):
        places[0].sharey(places[1])
        chosen = budgets(rows, data, seen[data])
        baseline = [row for row in rows if row["data"] == data and row["loss"] == BASELINE]
        for axes, (name, runs) in zip(places, chosen.items(), strict=False):
            neighbours(axes, runs, baseline)
            told = f"{seen[data]:,} images" if name == "images" else f"{runs[0]['steps'] if runs else 0} steps"
            axes.set_title(f"{data}: {told} each", loc="left", fontsize="medium")
    last = [places[2] for places in grid]
    trained = [row for row in rows if row["steps"]]
    held(last[0], trained)
    if len(last) > 1:
        time(last[1], [row for row in trained if row["loss"] in LOSSES])
    figure.axes[0].legend(frameon=False, fontsize="small")
    figure.savefig(path, metadata={"Software": None})


def neighbours(axes: Axes, runs: Sequence[Row], baseline: Sequence[Row]) -> None:
    for row in baseline:
        axes.axhspan(*row["interval"], color="0.9", label="untrained")
    for loss, (colour, style) in STYLE.items():
        own = [row for row in runs if row["loss"] == loss]
        values = [row["knn"] for row in own]
        reach = [
            [value - row["interval"][0] for value, row in zip(values, own, strict=True)],
            [row["interval"][1] - value for value, row in zip(values, own, strict=True)],
        ]
        at = [row["batch"] * ASIDE[loss] for row in own]
        axes.errorbar(at, values, reach, fmt=style, color=colour, capsize=2, lw=1.2, label=loss)
    axes.set_ylabel("kNN accuracy on test images")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    _finish(axes, runs)


def held(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw peak memory in micro-batches (the maximum over all runs of a batch size) and in one pass."""
    kinds = {"micro-batches of 128": ("0.0", "o-"), ONE_PASS: (PINK, "x--")}
    for name, (colour, style) in kinds.items():
        own = [row for row in rows if (row["loss"] == ONE_PASS) == (name == ONE_PASS)]
        most = {batch: max(row["MiB"] for row in own if row["batch"] == batch) for batch in {r["batch"] for r in own}}
        at = sorted(most)
        axes.plot(at, [most[batch] for batch in at], style, color=colour, label=name)
    axes.set_ylim(0)
    axes.set_ylabel("peak memory of the process, MiB")
    axes.legend(frameon=False, fontsize="small")
    _finish(axes, rows)


def time(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw processor time per image for the longest run of each batch size, in which start-up matters least."""
    for loss, (colour, style) in STYLE.items():
        own = {row["batch"]: row for row in sorted(rows, key=lambda row: row["steps"]) if row["loss"] == loss}
        at = sorted(own)
        spent = [1e3 * own[batch]["seconds"] / (batch * own[batch]["steps"]) for batch in at]
        axes.plot([batch * ASIDE[loss] for batch in at], spent, style, color=colour, label=loss)
    axes.set_ylim(0)
    axes.set_ylabel("processor time per image, ms")
    _finish(axes, rows)


def _finish(axes: Axes, rows: Sequence[Row]) -> None:
    axes.set_xscale("log", base=2)
    ticks = sorted({row["batch"] for row in rows})
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_xlabel("images per batch")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
