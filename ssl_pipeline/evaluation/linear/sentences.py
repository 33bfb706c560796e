"""How our backbone stands beside what it started from, and beside encoders that others made."""

from collections.abc import Mapping
from typing import Any

from ssl_pipeline.evaluation.linear.comparison import KNN, START
from ssl_pipeline.evaluation.linear.rivals import Opened

__all__ = ["gained", "nested", "percent", "rival_lines", "start_line"]


def nested(metrics: Mapping[str, Any], rivals: Mapping[str, Opened], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of a contest with those of rivals, what they cost and the gains over them in one place.

    Args:
        metrics: What `contest.figures` returns.
        rivals: Name -> rival; without any nothing changes.
        own: What our backbone costs.
    """
    found = dict(metrics)
    standing = {
        name: found.pop(name) | rival.facts | {"gain": found.pop(f"gain_over_{name}", None)}
        for name, rival in rivals.items()
    }
    return found | {"cost": dict(own), "rivals": standing} if standing else found


def start_line(metrics: Mapping[str, Any], init: str) -> str:
    """The verdict on a run that started from given weights: what self-supervision added to them.

    Args:
        metrics: With figures of the start.
        init: `pretrain.init`.
    """
    gain = metrics[f"gain_over_{START}"]
    if gain["accuracy_low"] > 0:
        verdict = "pretraining helped"
    elif gain["accuracy_high"] < 0:
        verdict = "pretraining hurt"
    else:
        verdict = "no clear difference"
    return f"linear_eval: over the weights it started from ({init}) the backbone gains {gained(gain)} points: {verdict}"


def rival_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Ours and each rival in a line: probe, kNN, size, time; none without rivals, or without test images."""
    if "rivals" not in metrics:
        return []
    own = f"probe {percent(metrics)}, kNN {100 * metrics[KNN]['accuracy']:.1f} %"
    lines = [
        "linear_eval: beside rivals; times are of one image, by one thread of the CPU",
        f"  ours: {own}, {_cost(metrics['cost'])}",
    ]
    for name, rival in metrics["rivals"].items():
        found = f"probe {percent(rival)}, kNN {100 * rival[KNN]['accuracy']:.1f} %"
        lines.append(f"  {name}: {found}, {_cost(rival)}; ours gains {gained(rival['gain'])} points")
    return lines


def percent(figure: Mapping[str, Any]) -> str:
    """An accuracy with its interval, in percent."""
    return f"{100 * figure['accuracy']:.1f} % [{100 * figure['accuracy_low']:.1f}, {100 * figure['accuracy_high']:.1f}]"


def gained(gain: Mapping[str, Any]) -> str:
    """A difference of accuracies with its interval, in points."""
    return f"{100 * gain['accuracy']:+.1f} [{100 * gain['accuracy_low']:+.1f}, {100 * gain['accuracy_high']:+.1f}]"


def _cost(facts: Mapping[str, Any]) -> str:
    return (
        f"{facts['megabytes']:.1f} MB, {facts['parameters'] / 1e6:.2f} million parameters, "
        f"{facts['milliseconds']:.2f} ms"
    )
