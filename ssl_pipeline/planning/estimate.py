"""Minutes and memory of each stage, before anything runs.

A stage costs the time of images that pass the network, in training or forwards, at the speed of a trial; of what grows
with the number of images but not with the network; and of what depends on neither: starting, writing graphs and proving
them. The constants of the latter two were measured on one core of a server's processor with bf16, `dvc repro` of the
digits and of clothing photographs; other machines differ, mostly by a constant factor.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from ssl_pipeline.config import Config, PretrainSection
from ssl_pipeline.planning.evidence import Evidence, Labelling
from ssl_pipeline.planning.machine import Machine, Speed
from ssl_pipeline.planning.schedule import micro_batch
from ssl_pipeline.resolution import relative_cost

__all__ = ["FIXED", "StageEstimate", "Workload", "estimate", "pool_size", "relative_time", "workload_of"]

FIXED = {
    "ingest": 4.0,
    "augment": 9.0,
    "pretrain": 9.0,
    "export": 12.0,
    "curate": 3.0,
    "linear_eval": 5.0,
    "finetune": 9.0,
    "report": 3.0,
}
"""Seconds of a stage of which nothing depends on the images, on one core."""
FORWARDS = {"fp32": 3.0, "bf16": 1.5, "fp16": 1.5}
"""Forward passes, which are in fp32, that take as long as a network's step of training on one view, by precision."""
LABELLED_PASSES = 9
"""Times that linear_eval embeds each labelled image: the encoder, all layers, six random ones, and batch norms' own."""
PROBE_SECONDS = 1.5e-3
"""Seconds that the probes take for each labelled image: features, pixels, colours and layers, of all strengths."""
MAP_SECONDS = 2.5e-3
"""Seconds that the map of the page takes for each of its images, of which there are at most 10,000."""
TWICE = 1.35
"""Time of a step whose images are encoded in parts, as a multiple of that of one pass, at most."""
STEP_SECONDS = 2e-3
"""Seconds of a step of fine-tuning that do not depend on its images: the optimizer's."""
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
        speed: What a trial of pretraining has measured.
    """

    files: int
    images_per_second: float
    pool: int
    labels: Mapping[str, int]
    classes: int
    views: int
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


def workload_of(config: Config, evidence: Evidence, views: int, speed: Speed) -> Workload:
    """Return what the settings ask for, of the images that the evidence is of."""
    section, labelling = config.ingest, evidence.labelling
    pool = pool_size(labelling, evidence.usable, section.val_fraction, section.test_fraction)
    labelled = labelling.labelled / max(labelling.images, 1)
    test = labelling.splits.get("test", round(section.test_fraction * labelling.labelled))
    labels = {
        "train": round(pool * labelled),
        "val": round(pool * labelled * section.val_fraction / (1 - section.val_fraction)),
        "test": test if labelling.labelled else 0,
    }
    return Workload(labelling.images, evidence.images_per_second, pool, labels, labelling.classes, views, speed)


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
    training = work.views * work.speed.images_per_second  # views per second
    network = training / (1 - work.speed.making)  # fine-tuning makes its views once for all arms
    forward = FORWARDS[machine.precision] * network
    labelled = sum(work.labels.values())
    views, steps = _finetune_work(config, work)
    seconds = {
        "ingest": work.files / work.images_per_second,
        "augment": 0.0,
        "pretrain": seen * relative_time(config.pretrain, batch, machine) / work.speed.images_per_second,
        "export": 0.0,
        "curate": work.files / forward,
        "linear_eval": (LABELLED_PASSES * labelled + 4 * min(config.linear_eval.clusters.images, work.pool)) / forward
        + PROBE_SECONDS * labelled,
        "finetune": views / network + STEP_SECONDS * steps + _finetune_tests(config, work) / forward,
        "report": min(config.report.map_images, work.files) * (1 / forward + MAP_SECONDS),
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


def _models(config: Config, budget: int | str) -> int:
    """Models that fine-tuning trains at a budget, of all arms."""
    section = config.finetune
    choosing = 1 if budget == "all" else min(CHOOSING, section.draws)
    return ARMS * (section.draws + choosing * (len(section.learning_rates) - 1))


def _finetune_work(config: Config, work: Workload) -> tuple[int, int]:
    """Return how many images fine-tuning trains on, as often as it does, and how many steps it takes."""
    section, known = config.finetune, work.labels["train"]
    views = total = 0
    if not known or work.classes < 2:
        return views, total
    for budget in section.budgets:
        images = known if budget == "all" else min(known, int(budget) * work.classes)
        steps = max(section.steps, section.epochs * ceil(images / section.batch_size))
        total += _models(config, budget) * steps
        views += _models(config, budget) * steps * section.batch_size  # also where images are fewer
    return views, total


def _finetune_tests(config: Config, work: Workload) -> int:
    """Images that fine-tuning classifies: test images by every final model, probes' among them."""
    tested = (ARMS + 2) * config.finetune.draws * len(config.finetune.budgets) * work.labels["test"]
    return tested if work.labels["train"] and work.classes > 1 else 0
