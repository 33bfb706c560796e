"""Markdown tables of the rows of `benchmarks.recipes`."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Literal

from benchmarks.judgement import Row
from benchmarks.project import BACKBONES
from ssl_pipeline.config import Choice
from ssl_pipeline.loading import load_registry

__all__ = [
    "FAMILIES",
    "RANDOM",
    "accuracies",
    "batches",
    "bounds",
    "by_recipe",
    "family",
    "figures",
    "judged",
    "longer",
    "mean",
    "not_above",
    "random_of",
]

RANDOM = "random encoder"
ENDS = ("refused", "ended")
"""Keys of a run that did not finish, with the message as value: its parameters were refused, or it ended early, for
example because of a collapse."""
FAMILIES = ("contrastive", "non-contrastive", "clustering", "pretext task")


@cache
def family(recipe: str) -> str:
    """Return the family of a recipe, which follows from its parts."""
    parts = load_registry().build("recipe", Choice(name=recipe))
    if "loss" not in parts:
        return "pretext task"
    if "negatives" in parts:
        return "contrastive"
    return "clustering" if "prototypes" in parts["loss"] else "non-contrastive"


def random_of(recipe: str) -> str:
    """Return the name of the rows of the random encoders that a recipe is compared with."""
    return f"{RANDOM}, {recipe}" if recipe in BACKBONES else RANDOM


def judged(recipe: str) -> Literal["knn", "layer"]:
    """Return the accuracy that a recipe is judged by: kNN, or for pretext tasks a probe at the best layer (`layer`)."""
    return "layer" if not recipe.startswith(RANDOM) and family(recipe) == "pretext task" else "knn"


def by_recipe(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows of runs that finished, by recipe.

    Recipes judged by kNN come first, then pretext tasks, then random encoders; within these, the most accurate first.
    """
    found: dict[str, list[Row]] = {}
    for row in rows:
        if not any(end in row for end in ENDS):
            found.setdefault(row["recipe"], []).append(row)

    def place(name: str) -> tuple[bool, bool, float]:
        key = judged(name)
        return name.startswith(RANDOM), key == "layer", -mean(found[name], key)

    return {name: found[name] for name in sorted(found, key=place)}


def mean(rows: Sequence[Row], key: str) -> float:
    """Return the mean over the seeds that have a measurement; NaN if none has."""
    values = [row[key] for row in rows if key in row]
    return float(sum(values) / len(values)) if values else math.nan


def bounds(rows: Sequence[Row], key: str) -> tuple[float, float]:
    """Return the lowest and the highest bound of the seeds' 95% intervals."""
    return min(row[f"{key}_low"] for row in rows), max(row[f"{key}_high"] for row in rows)


def above(own: Sequence[Row], base: Sequence[Row], key: str) -> int:
    """Return the number of seeds whose interval lies above those of all random encoders."""
    return sum(row[f"{key}_low"] > bounds(base, key)[1] for row in own)


def above_start(own: Sequence[Row], base: Sequence[Row], key: str) -> int:
    """Return the number of seeds whose interval lies above that of the random encoder of the same seed, their start."""
    starts = {row["seed"]: row[f"{key}_high"] for row in base}
    return sum(row[f"{key}_low"] > starts.get(row["seed"], math.inf) for row in own)


def not_above(rows: Sequence[Row]) -> list[str]:
    """Return the recipes with a seed that is not above their random encoders, or whose run did not finish."""
    of, seeds = by_recipe(rows), Counter(row["recipe"] for row in rows)

    def falls_short(name: str) -> bool:
        return above(of.get(name, []), of.get(random_of(name), []), judged(name)) < seeds[name]

    return [name for name in seeds if not name.startswith(RANDOM) and random_of(name) in of and falls_short(name)]


def accuracies(rows: Sequence[Row]) -> str:
    """Return a table of the accuracies of each recipe, and of the number of seeds that are above random encoders.

    Seeds whose run did not finish are included in the total number, and are listed below the table.

    Args:
        rows: Rows of one set of images and one batch size.
    """
    of = by_recipe(rows)
    seeds = Counter(row["recipe"] for row in rows)
    against, measured = ["random", "seeds above", "above start"], ["kNN", "linear", "10 labels per class"]
    lines = [["recipe", "judged by", "accuracy", "bounds", *against, *measured]]
    for name, own in of.items():
        is_random = name.startswith(RANDOM)
        key = judged(name)
        base = [] if is_random else of.get(random_of(name), [])
        low, high = bounds(own, key)
        shares = [f"{count(own, base, key)} of {seeds[name]}" if base else "" for count in (above, above_start)]
        how = "kNN" if key == "knn" else f"probe, layer {_layers(own)}"
        lines.append(
            [
                name if is_random else f"`{name}`",
                how,
                f"{mean(own, key):.1%}",
                f"{low:.1%} to {high:.1%}",
            ]
            + ["" if not base else f"{mean(base, key):.1%}", *shares]
            + [f"{mean(own, measure):.1%}" for measure in ("knn", "linear", "few_labels")]
        )
    return "\n\n".join(filter(None, [_markdown(lines), ends(rows)]))


def figures(rows: Sequence[Row]) -> str:
    """Return a table of how the embeddings of each recipe spread and cluster, and of the cost of its training."""
    columns: list[tuple[str, str, Callable[[float], str]]] = [
        ("effective rank", "effective_rank", "{:.1f}".format),
        ("alignment", "alignment", "{:.2f}".format),
        ("uniformity", "uniformity", "{:.2f}".format),
        ("homogeneity", "homogeneity", "{:.2f}".format),
        ("completeness", "completeness", "{:.2f}".format),
        ("images/s", "images_a_second", "{:.0f}".format),
        ("peak memory, MB", "megabytes", "{:.0f}".format),
    ]
    columns = [column for column in columns if any(column[1] in row for row in rows)]
    lines = [["recipe", *(title for title, _, _ in columns)]]
    for name, own in by_recipe(rows).items():
        values = [mean(own, key) for _, key, _ in columns]
        shown = [
            "" if math.isnan(value) else write(value) for value, (_, _, write) in zip(values, columns, strict=True)
        ]
        lines.append([name if name.startswith(RANDOM) else f"`{name}`", *shown])
    return _markdown(lines)


def batches(sizes: dict[int, Sequence[Row]]) -> str:
    """Return a table of the accuracy and the effective rank of each recipe by batch size, for seed 0.

    Args:
        sizes: Batch size -> rows.
    """
    sizes = {size: [row for row in rows if row["seed"] == 0] for size, rows in sizes.items()}
    of = {size: {row["recipe"]: row for row in rows} for size, rows in sizes.items()}
    most, least = max(sizes), min(sizes)
    names = dict.fromkeys(name for rows in sizes.values() for name in by_recipe(rows) if not name.startswith(RANDOM))
    lines = [
        [
            "recipe",
            "judged by",
            *(f"{size}" for size in sizes),
            f"{most} to {least}",
            *(f"rank, {size}" for size in sizes),
        ]
    ]
    for name in names:
        key, own = judged(name), [of[size].get(name, {}) for size in sizes]
        first, last = of[most].get(name, {}).get(key, math.nan), of[least].get(name, {}).get(key, math.nan)
        change = "" if math.isnan(last - first) else f"{100 * (last - first):+.1f}"
        lines.append(
            [f"`{name}`", "kNN" if key == "knn" else "probe"]
            + [f"{row[key]:.1%}" if key in row else next((end for end in ENDS if end in row), "") for row in own]
            + [change, *(f"{row['effective_rank']:.1f}" if "effective_rank" in row else "" for row in own)]
        )
    return "\n\n".join([_markdown(lines), *filter(None, map(ends, sizes.values()))])


def longer(usual: Sequence[Row], more: Sequence[Row]) -> str:
    """Return a table of the recipes with a seed that is not above random encoders, before and after more steps.

    Args:
        usual: Rows of the usual runs, including random encoders.
        more: Rows of runs with more steps on the same images.
    """
    before, after = by_recipe(usual), by_recipe(more)
    seeds, more_seeds = (Counter(row["recipe"] for row in rows) for rows in (usual, more))
    names = [name for name in dict.fromkeys([*after, *more_seeds]) if name in not_above(usual)]
    budget = "{epochs} epochs in batches of {batch_size}".format_map(more[0])
    against = ["random, highest bound", "seeds above", "above start"]
    lines = [["recipe", "judged by", "accuracy", "seeds above", budget, "bounds", *against]]
    for name in names:
        key, base = judged(name), before[random_of(name)]
        was, now = before.get(name, []), after.get(name, [])
        lines.append(
            [
                f"`{name}`",
                "kNN" if key == "knn" else "probe",
                f"{mean(was, key):.1%}" if was else "",
                f"{above(was, base, key)} of {seeds[name]}",
                f"{mean(now, key):.1%}" if now else "",
                "{:.1%} to {:.1%}".format(*bounds(now, key)) if now else "",
                f"{bounds(base, key)[1]:.1%}",
                f"{above(now, base, key)} of {more_seeds[name]}",
                f"{above_start(now, base, key)} of {more_seeds[name]}",
            ]
        )
    lost = ends([row for row in more if row["recipe"] in names])
    return "\n\n".join(filter(None, [_markdown(lines), lost]))


def ends(rows: Sequence[Row]) -> str:
    """Return a list of the runs that did not finish, with their messages."""
    return "\n".join(
        f"- `{row['recipe']}`, batches of {row['batch_size']}, seed {row['seed']}, {end}: {' '.join(row[end].split())}"
        for row in rows
        for end in ENDS
        if end in row
    )


def _layers(rows: Sequence[Row]) -> str:
    return ", ".join(dict.fromkeys(str(row["best_layer"]) for row in rows))


def _markdown(lines: list[list[str]]) -> str:
    head, *rest = lines
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rest])
