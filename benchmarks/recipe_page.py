"""The tables and pictures of docs/recipes.md, made from rows of `benchmarks.recipes`; its text is handwritten."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from benchmarks.judgement import Row
from benchmarks.recipe_tables import (
    FAMILIES,
    RANDOM,
    accuracies,
    batches,
    bounds,
    by_recipe,
    family,
    figures,
    judged,
    longer,
    mean,
)
from ssl_pipeline.palette import PALETTE

__all__ = ["write_page"]

COLOURS = dict(zip(FAMILIES, PALETTE[:4], strict=True))


def write_page(
    page: Path,
    usual: Mapping[str, Sequence[Row]],
    sizes: Mapping[int, Sequence[Row]],
    more: Mapping[str, Sequence[Row]],
) -> None:
    """Fill in the tables between the marks `<!-- name -->` and `<!-- end -->` of a page, and draw its pictures.

    Args:
        page: Path of the page; if it does not exist, a page that consists only of marks is created.
        usual: Set of images -> rows of the usual budget, including random encoders.
        sizes: Batch size -> rows.
        more: Set of images -> rows of runs with more steps.

    Raises:
        SystemExit: The page has no marks for a table.
    """
    tables = {}
    for data, rows in usual.items():
        if any(not row["recipe"].startswith(RANDOM) for row in rows):
            tables |= {f"{data} accuracies": accuracies(rows), f"{data} figures": figures(rows)}
            _draw(rows, page.with_name(f"{page.stem}_{data}.png"))
        if more.get(data):
            tables[f"{data} longer"] = longer(rows, more[data])
    if len(run := {size: rows for size, rows in sizes.items() if rows}) > 1:
        tables["batches"] = batches(run)
        _draw_batches(run, page.with_name(f"{page.stem}_batches.png"))
    text = (
        page.read_text(encoding="utf-8")
        if page.exists()
        else "".join(f"<!-- {name} -->\n<!-- end -->\n" for name in tables)
    )
    for name, table in tables.items():
        block = f"<!-- {name} -->\n{table}\n<!-- end -->"
        text, found = re.subn(rf"(?s)<!-- {name} -->\n.*?<!-- end -->", lambda _, block=block: block, text)
        if not found:
            raise SystemExit(f"{page} has no place for a table: add the marks <!-- {name} --> and <!-- end -->")
    page.write_text(text, encoding="utf-8")


def _draw(rows: Sequence[Row], path: Path) -> None:
    """Draw accuracies with their bounds above, and uniformity over alignment below."""
    figure = Figure(figsize=(7, 8), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=[2, 1])
    of = by_recipe(rows)
    names = [name for name in of if not name.startswith(RANDOM)][::-1]
    for place, name in enumerate(names):
        key, colour = judged(name), COLOURS[family(name)]
        low, high = bounds(of[name], key)
        above.plot([low, high], [place, place], color=colour, lw=2)
        above.plot(mean(of[name], key), place, "o" if key == "knn" else "s", color=colour)
        below.plot(mean(of[name], "alignment"), mean(of[name], "uniformity"), "o", color=colour, ms=4)
        below.annotate(name, (mean(of[name], "alignment"), mean(of[name], "uniformity")), fontsize=5)
    if RANDOM in of:
        for key, style in (("knn", "-"), ("layer", "--")):
            above.axvline(bounds(of[RANDOM], key)[1], color="grey", ls=style, lw=1)
    above.set_yticks(range(len(names)), names, fontsize=7)
    above.set_xlabel(
        "accuracy with bounds: ● kNN, ■ probe (lines: the best random ResNet-8 by kNN and, dashed, by probe)",
        fontsize=8,
    )
    below.set_xlabel("alignment (0: two views of an image are one point)")
    below.set_ylabel("uniformity (lower: more even)")
    _legend(above)
    figure.savefig(path, dpi=110)


def _draw_batches(sizes: Mapping[int, Sequence[Row]], path: Path) -> None:
    """Draw an arrow for each recipe, from its accuracy with the largest batches to that with the smallest."""
    most, least = max(sizes), min(sizes)
    large, small = ({row["recipe"]: row for row in sizes[size] if row["seed"] == 0} for size in (most, least))
    names = [
        name
        for name in by_recipe(sizes[most])
        if not name.startswith(RANDOM) and judged(name) in large.get(name, {}) and judged(name) in small.get(name, {})
    ]
    figure = Figure(figsize=(7, 6), layout="constrained")
    panel = figure.subplots()
    for place, name in enumerate(names[::-1]):
        first, last = (side[name][judged(name)] for side in (large, small))
        panel.annotate(
            "", (last, place), (first, place), arrowprops={"arrowstyle": "->", "color": COLOURS[family(name)]}
        )
        panel.plot(first, place, "o", color=COLOURS[family(name)], ms=4)
        panel.plot(last, place, "")  # an arrow alone does not widen the axis
    panel.set_yticks(range(len(names)), names[::-1], fontsize=7)
    panel.set_xlabel(f"accuracy on test images, from batches of {most} (dot) to batches of {least} (arrow), one seed")
    _legend(panel)
    figure.savefig(path, dpi=110)


def _legend(panel: Axes) -> None:
    for name, colour in COLOURS.items():
        panel.plot([], [], color=colour, label=name)
    panel.legend(fontsize=7, loc="lower right")
    panel.grid(axis="x", alpha=0.3)
    panel.xaxis.set_major_formatter(PercentFormatter(1))
