"""How the number of negatives affects clusters: `python -m benchmarks.negatives ROWS PICTURE [--seeds 2]`.

MoCo's recipe learns from the bundled digits, with 1 to 1,024 keys in its queue and otherwise the values of params.yaml,
and linear_eval clusters the exported embeddings. It is compared with two remedies: debiased negatives, against queues
of about the same number of keys, and the truncated triplet loss with the longest queue. Each run is a line of ROWS;
runs that already have a line are not repeated. PICTURE shows all runs, and their means over the seeds.
"""

import csv
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import click

from benchmarks.project import change, copy_project
from benchmarks.recipes import stage
from ssl_pipeline.palette import BLUE, GREEN, VERMILION
from ssl_pipeline_stages.paths import REPORTS

CLASSES = 10
TRUNCATED = {"name": "truncated_triplet", "margin": 0.5, "classes": CLASSES, "false_negative_probability": 0.05}
SWEEP = "InfoNCE"
LENGTHS = (1, 4, 16, 64, 256, 1024)
REMEDIES = {
    "debiased": (255, {"negatives": {"name": "debiased", "class_prior": 1 / CLASSES}}),
    "truncated triplet": (1024, {"negatives": {"queue_size": 1024}, "loss": TRUNCATED}),
}
STYLE = {SWEEP: (BLUE, "o-"), "debiased": (GREEN, "s"), "truncated triplet": (VERMILION, "^")}
PANELS = {
    "homogeneity": "homogeneity above chance,\n4 clusters per class\n(low: classes merged)",
    "completeness": "completeness,\none cluster per class\n(low: classes split)",
    "k_star": "k*, the most stable\nnumber of clusters",
    "linear": "test accuracy of a linear probe",
}

Row = dict[str, Any]


def runs(seeds: int) -> Iterator[tuple[str, int, int, dict[str, Any]]]:
    """Yield the name, the number of negatives, the seed and the values of `pretrain` of each run."""
    for seed in range(seeds):
        for length in LENGTHS:
            yield SWEEP, length, seed, {"negatives": {"queue_size": length}}
        for name, (count, values) in REMEDIES.items():
            yield name, count, seed, values


def measured(project: Path, seed: int, values: dict[str, Any]) -> Row:
    change(project, pretrain={"recipe": "mocov2", "seed": seed, "loss": {}, "negatives": {}, **values})
    for name in ("pretrain", "export", "linear_eval"):
        stage(project, name)
    reports = project / REPORTS / "linear_eval"
    found = json.loads((reports / "details.json").read_text())
    with (reports / "clusters.csv").open() as table:
        (one_a_class,) = (row for row in csv.DictReader(table) if int(row["k"]) == CLASSES)
    return {
        "homogeneity": found["clusters"]["homogeneity_above_chance"],
        "completeness": float(one_a_class["completeness"]),
        "k_star": found["clusters"]["k_star"],
        "verdict": found["clusters"]["verdict"],
        "linear": found["accuracy"],
    }


def draw(rows: list[Row], path: Path) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(9.6, 6.4), dpi=120, layout="constrained")
    for axes, (key, label) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
        for name, (colour, style) in STYLE.items():
            own = [row for row in rows if row["name"] == name]
            axes.plot([row["negatives"] for row in own], [row[key] for row in own], style[0], color=colour, alpha=0.4)
            counts = sorted({row["negatives"] for row in own})
            means = [mean(row[key] for row in own if row["negatives"] == count) for count in counts]
            axes.plot(counts, means, style, color=colour, label=name)
        axes.set_xscale("log", base=4)
        axes.set_xticks(LENGTHS, [f"{length:,}" for length in LENGTHS])
        axes.minorticks_off()
        axes.set_xlabel("negatives per anchor")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Software": None})


@click.command()
@click.argument("kept", metavar="ROWS", type=click.Path(path_type=Path))
@click.argument("picture", metavar="PICTURE", type=click.Path(path_type=Path))
@click.option("--seeds", type=int, default=2, help="Number of seeds.")
def main(kept: Path, picture: Path, seeds: int) -> None:
    """Make the runs that are missing in ROWS, draw PICTURE, and print all rows."""
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    known = {(row["name"], row["negatives"], row["seed"]) for row in rows}
    wanted = [run for run in runs(seeds) if run[:3] not in known]
    with tempfile.TemporaryDirectory() as temporary:
        project = Path(temporary) / "project"
        copy_project(project)
        if wanted:
            stage(project, "ingest")
            stage(project, "augment")
        for name, negatives, seed, values in wanted:
            rows.append({"name": name, "negatives": negatives, "seed": seed, **measured(project, seed, values)})
            with kept.open("a") as out:
                out.write(json.dumps(rows[-1]) + "\n")
    draw(rows, picture)
    for row in sorted(rows, key=lambda row: (row["name"], row["negatives"], row["seed"])):
        click.echo(json.dumps(row))


if __name__ == "__main__":
    main()
