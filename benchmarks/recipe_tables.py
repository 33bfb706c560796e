"""Rows of benchmarks.recipes as a table in Markdown."""

import math
from collections.abc import Callable
from typing import Any

__all__ = ["RANDOM", "Row", "table"]

RANDOM = "random encoder"

Row = dict[str, Any]


def table(rows: list[Row], random_of: Callable[[str], str]) -> str:
    """A line for each recipe, the best first, then those of random encoders.

    Args:
        rows: Of one set of images and one size of batches.
        random_of: From a recipe to the random encoders that it is held against.
    """
    of: dict[str, list[Row]] = {}
    for row in rows:
        of.setdefault(row["recipe"], []).append(row)
    recipes = sorted((name for name in of if not name.startswith(RANDOM)), key=lambda name: -mean(of[name], "knn"))
    lines = [
        "| recipe | kNN | bounds | above random | linear, best layer | bounds | above random | layer "
        "| 10 labels a class | rank | images/s | peak memory |",
        "|---" * 12 + "|",
    ]
    for name in recipes:
        own, base = of[name], of.get(random_of(name), [])
        speed, memory = (max(row[key] for row in own) for key in ("images_a_second", "megabytes"))
        figures = [f"`{name}`", *_accuracy(own, base, "knn"), *_accuracy(own, base, "layer"), _layers(own)]
        figures += [f"{mean(own, 'few_labels'):.1%}", f"{mean(own, 'effective_rank'):.0f}"]
        lines.append(f"| {' | '.join(figures)} | {speed:.0f} | {memory:.0f} MB |")
    for name in sorted(name for name in of if name.startswith(RANDOM)):
        own = of[name]
        figures = [name, *_accuracy(own, [], "knn"), *_accuracy(own, [], "layer"), _layers(own)]
        figures += [f"{mean(own, 'few_labels'):.1%}", f"{mean(own, 'effective_rank'):.0f}"]
        lines.append(f"| {' | '.join(figures)} | | |")
    return "\n".join(lines)


def mean(rows: list[Row], key: str) -> float:
    return float(sum(row[key] for row in rows) / len(rows))


def _accuracy(rows: list[Row], base: list[Row], key: str) -> list[str]:
    """The mean over seeds, the least and largest bound, and whether the least is above the largest of `base`."""
    low, high = min(row[f"{key}_low"] for row in rows), max(row[f"{key}_high"] for row in rows)
    ceiling = max((row[f"{key}_high"] for row in base), default=math.nan)
    above = "" if math.isnan(ceiling) else ("yes" if low > ceiling else "no")
    return [f"{mean(rows, key):.1%}", f"{low:.1%} to {high:.1%}", above]


def _layers(rows: list[Row]) -> str:
    return ", ".join(dict.fromkeys(str(row["best_layer"]) for row in rows))
