"""Compare the variants of backbone.onnx that ship by accuracy and by time, and recommend one.

Accuracies are measured on the same images as those of the backbone, by a probe that is trained on the variant's own
embeddings, and by nearest neighbours among them. Differences are paired, image by image.

The recommended variant is the smallest file that is shown to be as good as backbone.onnx and is not slower. A variant
is as good if it loses less than one point of kNN accuracy on validation: the whole 95% interval of its difference lies
above -1 point (non-inferiority). One point is twice the half point that int8 is designed to lose at most. Such a narrow
interval takes about 500 labelled validation images if the two never differ, and more if they do; with fewer images, or
without labels, backbone.onnx is recommended. A variant is slower if it takes more than 1.05 times as long for one image
on one CPU thread of this machine. int8 is slower on CPUs without instructions for it, and in networks so small that
calls of operators take most of the time.

Source: Piaggio et al. 2012, "Reporting of noninferiority and equivalence randomized trials", JAMA 308(24).
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ssl_pipeline import ranks
from ssl_pipeline.config import LinearEvalConfig
from ssl_pipeline.data.labelled import LabelledSplits
from ssl_pipeline.deployment.latency import TORCH, Latency
from ssl_pipeline.deployment.runtime import open_session, run
from ssl_pipeline.evaluation.features import Embed, Kept, extract
from ssl_pipeline.evaluation.linear import knn
from ssl_pipeline.evaluation.linear.comparison import KNN
from ssl_pipeline.evaluation.statistics.intervals import Interval, score
from ssl_pipeline.evaluation.statistics.wording import gained
from ssl_pipeline.export_config import VARIANTS, file_name
from ssl_pipeline.palette import BLUE, GREEN, ORANGE
from ssl_pipeline.pictures import save_picture
from ssl_pipeline.products import verified

__all__ = ["Variants", "draw_variants", "open_variants", "recommended", "set_apart", "study_variants", "variant_lines"]

EXACT = "fp32"
_SLOWER = 1.05
_MARGIN = 0.01
"""Largest loss of accuracy, as a share, at which a variant is still as good as fp32."""


class Variants(NamedTuple):
    """The variants that ship.

    Attributes:
        files: Variant -> file, with backbone.onnx first as `fp32`; empty if it ships alone.
        embeds: Variant other than fp32 -> embedder that runs it, on the CPU, for which variants are made.
    """

    files: Mapping[str, Path]
    embeds: Mapping[str, Kept]


def open_variants(backbone: Path) -> Variants:
    """Open the variants beside backbone.onnx.

    Raises:
        PipelineError: A file is damaged.
    """
    found = {name: backbone.with_name(file_name(name)) for name in VARIANTS}
    files: dict[str, Path] = {name: verified(path, "export") for name, path in found.items() if path.exists()}
    if len(files) < 2:
        return Variants({}, {})
    embeds: dict[str, Kept] = {
        name: Kept(partial(run, open_session(path, provider="cpu"))) for name, path in files.items() if name != EXACT
    }
    return Variants(files, embeds)


def set_apart(metrics: Mapping[str, Any], variants: Variants) -> tuple[dict[str, Any], dict[str, Any]]:
    """Separate the figures of variants, with their differences from the backbone, from the other figures of a contest.

    Args:
        metrics: Figures, as `comparison.figures` returns them.
        variants: Variants that ship.

    Returns:
        The other figures, and variant -> figures.
    """
    found = dict(metrics)
    judged = {name: found.pop(name) | _difference(found.pop(f"gain_over_{name}", None)) for name in variants.embeds}
    return found, judged


def _difference(gain: Mapping[str, Any] | None) -> dict[str, Any]:
    """Turn a gain of the backbone over a variant into the variant's difference; the interval's bounds are swapped."""
    if gain is None:
        return {}
    turned = {name: 0.0 - value for name, value in gain.items() if not isinstance(value, Mapping)}
    for name in [name.removesuffix("_low") for name in turned if name.endswith("_low")]:
        turned[f"{name}_low"], turned[f"{name}_high"] = turned[f"{name}_high"], turned[f"{name}_low"]
    nested = {name: _difference(value)["difference"] for name, value in gain.items() if isinstance(value, Mapping)}
    return {"difference": {**turned, **nested}}


def study_variants(
    settings: LinearEvalConfig,
    embed: Embed,
    variants: Variants,
    data: LabelledSplits,
    judged: Mapping[str, Any],
    time: Callable[[Mapping[str, Path]], dict[str, Latency]],
) -> dict[str, Any]:
    """Measure the accuracy, size and time of each variant, and recommend one.

    Args:
        settings: Section `linear_eval` of params.yaml.
        embed: Embedder that runs backbone.onnx.
        variants: Variants that ship.
        data: Labelled images of the three splits.
        judged: Variant -> its figures in the contest; empty without labels.
        time: Function that measures the time of files; see `deployment.latency.time_files`.

    Returns:
        `files`: variant -> its `bytes`, its `latency`, its difference from fp32 on `validation`, and its figures in the
        contest. `torch`: latency of torch. `recommended`: name of the recommended variant. Empty if backbone.onnx ships
        alone, and on ranks that do not lead.
    """
    validation = _validated(settings, embed, variants, data)
    if not variants.files or not ranks.leads():
        return {}
    times = time(variants.files)
    files: dict[str, dict[str, Any]] = {
        name: {
            "bytes": path.stat().st_size,
            "latency": times[name],
            **({"validation": validation[name]} if name in validation else {}),
            **judged.get(name, {}),
        }
        for name, path in variants.files.items()
    }
    return {"files": files, "torch": times[TORCH], "recommended": recommended(files)}


def _validated(
    settings: LinearEvalConfig, embed: Embed, variants: Variants, data: LabelledSplits
) -> dict[str, dict[str, float]]:
    """Return each variant's gain in kNN accuracy over fp32 on validation; empty without validation labels."""
    train, val, votes = data.train, data.val, settings.knn
    if not variants.files or not len(val) or not len(train):
        return {}
    embeds: dict[str, Embed] = {EXACT: embed, **variants.embeds}
    predicted = {
        name: knn.predict(extract(one, train), train.labels, extract(one, val), votes.k, votes.temperature)
        for name, one in embeds.items()
    }
    scores = score(val.labels, predicted, val.groups, settings.bootstrap, settings.seed)
    gains = {name: scores.gain(name, EXACT, "accuracy") for name in variants.embeds}
    return {name: _flat(gain) for name, gain in gains.items()}


def _flat(gain: Interval) -> dict[str, float]:
    return {"accuracy": gain.value, "accuracy_low": gain.low, "accuracy_high": gain.high}


def recommended(files: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the recommended variant, by the rule at the top of this module.

    Args:
        files: Variant -> its `bytes`, its `latency` and, if there are labels, its difference on `validation`.
    """
    fits = [name for name, found in files.items() if name == EXACT or (_as_good(found) and _as_fast(found, files))]
    return min(fits, key=lambda name: files[name]["bytes"])


def _as_good(found: Mapping[str, Any]) -> bool:
    return bool(found.get("validation", {"accuracy_low": -1.0})["accuracy_low"] >= -_MARGIN)


def _as_fast(found: Mapping[str, Any], files: Mapping[str, Mapping[str, Any]]) -> bool:
    times = [one["latency"]["1"]["of_torch"] for one in (found, files[EXACT])]
    return bool(times[0] <= _SLOWER * times[1])


def variant_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Return one line per variant and one with the recommendation; empty if backbone.onnx ships alone.

    Args:
        metrics: Metrics, including those of the variants if there are any.
    """
    if "variants" not in metrics:
        return []
    found = metrics["variants"]
    files = found["files"]
    lines = ["linear_eval: variants that ship; times are per image on one CPU thread, relative to torch"]
    for name, one in files.items():
        told = f"{one['bytes'] / 1e6:.2f} MB, {one['latency']['1']['of_torch']:.2f} of torch's time"
        gap = one.get("difference", {}).get("knn")
        lines.append(f"  {name}: {told}" + (f", kNN {gained(gap)} points" if gap else ""))
    name = found["recommended"]
    if name == EXACT:
        why = _why_exact({other: found for other, found in files.items() if other != EXACT})
    else:
        share = files[name]["bytes"] / files[EXACT]["bytes"]
        why = f"{share:.2f} of the size of fp32, kNN on validation {gained(files[name]['validation'])} points"
    return [*lines, f"  recommended: {name} ({why})"]


def _why_exact(others: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the reason why none of the others is recommended."""
    if any(_as_good(found) for found in others.values()):
        return "variants that are as good are slower or larger"
    if not any("validation" in found for found in others.values()):
        return "without labelled validation images, no variant can be shown to be as good"
    return f"validation does not show that any variant loses less than {100 * _MARGIN:.0f} point of kNN accuracy"


def draw_variants(metrics: Mapping[str, Any], folder: Path) -> None:
    """Draw variants.png: accuracy over latency, with discs whose area shows the size of the file.

    Nothing is drawn if backbone.onnx ships alone, or if no test image has a label.

    Args:
        metrics: Metrics of the linear evaluation.
        folder: Folder to write to.
    """
    if "variants" not in metrics or "accuracy" not in metrics[KNN]:
        return
    files, eager = metrics["variants"]["files"], metrics["variants"][TORCH]["1"]["milliseconds"]
    largest = max(one["bytes"] for one in files.values())
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    accuracies = {name: 100 * (metrics if name == EXACT else one)[KNN]["accuracy"] for name, one in files.items()}
    handles = []
    for colour, (name, one) in zip((BLUE, ORANGE, GREEN), files.items(), strict=False):
        area, time = 1500 * one["bytes"] / largest, one["latency"]["1"]["milliseconds"]
        axes.scatter(time, accuracies[name], s=area, color=colour, alpha=0.5)
        label = f"{name}, {one['bytes'] / 1e6:.2f} MB"
        handles.append(Line2D([], [], marker="o", linestyle="", color=colour, alpha=0.5, label=label))
    axes.axvline(eager, linestyle=":", color="grey")
    axes.annotate("torch", (eager, 0.98), xycoords=("data", "axes fraction"), ha="right", va="top", rotation=90)
    axes.legend(handles=handles, loc="lower center", ncols=len(files))  # names discs that overlap
    axes.margins(x=0.25)
    axes.set_ylim(min(accuracies.values()) - 3, max(accuracies.values()) + 1.5)
    axes.set(
        title="Variants of backbone.onnx; areas show file sizes",
        xlabel="time per image on one CPU thread, ms",
        ylabel="kNN accuracy on test images, %",
    )
    save_picture(figure, folder / "variants.png")
