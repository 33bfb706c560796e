"""Results of the linear evaluation as sentences: our backbone compared with baselines, its start and rivals."""

from collections.abc import Mapping
from typing import Any

from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.evaluation.linear.comparison import KNN, START, Settled
from ssl_pipeline.evaluation.linear.rivals import Opened
from ssl_pipeline.evaluation.statistics.wording import gained

__all__ = ["nested", "no_probe_line", "percent", "rival_lines", "start_line", "summary"]


def nested(metrics: Mapping[str, Any], rivals: Mapping[str, Opened], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of a contest, with the figures, costs and gains of each rival gathered under `rivals`.

    Args:
        metrics: Figures, as `comparison.figures` returns them.
        rivals: Name -> rival; if there are none, the figures are returned unchanged.
        own: Cost of our backbone, as `rivals.cost` returns it.
    """
    found = dict(metrics)
    standing = {
        name: found.pop(name) | rival.facts | {"gain": found.pop(f"gain_over_{name}", None)}
        for name, rival in rivals.items()
    }
    return found | {"cost": dict(own), "rivals": standing} if standing else found


def start_line(metrics: Mapping[str, Any], init: str) -> str:
    """Return the verdict on a run with starting weights: what self-supervision added to them.

    Args:
        metrics: Metrics, including those of the start.
        init: Source of the starting weights, `pretrain.init`.
    """
    gain = metrics[f"gain_over_{START}"]
    if gain["accuracy_low"] > 0:
        verdict = "pretraining helped"
    elif gain["accuracy_high"] < 0:
        verdict = "pretraining hurt"
    else:
        verdict = "no clear difference"
    return f"linear_eval: the backbone gains {gained(gain)} points over its starting weights ({init}): {verdict}"


def rival_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Return one line on ours and on each rival: probe, kNN, size, time; empty without rivals or test images."""
    if "rivals" not in metrics:
        return []
    own = f"probe {percent(metrics)}, kNN {100 * metrics[KNN]['accuracy']:.1f}%"
    lines = [
        "linear_eval: comparison with rivals; times are per image on one CPU thread",
        f"  ours: {own}, {_cost(metrics['cost'])}",
    ]
    for name, rival in metrics["rivals"].items():
        found = f"probe {percent(rival)}, kNN {100 * rival[KNN]['accuracy']:.1f}%"
        lines.append(f"  {name}: {found}, {_cost(rival)}; ours gains {gained(rival['gain'])} points")
    return lines


def percent(figure: Mapping[str, Any]) -> str:
    """Return an accuracy with its interval in percent, as text."""
    return f"{100 * figure['accuracy']:.1f}% [{100 * figure['accuracy_low']:.1f}, {100 * figure['accuracy_high']:.1f}]"


def _cost(facts: Mapping[str, Any]) -> str:
    return (
        f"{facts['megabytes']:.1f} MB, {facts['parameters'] / 1e6:.2f} million parameters, "
        f"{facts['milliseconds']:.2f} ms"
    )


def no_probe_line(reason: str, spread: Mapping[str, Any]) -> str:
    """Return a line that says why there is no probe, with the figures that need no labels."""
    return (
        f"linear_eval: no probe, because {reason}. Without labels: effective rank {spread['effective_rank']:.1f}, "
        f"uniformity {spread['uniformity']:.2f}, embedding std {spread['embedding_std']:.2f}."
    )


def summary(metrics: Mapping[str, Any], settled: Settled, card: ModelCard) -> list[str]:
    """Return the results in a few lines."""
    lines = []
    for name, contestant in settled.contestants.items():
        if not contestant.probe.converged:
            lines.append(
                f"linear_eval: the solver stopped before the optimum for {name}: remove the largest of the "
                "linear_eval.strengths, whose fits are the slowest."
            )
    if "accuracy" not in metrics:
        return [*lines, "linear_eval: accuracy was not measured, because no test image has a label."]
    images, groups = metrics["labels"]["test"], metrics["labels"]["test_groups"]
    grouped = f" in {groups} groups" if groups < images else ""
    lines.append(f"linear_eval: linear probe {percent(metrics)} on {images} test images{grouped} (95% intervals)")
    for name in [name for name in settled.contestants if f"gain_over_{name}" in metrics]:
        described = "the starting weights" if name == START else name.replace("_", " ")
        points = gained(metrics[f"gain_over_{name}"])
        lines.append(f"  {described} {percent(metrics[name])}: the backbone gains {points} points")
    lines.append(f"  kNN on the backbone's embeddings {percent(metrics['knn'])}")
    negatives = metrics["negatives"]
    if negatives.get("rate") is not None:
        lines.append(
            f"  false negatives: {negatives['rate']:.1%} of the weight of '{negatives['strategy']}' is on images of "
            f"the anchor's own class; {negatives['chance']:.1%} by chance"
        )
    if START in metrics:
        lines.append(start_line(metrics, card.init))
    return [*lines, *rival_lines(metrics)]
