"""Goals of the benchmarks in `benchmarks.table`: which numbers of their lines, and why a goal is missed."""

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
            yield Figure(f"{size} px, to torchvision v2 per sample, {kind}", where, goal=("≥", torchvision[size]))
        yield Figure(f"{size} px, to kornia, batched", {**of, "reference": "kornia, batched"}, goal=("≥", 2.0))
        yield Figure(
            f"{size} px, to albumentationsX per sample, uint8",
            {**of, "reference": "albumentationsX per sample, uint8"},
            goal=("≥", albumentations[size]),
            missed=reasons.NO_ANTIALIASING,
        )


def tiles() -> Iterator[Figure]:
    for rows, bound in {512: 1.2, 2048: 0.6, 8192: 0.3}.items():
        where = {"what": "time, tiled to dense", "rows": rows}
        yield Figure(f"time of {rows} rows, tiled to dense", where, "ratio", ("≤", bound))
    slope = {"what": "memory, slope over rows"}
    yield Figure("power of the number of rows with which memory grows", slope, "slope", ("≤", 1.05))
    error = {"what": "error of the float32 gradient"}
    yield Figure("error of the tiled gradient, relative", error, "tiled")
    yield Figure("error of the dense gradient, relative", error, "dense")


def large_photographs() -> Iterator[Figure]:
    for side in (96, 224):
        for photograph in ("4000x3000", "1200x900"):
            of, large = {"photograph": photograph, "side": side}, photograph == "4000x3000"
            where = f"{photograph} to {side} px"
            yield Figure(
                f"{where}, images/s to those of Pillow and the graph", {**of, "what": "time"}, goal=("≥", 0.67)
            )
            # beside a small photograph, the maps of the network weigh more
            least: tuple[Literal["≤"], float] | None = ("≤", 2.0) if large else None
            yield Figure(f"{where}, bytes beside it per byte", {**of, "what": "memory"}, "ratio", least)


def lightly(side: int, goal: float) -> Iterator[Figure]:
    of = {"what": "images/s", "side": side}
    single = {**of, "precision": "fp32"}
    yield Figure("images/s in fp32", single, goal=("≥", goal), missed=reasons.NETWORK)
    yield Figure("the bound: images/s if all but the network cost nothing", single, "bound")
    yield Figure("the network's share of a step of ours", single, "bare_share")
    yield Figure("images/s of ours", single, "images_per_second.ours")
    yield Figure("images/s of lightly's", single, "images_per_second.theirs")
    yield Figure("images/s, ours in bf16", {**of, "precision": "auto"}, goal=("≥", 2.2))
    yield Figure("peak memory", {"what": "peak memory", "side": side}, "ratio", ("≤", 0.8), reasons.SAME_ACTIVATIONS)


def default_epoch() -> Iterator[Figure]:
    whole = {"what": "whole run, to bare steps"}
    yield Figure("the whole run, to its bare steps", whole, goal=("≤", 1.10), spread="all", missed=reasons.VIEWS)
    yield Figure("share of looks at the encoder", whole, "shares.looks", ("≤", 0.02))
    yield Figure("share of views", whole, "shares.views")
    yield Figure("share of checkpoints", whole, "shares.checkpoints")


def epoch() -> Iterator[Figure]:
    for side in (32, 96, 224):
        of = {"what": "whole run of a ResNet-18, to bare steps", "side": side}
        yield Figure(
            f"{side} px, the whole run, to its bare steps", of, goal=("≤", 1.05), missed=reasons.VIEWS_OF_PHOTOGRAPHS
        )
        yield Figure(f"{side} px, peak memory, to that of bare steps", of, "memory", ("≤", 1.05))


def ingest() -> Iterator[Figure]:
    missed_by = {
        "decode": reasons.ALL_PIXELS,
        "further": reasons.WAY_TO_THE_STORE,
        "stage": reasons.WAY_TO_THE_STORE,
    }
    names = {"decode": "decode", "further": "stage, per further file", "stage": "stage, small pile"}
    for side in (128, 500, 2000):
        for what, missed in missed_by.items():
            to_draft, to_full = (f"{what} against {loop}.median" for loop in ("draft", "full"))
            name = f"{names[what]}, photographs of {side} px"
            yield Figure(f"{name}, to draft", {"side": side}, to_draft, ("≥", 0.9), missed=missed)
            yield Figure(f"{name}, to a loop that decodes all pixels", {"side": side}, to_full)
        yield Figure(f"seconds that any pile takes, photographs of {side} px", {"side": side}, "fixed")


def race() -> Iterator[Figure]:
    for of in ("lightly, as documented", "lightly, our optimizer"):
        yield Figure(
            f"kNN after equal epochs, ours less {of}",
            {"what": f"kNN, ours less {of}"},
            "difference",
            ("≥", 0.0),
            missed="if the interval contains 0, three seeds do not tell the two apart.",
            spread="interval",
        )
    yield Figure("time to lightly's kNN, to lightly's", {"what": "time to lightly's kNN"}, "ratio", ("≤", 0.6))
    yield Figure("time of all epochs, to lightly's", {"what": "time of all epochs"}, "ratio")


def default_run() -> Iterator[Figure]:
    whole = {"what": "the default run"}
    yield Figure("seconds of all stages", whole, "seconds", ("≤", 90.0), reasons.LATER_STAGES)
    for stage in [name for name in STAGES if name != "inventory"]:
        yield Figure(f"seconds of {stage}", whole, f"stages.{stage}")
    yield Figure(
        "augment alone, seconds of processor time",
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
    yield Figure("the same with its graphs in the cache, seconds of processor time", again, "seconds")
    yield Figure("the same with its graphs in the cache, peak memory in MB", again, "megabytes")


def start_up() -> Iterator[Figure]:
    yield Figure("`--help`, to `python -c pass`", {"what": "--help / python -c pass"}, "ratio", ("≤", 10.0))
    repro = {"what": "dvc repro / dvc version"}
    yield Figure(
        "a `dvc repro` without work, to `dvc version`", repro, "ratio", ("≤", 1.5), missed=reasons.TWO_PROCESSES
    )
    floor = {"what": "floor: dvc repro / dvc version"}
    yield Figure("the same with an inventory that does nothing at all", floor, "ratio")


def evaluation() -> Iterator[Figure]:
    whole = {"what": "linear evaluation, to the sum of its passes"}
    yield Figure("time, to the sum of the passes", whole, "ratio", ("≤", 1.15), reasons.PROBES)


def resolution(side: int, goal: bool = True) -> Iterator[Figure]:
    where = {"side": side}
    name = f"speed-up at {side} px"
    asked: tuple[Literal["≥"], float] | None = ("≥", 0.9) if goal else None
    missed = reasons.SMALL_MAPS if side == 96 else ""  # the side that was profiled
    yield Figure(f"{name}, as a share of what areas predict", where, "ratio", asked, missed)
    yield Figure(name, where, "speed_up.median")
    yield Figure(f"what areas predict at {side} px", where, "predicted")


def micro_batches() -> Iterator[Figure]:
    for how in ("encoded twice", "kept where they fit"):
        where = {"what": f"time, micro-batches {how}, to one pass"}
        yield Figure(f"time, {how}", where, goal=("≤", 1.35), missed=reasons.ENCODED_TWICE)
    for heap, missed in (
        (
            "with gaps",
            reasons.GAPS,
        ),
        ("without gaps", reasons.WHOLE_BATCH),
    ):
        where = {"what": f"memory, slope over micro-batches, heap {heap}"}
        yield Figure(
            f"power of their number with which memory grows, heap {heap}",
            where,
            "slope",
            ("≤", 0.1),
            missed,
        )


def families() -> Iterator[Figure]:
    summary = {"what": "families"}
    which = "docs/forms.md says which family is not, and why."
    yield Figure("families whose file is equal to torch, of 23", summary, "equal", ("≥", 23), missed=which)
    yield Figure("families whose int8 variant can be written and run", summary, "int8", ("≥", 23), missed=which)
    yield Figure("families whose int8 variant passes the gate", summary, "int8_ships")


def runtimes() -> Iterator[Figure]:
    summary = {"what": "openvino"}
    yield Figure("graphs that OpenVINO does not run", summary, "not_run", ("≤", 0))
    yield Figure("largest difference from onnxruntime", summary, "largest_difference", ("≤", 1e-5))


def embed() -> Iterator[Figure]:
    of = {"images": 50_000}
    yield Figure("processor time, bare loop to embed", of, "processor_ratio")
    yield Figure("time on the clock, bare loop to embed", of, "ratio")
    yield Figure("MiB of the main process, 50,000 images", of, "embed.main_mib")
    yield Figure("MiB of the bare loop, 50,000 images", of, "bare.main_mib")
    yield Figure("bytes of memory per image", {"what": "growth"}, "bytes_per_image")


def serve() -> Iterator[Figure]:
    yield Figure(
        "images per second, eight clients to the loop", {"what": "speed"}, "images_per_second_to_bare", spread="span"
    )
    yield Figure("p95 of one client to the loop's", {"what": "speed"}, "p95_to_bare", spread="p95_span")
    yield Figure("answers of 5xx to 1,000 hostile uploads", {"what": "hostile"}, "failed", ("≤", 0))
    yield Figure("MiB that memory grew by over 9,000 requests", {"what": "memory"}, "grown_mib", ("≤", 16))


def drift() -> Iterator[Figure]:
    """The share of batches with an alarm: of the same kind within the error of 200 draws at 1%, of others many.

    The batches of `the same` share one reference, whose own chance is in all of them: they are allowed more.
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
    yield Figure("seconds for 100,000 images", {"images": 100_000}, "seconds")
    yield Figure("MiB of all processes for 100,000 images", {"images": 100_000}, "all_mib")


def embeddings() -> Iterator[Figure]:
    yield Figure("kNN, GB beside a million", {"what": "memory of knn beside the embeddings"}, "gigabytes_at_a_million")
    yield Figure(
        "k-means, GB beside a million",
        {"what": "memory of clusters beside the embeddings"},
        "gigabytes_at_a_million",
    )


def store() -> Iterator[Figure]:
    yield Figure("milliseconds to open it", {"what": "open"}, "ms", ("≤", 50.0))
    yield Figure("milliseconds to read its labels", {"what": "labels"}, "ms", ("≤", 200.0))
    yield Figure("milliseconds to read its index.csv", {"what": "index.csv"}, "ms")
