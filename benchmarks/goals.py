"""Figures and goals of the benchmarks in `benchmarks.table`: the numbers in their lines, and why a goal is missed."""

from collections.abc import Iterator
from typing import Literal

from benchmarks import reasons
from benchmarks.report import Figure
from ssl_pipeline_stages import STAGES

__all__ = [
    "default_epoch",
    "default_run",
    "embed",
    "embeddings",
    "epoch",
    "evaluation",
    "families",
    "ingest",
    "large_photographs",
    "lightly",
    "many_images",
    "micro_batches",
    "race",
    "resolution",
    "start_up",
    "store",
    "tiles",
    "views",
]


def views() -> Iterator[Figure]:
    torchvision = {32: 12.0, 96: 3.0, 224: 2.0}
    albumentations = {32: 1.0, 96: 1.0, 224: 0.7}
    for size in (32, 96, 224):
        of = {"size": size}
        for kind in ("float32", "uint8"):
            where = {**of, "reference": f"torchvision v2 per sample, {kind}"}
            name = f"{size} px, relative to torchvision v2 per sample, {kind}"
            yield Figure(name, where, goal=("≥", torchvision[size]))
        yield Figure(f"{size} px, relative to kornia, batched", {**of, "reference": "kornia, batched"}, goal=("≥", 2.0))
        yield Figure(
            f"{size} px, relative to albumentationsX per sample, uint8",
            {**of, "reference": "albumentationsX per sample, uint8"},
            goal=("≥", albumentations[size]),
            missed=reasons.NO_ANTIALIASING,
        )


def tiles() -> Iterator[Figure]:
    for rows, bound in {512: 1.2, 2048: 0.6, 8192: 0.3}.items():
        where = {"what": "time, tiled to dense", "rows": rows}
        yield Figure(f"time for {rows} rows, tiled relative to dense", where, "ratio", ("≤", bound))
    slope = {"what": "memory, slope over rows"}
    yield Figure("growth of memory with the number of rows, exponent", slope, "slope", ("≤", 1.05))
    error = {"what": "error of the float32 gradient"}
    yield Figure("relative error of the tiled gradient", error, "tiled")
    yield Figure("relative error of the dense gradient", error, "dense")


def large_photographs() -> Iterator[Figure]:
    for side in (96, 224):
        for photograph in ("4000x3000", "1200x900"):
            of, large = {"photograph": photograph, "side": side}, photograph == "4000x3000"
            where = f"{photograph} to {side} px"
            yield Figure(
                f"{where}, images/s relative to resizing with Pillow", {**of, "what": "time"}, goal=("≥", 0.67)
            )
            # with a small photograph, the feature maps of the network take the larger share
            least: tuple[Literal["≤"], float] | None = ("≤", 2.0) if large else None
            yield Figure(f"{where}, memory per byte of the photograph", {**of, "what": "memory"}, "ratio", least)


def lightly(side: int, goal: float) -> Iterator[Figure]:
    of = {"what": "images/s", "side": side}
    single = {**of, "precision": "fp32"}
    yield Figure("images/s in fp32", single, goal=("≥", goal), missed=reasons.NETWORK)
    yield Figure("bound: images/s if everything but the network cost nothing", single, "bound")
    yield Figure("share of the network in one of our steps", single, "bare_share")
    yield Figure("our images/s, absolute", single, "images_per_second.ours")
    yield Figure("lightly's images/s, absolute", single, "images_per_second.theirs")
    yield Figure("images/s, with ours in bf16", {**of, "precision": "auto"}, goal=("≥", 2.2))
    yield Figure("peak memory", {"what": "peak memory", "side": side}, "ratio", ("≤", 0.8), reasons.SAME_ACTIVATIONS)


def default_epoch() -> Iterator[Figure]:
    whole = {"what": "whole run, to bare steps"}
    yield Figure("whole run relative to bare steps", whole, goal=("≤", 1.10), spread="all", missed=reasons.VIEWS)
    yield Figure("share of looks at the embeddings", whole, "shares.looks", ("≤", 0.02))
    yield Figure("share of making views", whole, "shares.views")
    yield Figure("share of writing checkpoints", whole, "shares.checkpoints")


def epoch() -> Iterator[Figure]:
    for side in (32, 96, 224):
        of = {"what": "whole run of a ResNet-18, to bare steps", "side": side}
        yield Figure(
            f"{side} px, whole run relative to bare steps", of, goal=("≤", 1.05), missed=reasons.VIEWS_OF_PHOTOGRAPHS
        )
        yield Figure(f"{side} px, peak memory relative to bare steps", of, "memory", ("≤", 1.05), reasons.GAPS_OF_VIEWS)


def ingest() -> Iterator[Figure]:
    missed_by = {
        "decode": reasons.ALL_PIXELS,
        "further": reasons.WAY_TO_THE_STORE,
        "stage": reasons.WAY_TO_THE_STORE,
    }
    names = {"decode": "decode", "further": "stage, per additional file", "stage": "stage, few files"}
    for side in (128, 500, 2000):
        for what, missed in missed_by.items():
            to_draft, to_full = (f"{what} against {loop}.median" for loop in ("draft", "full"))
            name = f"{names[what]}, photographs of {side} px"
            yield Figure(f"{name}, relative to draft mode", {"side": side}, to_draft, ("≥", 0.9), missed=missed)
            yield Figure(f"{name}, relative to a loop that decodes all pixels", {"side": side}, to_full)
        yield Figure(f"fixed cost in seconds, photographs of {side} px", {"side": side}, "fixed")


def race() -> Iterator[Figure]:
    for of in ("lightly, as documented", "lightly, our optimizer"):
        yield Figure(
            f"kNN accuracy after the same number of epochs, ours minus {of}",
            {"what": f"kNN, ours less {of}"},
            "difference",
            ("≥", 0.0),
            missed="if the interval contains 0, three seeds do not suffice to distinguish the two.",
            spread="interval",
        )
    name = "our time to lightly's last accuracy, relative to lightly's time"
    yield Figure(name, {"what": "time to lightly's kNN"}, "ratio", ("≤", 0.6))
    yield Figure("time of all epochs, relative to lightly's", {"what": "time of all epochs"}, "ratio")


def default_run() -> Iterator[Figure]:
    whole = {"what": "the default run"}
    yield Figure("all stages, seconds", whole, "seconds", ("≤", 90.0), reasons.LATER_STAGES)
    for stage in [name for name in STAGES if name != "inventory"]:
        yield Figure(f"{stage}, seconds", whole, f"stages.{stage}")
    yield Figure(
        "augment alone, processor time in seconds",
        {"what": "augment alone"},
        "seconds",
        ("≤", 5.0),
        missed=reasons.EXPORTER,
    )
    yield Figure(
        "augment alone, peak memory in MB",
        {"what": "augment alone"},
        "megabytes",
        ("≤", 500.0),
        missed=reasons.EXPORTER,
    )
    again = {"what": "augment again"}
    yield Figure("augment with its graphs in the cache, processor time in seconds", again, "seconds")
    yield Figure("augment with its graphs in the cache, peak memory in MB", again, "megabytes")


def start_up() -> Iterator[Figure]:
    yield Figure("`--help`, relative to `python -c pass`", {"what": "--help / python -c pass"}, "ratio", ("≤", 10.0))
    repro = {"what": "dvc repro / dvc version"}
    yield Figure(
        "`dvc repro` without changes, relative to `dvc version`",
        repro,
        "ratio",
        ("≤", 1.5),
        missed=reasons.TWO_PROCESSES,
    )
    floor = {"what": "floor: dvc repro / dvc version"}
    yield Figure("the same with an inventory that does nothing", floor, "ratio")


def evaluation() -> Iterator[Figure]:
    whole = {"what": "linear evaluation, to the sum of its passes"}
    yield Figure("time relative to the sum of the passes", whole, "ratio", ("≤", 1.15), reasons.PROBES)


def resolution(side: int, goal: bool = True) -> Iterator[Figure]:
    where = {"side": side}
    name = f"speed-up at {side} px"
    asked: tuple[Literal["≥"], float] | None = ("≥", 0.9) if goal else None
    missed = {64: reasons.ROUNDED_MAPS, 96: reasons.SMALL_MAPS}.get(side, "")  # the side that was profiled
    yield Figure(f"{name}, as a share of the prediction from areas", where, "ratio", asked, missed)
    yield Figure(name, where, "speed_up.median")
    yield Figure(f"prediction from areas at {side} px", where, "predicted")


def micro_batches() -> Iterator[Figure]:
    for how in ("encoded twice", "kept where they fit"):
        where = {"what": f"time, micro-batches {how}, to one pass"}
        yield Figure(f"time, micro-batches {how}", where, goal=("≤", 1.35), missed=reasons.ENCODED_TWICE)
    for heap, missed in (
        (
            "with gaps",
            reasons.GAPS,
        ),
        ("without gaps", reasons.WHOLE_BATCH),
    ):
        where = {"what": f"memory, slope over micro-batches, heap {heap}"}
        yield Figure(
            f"growth of memory with the number of micro-batches, exponent, heap {heap}",
            where,
            "slope",
            ("≤", 0.1),
            missed,
        )


def families() -> Iterator[Figure]:
    summary = {"what": "families"}
    which = "docs/forms.md names the other families and the reasons."
    yield Figure("families whose exported file equals torch, of 23", summary, "equal", ("≥", 23), missed=which)
    yield Figure("families whose int8 variant can be written and run", summary, "int8", ("≥", 23), missed=which)
    yield Figure("families whose int8 variant passes the gate", summary, "int8_ships")


def runtimes() -> Iterator[Figure]:
    summary = {"what": "openvino"}
    yield Figure("graphs that OpenVINO cannot run", summary, "not_run", ("≤", 0))
    yield Figure("largest difference from onnxruntime", summary, "largest_difference", ("≤", 1e-5))


def embed() -> Iterator[Figure]:
    of = {"images": 50_000}
    yield Figure("processor time, bare loop relative to embed", of, "processor_ratio")
    yield Figure("wall-clock time, bare loop relative to embed", of, "ratio")
    yield Figure("peak memory of the main process, 50,000 images, MiB", of, "embed.main_mib")
    yield Figure("peak memory of the bare loop, 50,000 images, MiB", of, "bare.main_mib")
    yield Figure("bytes of memory per image", {"what": "growth"}, "bytes_per_image")


def serve() -> Iterator[Figure]:
    yield Figure(
        "images/s of eight clients, relative to the loop", {"what": "speed"}, "images_per_second_to_bare", spread="span"
    )
    yield Figure("p95 latency of one client, relative to the loop", {"what": "speed"}, "p95_to_bare", spread="p95_span")
    yield Figure("5xx responses to 1,000 hostile uploads", {"what": "hostile"}, "failed", ("≤", 0))
    yield Figure("growth of memory over 9,000 requests, MiB", {"what": "memory"}, "grown_mib", ("≤", 16))


def drift() -> Iterator[Figure]:
    """Yield the shares of batches with an alarm.

    Unchanged images may exceed 1% by the sampling error of 200 draws; visibly changed ones must raise many alarms. All
    batches of `the same` are compared with one reference and share its sampling error, so they may exceed it by more.
    """
    darker, blurred = "brightness 0.7", "blur, sigma 3% of the side"
    seen = {("foreign", 20), ("foreign", 50), *((what, 200) for what in ("foreign", darker, "brightness 0.5", blurred))}
    for name in ("clothing", "cifar10"):
        for what in ("redrawn", "the same", darker, "brightness 0.5", blurred, "foreign"):
            for size in (20, 50, 200):
                goal: tuple[Literal["≥", "≤"], float] | None = ("≥", 0.9) if (what, size) in seen else None
                goal = ("≤", 0.035) if what == "redrawn" else ("≤", 0.1) if what == "the same" else goal
                where = {"set": name, "what": what, "images": size}
                yield Figure(f"{name}, {size} images: {what}", where, "alarms", goal, spread="interval")


def many_images() -> Iterator[Figure]:
    yield Figure("bytes of memory per image", {"what": "growth"}, "bytes_per_image")
    yield Figure("100,000 images, seconds", {"images": 100_000}, "seconds")
    yield Figure("100,000 images, peak memory of all processes, MiB", {"images": 100_000}, "all_mib")


def embeddings() -> Iterator[Figure]:
    yield Figure("kNN, memory in GB", {"what": "memory of knn beside the embeddings"}, "gigabytes_at_a_million")
    yield Figure(
        "k-means, memory in GB",
        {"what": "memory of clusters beside the embeddings"},
        "gigabytes_at_a_million",
    )


def store() -> Iterator[Figure]:
    yield Figure("opening the store, ms", {"what": "open"}, "ms", ("≤", 50.0))
    yield Figure("reading the labels, ms", {"what": "labels"}, "ms", ("≤", 200.0))
    yield Figure("reading index.csv, ms", {"what": "index.csv"}, "ms")
