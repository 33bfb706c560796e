"""Estimate the time and memory of each stage before anything runs.

The time of a stage has three parts: passes of images through the network, in training or forward only, at the speed of
a trial; work that grows with the number of images but not with the network; and fixed work, such as starting, and
writing and proving graphs. The constants of the last two parts were measured on one core of a server processor with
bf16 (Xeon, AVX512), as processor time of each stage on the digits and on clothing photographs at 32 px. Other machines
differ, mostly by a constant factor. Fine-tuning trains as many models at a time as there are threads, up to four.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from ssl_pipeline.config import Config, PretrainSection
from ssl_pipeline.evaluation.budgets.contest import MAX_PROCESSES
from ssl_pipeline.evaluation.calibration import CALIBRATION_IMAGES
from ssl_pipeline.evaluation.linear.study import RANDOM_DRAWS
from ssl_pipeline.planning.evidence import Evidence, Labelling
from ssl_pipeline.planning.machine import Machine, Speed
from ssl_pipeline.planning.schedule import micro_batch
from ssl_pipeline.resolution import relative_cost
from ssl_pipeline.training.finetuning import MAX_KEPT_BYTES

__all__ = ["FIXED", "StageEstimate", "Workload", "estimate", "relative_time", "split_sizes", "workload_of"]

FIXED = {
    "ingest": 4.0,
    "augment": 9.0,
    "pretrain": 9.0,
    "export": 12.0,
    "curate": 3.0,
    "linear_eval": 5.0,
    "finetune": 5.0,
    "report": 3.0,
    "bundle": 2.0,
}
"""Fixed time of each stage, which does not depend on the images, in seconds on one core."""
FORWARDS = {"fp32": 3.0, "bf16": 2.5, "fp16": 1.5}
"""Precision of training -> number of forward passes in fp32 that take as long as a training step on one view.

The values of fp32 and bf16 were measured on a CPU; that of fp16 was not measured."""
PROBE_SECONDS = 5e-6
"""Time of the probes of all strengths per labelled image and per dimension of pixels and colours, in seconds."""
CLUSTER_SECONDS = 1.5e-3
"""Time of k-means and its evaluation per image of the clusters, in seconds."""
COLOURS = 512
"""Number of dimensions of a colour histogram."""
MAP_SECONDS = 2.5e-3
"""Time of the map on the page per image, of which there are at most 10,000, in seconds."""
TWICE = 1.46
"""Time of a step whose images are encoded in parts, and twice each, as a multiple of a step in one pass."""
STEP_SECONDS = 1e-3
"""Time of the optimizer in a step of fine-tuning, which does not depend on the images, in seconds."""
SHIPPING_SECONDS = 12.0
"""Time to write and prove the classifier, while other processes fine-tune, in seconds."""
HELPER_SECONDS = 6.0
"""Time until a helper process of fine-tuning begins to work, in seconds: it starts late, and imports torch."""
ARMS = 3
CHOOSING = 2
LIBRARIES = 1.0e9
"""Memory of the libraries of a stage, in bytes."""


@dataclass(frozen=True)
class StageEstimate:
    """Estimated time and memory of a stage.

    Attributes:
        stage: Name of the stage.
        minutes: Wall-clock time, in minutes.
        memory: Main memory of all processes of the stage, in bytes.
        device_memory: Memory on each GPU, in bytes; 0 without a GPU.
        fitting: Value of `pretrain.micro_batch` with which a step takes half of the memory; None if it takes no more
            than that already.
        processes: Number of processes that share the stage, each with its own GPU if there are GPUs.
    """

    stage: str
    minutes: float
    memory: int
    device_memory: int = 0
    fitting: int | None = None
    processes: int = 1


@dataclass(frozen=True)
class Workload:
    """Workload from which estimates are computed.

    Attributes:
        files: Number of images to decode.
        images_per_second: Decoding speed, in images per second.
        pool: Number of images to pretrain on.
        labels: Split -> number of labelled images.
        classes: Number of classes.
        views: Number of views per image that pretraining encodes.
        pixels: Number of distinct dimensions of pixels and colours in the baseline probes.
        view_bytes: Size of a view for fine-tuning, in bytes.
        speed: Speed of pretraining that a trial has measured.
    """

    files: int
    images_per_second: float
    pool: int
    labels: Mapping[str, int]
    classes: int
    views: int
    pixels: int
    view_bytes: int
    speed: Speed


def split_sizes(labelling: Labelling, usable: int, val_fraction: float, test_fraction: float) -> dict[str, float]:
    """Return the expected number of usable images in each split.

    Val is a share of the labelled training images, or of all training images if none of them has a label.

    Args:
        labelling: Labels, splits and groups that the source states.
        usable: Expected number of usable images.
        val_fraction: Share of the training images for validation, unless the source has such a split.
        test_fraction: Share of the labelled images for testing, unless the source has such a split.
    """
    share, splits = usable / max(labelling.images, 1), labelling.splits
    free = max(labelling.labelled - splits.get("val", 0), 0)
    test = splits["test"] if "test" in splits else test_fraction * free
    drawn_from = free if free > test else labelling.images
    val = splits["val"] if "val" in splits else val_fraction * (drawn_from - test)
    return {"train": share * (labelling.images - test - val), "val": share * val, "test": share * test}


def workload_of(config: Config, evidence: Evidence, views: int, view_side: int, speed: Speed) -> Workload:
    """Return the workload of settings on the images that the evidence describes.

    Args:
        config: Parameters of the run.
        evidence: Fingerprint of the images.
        views: Number of views per image that pretraining encodes.
        view_side: Side of a view for fine-tuning, in px.
        speed: Speed of pretraining that a trial has measured.
    """
    section, labelling = config.ingest, evidence.labelling
    sizes = split_sizes(labelling, evidence.usable, section.val_fraction, section.test_fraction)
    labels = {split: round(size) for split, size in sizes.items()} if labelling.labelled else dict.fromkeys(sizes, 0)
    unlabelled = evidence.usable * (1 - labelling.labelled / max(labelling.images, 1))
    labels["train"] = max(0, labels["train"] - round(unlabelled))
    bands = evidence.spec.channels
    pixels = min(section.canvas, 16) ** 2 * bands + COLOURS
    if evidence.grey == 1.0:  # bands are equal and colours few
        pixels = min(section.canvas, 16) ** 2
    return Workload(
        files=labelling.images,
        images_per_second=evidence.images_per_second,
        pool=max(2, round(sizes["train"])),
        labels=labels,
        classes=labelling.classes,
        views=views,
        pixels=pixels,
        view_bytes=4 * bands * view_side**2,
        speed=speed,
    )


def estimate(config: Config, epochs: int, batch_size: int, work: Workload, machine: Machine) -> list[StageEstimate]:
    """Estimate all stages that take time, in the order in which they run.

    Args:
        config: Parameters of the run.
        epochs: Number of passes over the images.
        batch_size: Number of images per step.
        work: Workload of the run.
        machine: Hardware to compute with.
    """
    batch = min(batch_size, work.pool)
    seen = epochs * (work.pool // batch) * batch
    forward = FORWARDS[machine.precision] * _network(work)
    seconds = {
        "ingest": work.files / work.images_per_second,
        "augment": 0.0,
        "pretrain": seen * relative_time(config.pretrain, batch, machine) / work.speed.images_per_second,
        "export": 0.0,
        "curate": work.files / forward,
        "linear_eval": _linear_passes(config, work) / forward
        + PROBE_SECONDS * work.pixels * sum(work.labels.values())
        + CLUSTER_SECONDS * min(config.linear_eval.clusters.images, work.pool),
        "finetune": _finetune_seconds(config, work, machine),
        "report": min(config.report.map_images, work.files) * (1 / forward + MAP_SECONDS),
        "bundle": 0.0,
    }
    together = machine.processes(config.pretrain.devices)
    share = ceil(batch / together)
    steps_of = {"pretrain": min(share, config.pretrain.micro_batch or share), "finetune": config.finetune.batch_size}
    pixels = work.pool * config.ingest.canvas**2 * 3
    found = []
    for stage, time in seconds.items():
        step, processes = work.speed.step_bytes(steps_of.get(stage, 0)), together if stage == "pretrain" else 1
        memory = processes * (LIBRARIES + (step if machine.device == "cpu" else 0))
        memory += pixels if stage != "ingest" else 0  # shared by all processes, which map the same file
        on_device = step if machine.device != "cpu" else 0
        fitting = micro_batch(batch, work.speed, machine, processes) if stage == "pretrain" else None
        found.append(StageEstimate(stage, (FIXED[stage] + time) / 60, int(memory), on_device, fitting, processes))
    return found


def relative_time(section: PretrainSection, batch: int, machine: Machine) -> float:
    """Return the time of a run as a multiple of its time on one device, at full size and with batches in one pass.

    GPUs are assumed to share the work without waiting for each other. Processes on a CPU share its cores, so they save
    no time.
    """
    processes = machine.processes(section.devices)
    in_parts = bool(section.micro_batch and section.micro_batch < ceil(batch / processes))
    devices = processes if machine.device != "cpu" else 1
    return relative_cost(section.resolution) * (TWICE if in_parts else 1.0) / devices


def _network(work: Workload) -> float:
    """Return how many views per second the network trains on with all threads, without the time to make views."""
    return work.views * work.speed.images_per_second / (1 - work.speed.making)


def _linear_passes(config: Config, work: Workload) -> int:
    """Return the number of forward passes of single images in linear_eval."""
    known, test = work.labels["train"] + work.labels["val"], work.labels["test"]
    calibration, clusters = min(CALIBRATION_IMAGES, work.pool), min(config.linear_eval.clusters.images, work.pool)
    unlabelled = work.pool - work.labels["train"]
    alone = known + test + min(clusters, unlabelled) + clusters  # by the exported file; last, other views
    random = 2 * RANDOM_DRAWS * known + 2 * test + RANDOM_DRAWS * calibration
    layers = known
    return alone + random + layers


def _finetune_seconds(config: Config, work: Workload, machine: Machine) -> float:
    """Return the time of fine-tuning without its fixed part; several processes share its models."""
    views, made, steps = _finetune_work(config, work)
    if not steps:
        return 0.0
    processes = 1
    if machine.device == "cpu":
        processes = min(machine.threads, MAX_PROCESSES, ARMS * len(config.finetune.budgets))
    # speed of each process, relative to one with all threads
    share = float((max(machine.threads // processes, 1) / machine.threads) ** work.speed.scaling)
    network = share * _network(work)
    making = work.speed.making / (share * work.views * work.speed.images_per_second)  # seconds per view
    busy = SHIPPING_SECONDS + views / network + made * making + STEP_SECONDS * steps
    busy += _finetune_tests(config, work) / (FORWARDS[machine.precision] * network)
    return min(busy, (busy + HELPER_SECONDS * (processes - 1)) / processes)


def _models(config: Config, budget: int | str) -> int:
    """Return the number of models that fine-tuning trains at a budget, in all arms."""
    section = config.finetune
    choosing = 1 if budget == "all" else min(CHOOSING, section.draws)
    return ARMS * (section.draws + choosing * (len(section.learning_rates) - 1))


def _finetune_work(config: Config, work: Workload) -> tuple[int, int, int]:
    """Return the number of views that fine-tuning trains on, the number that it makes, and the number of steps."""
    section, known = config.finetune, work.labels["train"]
    views = made = total = 0
    if not known or work.classes < 2:
        return views, made, total
    for budget in section.budgets:
        images = known if budget == "all" else min(known, int(budget) * work.classes)
        steps = max(section.steps, section.epochs * ceil(images / section.batch_size))
        of_a_model, models = steps * section.batch_size, _models(config, budget)  # batches are full
        total += models * steps
        views += models * of_a_model
        kept = of_a_model * work.view_bytes <= MAX_KEPT_BYTES
        made += (section.draws if kept else models) * of_a_model
    return views, made, total


def _finetune_tests(config: Config, work: Workload) -> int:
    """Return the number of images that fine-tuning classifies: test images, by every final model and probe."""
    tested = (ARMS + 2) * config.finetune.draws * len(config.finetune.budgets) * work.labels["test"]
    return tested if work.labels["train"] and work.classes > 1 else 0
