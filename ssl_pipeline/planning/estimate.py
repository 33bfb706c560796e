"""Minutes and memory of each stage, before anything runs.

A stage costs the time of images that pass the network, in training or forwards, at the speed of a trial; of what grows
with the number of images but not with the network; and of what depends on neither: starting, writing graphs and proving
them. The constants of the latter two were measured on one core of a server's processor with bf16 (Xeon, AVX512), in
processor time of each stage of the digits and of clothing photographs at 32 px; other machines differ, mostly by a
constant factor. Fine-tuning trains as many models at a time as there are threads, up to four.
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

__all__ = ["FIXED", "StageEstimate", "Workload", "estimate", "pool_size", "relative_time", "workload_of"]

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
"""Seconds of a stage of which nothing depends on the images, on one core."""
FORWARDS = {"fp32": 3.0, "bf16": 2.5, "fp16": 1.5}
"""Forward passes, which are in fp32, that take as long as a network's step of training on one view, by precision.

Those of fp32 and bf16 were measured on a processor, that of fp16 was not measured."""
PROBE_SECONDS = 5e-6
"""Seconds that the probes of all strengths take for each labelled image and each dimension of pixels and colours."""
CLUSTER_SECONDS = 1.5e-3
"""Seconds that k-means and what is said of it takes for each image of the clusters."""
COLOURS = 512
"""Dimensions of a histogram of colours."""
MAP_SECONDS = 2.5e-3
"""Seconds that the map of the page takes for each of its images, of which there are at most 10,000."""
TWICE = 1.46
"""Time of a step whose images are encoded in parts, each of them twice, as a multiple of that of one pass."""
STEP_SECONDS = 1e-3
"""Seconds of a step of fine-tuning that do not depend on its images: the optimizer's."""
SHIPPING_SECONDS = 12.0
"""Seconds that it takes to write the classifier and to prove it, while other processes fine-tune."""
HELPER_SECONDS = 6.0
"""Seconds of a process that helps to fine-tune until it does: it is started after a while, and imports torch."""
ARMS = 3
CHOOSING = 2
LIBRARIES = 1.0e9
"""Bytes that a stage takes for its libraries."""


@dataclass(frozen=True)
class StageEstimate:
    """What a stage is expected to take.

    Attributes:
        stage: Its name.
        minutes: Time by the clock.
        memory: Main memory of all its processes, bytes.
        device_memory: Memory of the GPU, or of each of several, bytes; 0 without one.
        fitting: `pretrain.micro_batch` with which its steps would take half of the memory; None: they already
            do.
        processes: Number of processes that share it, each with a GPU of its own where there are GPUs.
    """

    stage: str
    minutes: float
    memory: int
    device_memory: int = 0
    fitting: int | None = None
    processes: int = 1


@dataclass(frozen=True)
class Workload:
    """What estimates depend on.

    Attributes:
        files: Number of images to decode.
        images_per_second: How fast they are decoded.
        pool: Number of images to pretrain on.
        labels: Split -> number of labelled images.
        classes: Number of classes.
        views: Number of views that pretraining encodes of each image.
        pixels: Number of different dimensions that pixels and colours have for a probe.
        view_bytes: What a view that fine-tuning learns from takes, bytes.
        speed: What a trial of pretraining has measured.
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


def pool_size(labelling: Labelling, usable: int, val_fraction: float, test_fraction: float) -> int:
    """Return how many images are left to pretrain on, of those that can be used.

    Args:
        labelling: What the source says of its images.
        usable: Number of images that are expected to be of use.
        val_fraction: Share of the training images that validation takes, unless the source says which.
        test_fraction: Share of the labelled images that the test takes, unless the source says which.
    """
    share, splits = usable / max(labelling.images, 1), labelling.splits
    test = splits["test"] if "test" in splits else test_fraction * labelling.labelled
    rest = labelling.images - test
    val = splits["val"] if "val" in splits else val_fraction * rest
    return max(2, round(share * (rest - val)))


def workload_of(config: Config, evidence: Evidence, views: int, view_side: int, speed: Speed) -> Workload:
    """Return what the settings ask for, of the images that the evidence is of.

    Args:
        config: The parameters.
        evidence: The fingerprint of the images.
        views: Number of views that pretraining encodes of each image.
        view_side: Side of a view that fine-tuning learns from, px.
        speed: What a trial of pretraining has measured.
    """
    section, labelling = config.ingest, evidence.labelling
    pool = pool_size(labelling, evidence.usable, section.val_fraction, section.test_fraction)
    labelled = labelling.labelled / max(labelling.images, 1)
    test = labelling.splits.get("test", round(section.test_fraction * labelling.labelled))
    labels = {
        "train": round(pool * labelled),
        "val": round(pool * labelled * section.val_fraction / (1 - section.val_fraction)),
        "test": test if labelling.labelled else 0,
    }
    bands = evidence.spec.channels
    pixels = min(section.canvas, 16) ** 2 * bands + COLOURS
    if evidence.grey == 1.0:  # its bands are equal, and its colours few
        pixels = min(section.canvas, 16) ** 2
    return Workload(
        files=labelling.images,
        images_per_second=evidence.images_per_second,
        pool=pool,
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
        config: The parameters.
        epochs: Number of passes over the images.
        batch_size: Number of images per step.
        work: What is to be done.
        machine: What it is done with.
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
        memory += pixels if stage != "ingest" else 0  # which processes share, as they are those of one file
        on_device = step if machine.device != "cpu" else 0
        fitting = micro_batch(batch, work.speed, machine, processes) if stage == "pretrain" else None
        found.append(StageEstimate(stage, (FIXED[stage] + time) / 60, int(memory), on_device, fitting, processes))
    return found


def relative_time(section: PretrainSection, batch: int, machine: Machine) -> float:
    """Return the time that a run takes, as a multiple of one on one device, of steps of full size and in one pass.

    GPUs are taken to share the work without waiting for each other; processes on a CPU share its cores, and save none.
    """
    processes = machine.processes(section.devices)
    in_parts = bool(section.micro_batch and section.micro_batch < ceil(batch / processes))
    devices = processes if machine.device != "cpu" else 1
    return relative_cost(section.resolution) * (TWICE if in_parts else 1.0) / devices


def _network(work: Workload) -> float:
    """Return how many views per second the network trains on, all threads together, their making left out."""
    return work.views * work.speed.images_per_second / (1 - work.speed.making)


def _linear_passes(config: Config, work: Workload) -> int:
    """Return how many images pass the network in linear_eval, each as often as it does."""
    known, test = work.labels["train"] + work.labels["val"], work.labels["test"]
    calibration, clusters = min(CALIBRATION_IMAGES, work.pool), min(config.linear_eval.clusters.images, work.pool)
    unlabelled = work.pool - work.labels["train"]
    alone = known + test + min(clusters, unlabelled) + clusters  # the exported file; last, over other views
    random = 2 * RANDOM_DRAWS * known + 2 * test + RANDOM_DRAWS * calibration
    layers = known
    return alone + random + layers


def _finetune_seconds(config: Config, work: Workload, machine: Machine) -> float:
    """Return what fine-tuning takes besides what depends on nothing: several processes share its models."""
    views, made, steps = _finetune_work(config, work)
    if not steps:
        return 0.0
    processes = 1
    if machine.device == "cpu":
        processes = min(machine.threads, MAX_PROCESSES, ARMS * len(config.finetune.budgets))
    # how fast each of them is, to all threads in one
    share = float((max(machine.threads // processes, 1) / machine.threads) ** work.speed.scaling)
    network = share * _network(work)
    making = work.speed.making / (share * work.views * work.speed.images_per_second)  # s for each view
    busy = SHIPPING_SECONDS + views / network + made * making + STEP_SECONDS * steps
    busy += _finetune_tests(config, work) / (FORWARDS[machine.precision] * network)
    return min(busy, (busy + HELPER_SECONDS * (processes - 1)) / processes)


def _models(config: Config, budget: int | str) -> int:
    """Models that fine-tuning trains at a budget, of all arms."""
    section = config.finetune
    choosing = 1 if budget == "all" else min(CHOOSING, section.draws)
    return ARMS * (section.draws + choosing * (len(section.learning_rates) - 1))


def _finetune_work(config: Config, work: Workload) -> tuple[int, int, int]:
    """Return how many views fine-tuning trains on, how many of them it makes, and how many steps it takes."""
    section, known = config.finetune, work.labels["train"]
    views = made = total = 0
    if not known or work.classes < 2:
        return views, made, total
    for budget in section.budgets:
        images = known if budget == "all" else min(known, int(budget) * work.classes)
        steps = max(section.steps, section.epochs * ceil(images / section.batch_size))
        of_a_model, models = steps * section.batch_size, _models(config, budget)  # full, also where images are fewer
        total += models * steps
        views += models * of_a_model
        kept = of_a_model * work.view_bytes <= MAX_KEPT_BYTES
        made += (section.draws if kept else models) * of_a_model
    return views, made, total


def _finetune_tests(config: Config, work: Workload) -> int:
    """Images that fine-tuning classifies: test images by every final model, probes' among them."""
    tested = (ARMS + 2) * config.finetune.draws * len(config.finetune.budgets) * work.labels["test"]
    return tested if work.labels["train"] and work.classes > 1 else 0
