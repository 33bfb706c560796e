"""Hardware to compute with, and a trial that measures how fast it trains."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.config import PretrainConfig
from ssl_pipeline.data.image_spec import ImageSpec
from ssl_pipeline.data.store import Split
from ssl_pipeline.randomness import hash64
from ssl_pipeline.ranks import available_cores
from ssl_pipeline.recipes import Recipe
from ssl_pipeline.registry import Registry
from ssl_pipeline.training.batch_encoder import in_float32
from ssl_pipeline.training.batch_inputs import inputs
from ssl_pipeline.training.captions import encode_captions
from ssl_pipeline.training.memory_format import memory_format
from ssl_pipeline.training.optimization import build_optimizer
from ssl_pipeline.training.precision import best_device, resolve_precision
from ssl_pipeline.training.preparation import build
from ssl_pipeline.training.step_memory import free_memory, kept_for_backward, main_memory
from ssl_pipeline.training.targets import KeptTargets
from ssl_pipeline.types import Step
from ssl_pipeline.value_types import Devices

__all__ = ["Machine", "Speed", "look_around", "trial"]

FEW = 4
"""Number of images in the first steps of a trial, which determine how many the other steps can have."""
MOST = {"cpu": 256, "cuda": 1024}
"""Device -> maximum number of images per step of a trial. A GPU is fast only with many images, and a small network on a
CPU is faster with many."""
PATIENCE = 4.0
"""Multiple of a trial's time limit after which it ends, even if other programs took most of the time."""
TRANSIENT = 1.5
"""Peak memory of a training step as a multiple of the memory that it keeps for the backward pass."""


@dataclass(frozen=True)
class Machine:
    """Hardware to compute with.

    Attributes:
        cores: Number of cores that this process may use.
        memory: Main memory that this process may use, in bytes.
        device: Type of the device, cpu or cuda.
        name: Name of the GPU; "" without one.
        device_memory: Memory of the GPU, in bytes; 0 without one.
        precision: Precision that `pretrain.precision: auto` selects on this machine: bf16, fp16 or fp32.
        gpus: Number of GPUs, which are assumed to be alike.
        threads: Number of threads that share a step on the CPU.
    """

    cores: int
    memory: int
    device: str
    name: str
    device_memory: int
    precision: str
    gpus: int = 0
    threads: int = 1

    def processes(self, devices: Devices) -> int:
        """Return the number of processes that train together.

        Args:
            devices: Value of `pretrain.devices`.
        """
        return max(1, self.gpus) if devices == "auto" else devices


@dataclass(frozen=True)
class Speed:
    """Result of a trial.

    Attributes:
        images_per_second: Speed of training, in images per second, each with all its views.
        bytes_per_image: Memory that a training step keeps per image for the backward pass, in bytes.
        making: Share of the time spent on making views, in [0, 1); the rest is spent in the network.
        scaling: Exponent in [0, 1] with which speed grows with the number of threads; 0 if threads do not matter.
    """

    images_per_second: float
    bytes_per_image: float
    making: float = 0.0
    scaling: float = 1.0

    def step_bytes(self, images: int) -> int:
        """Return the peak memory of a training step over a number of images, in bytes."""
        return int(TRANSIENT * self.bytes_per_image * images)


def look_around() -> Machine:
    """Return the hardware of this machine."""
    device = best_device()
    name, device_memory = "", 0
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        name, device_memory = properties.name, properties.total_memory
    return Machine(
        cores=available_cores(),
        memory=main_memory(),
        device=device.type,
        name=name,
        device_memory=device_memory,
        precision=resolve_precision("auto", device).name,
        gpus=torch.cuda.device_count(),
        threads=torch.get_num_threads(),
    )


def trial(
    registry: Registry,
    recipe: Recipe,
    config: PretrainConfig,
    policies: Mapping[str, Policy],
    canvas: int,
    spec: ImageSpec,
    seconds: float,
) -> Speed:
    """Train on random images for a short time, with steps as in `ssl_pipeline.training.pretraining`.

    Args:
        registry: Registry of plugins.
        recipe: Resolved recipe.
        config: Parameters of pretraining.
        policies: Kind of view -> policy.
        canvas: Side of the stored images, in px.
        spec: Channels and type of the images.
        seconds: Time for the measured steps, in seconds; there are at least three steps.

    Raises:
        ConfigError: The parameters are incompatible; the message is that of pretrain.
    """
    floats = resolve_precision(config.precision, best_device())
    most = min(MOST[floats.device.type], config.batch_size)
    pool = _noise(canvas, spec, most)
    task = build(registry, recipe, config, pool, policies)
    tower = task.text_tower
    texts = None if tower is None else encode_captions(tower.needs, [(f"image {number}",) for number in range(most)])
    told = None
    if task.teaching is not None:
        told = KeptTargets(np.random.default_rng(0).standard_normal((most, task.teaching.dim), np.float32))
    order = memory_format(task, floats.device)
    task.to(floats.device, memory_format=order).train()  # type: ignore[call-overload]
    optimizer = build_optimizer(registry, config.optimizer, task)

    def synchronized() -> tuple[float, float]:
        if floats.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter(), time.process_time()

    def step(number: int, count: int) -> tuple[float, float]:
        began, worked = synchronized()
        ids = pool.ids[:count]
        images = torch.from_numpy(pool.images(np.arange(count))).to(floats.device)
        views = inputs(task, policies, images, ids, config.seed, number, spec, texts, np.arange(count), targets=told)
        made = synchronized()[0]
        moment = Step(number, 100, number, config.seed, torch.from_numpy(ids.view(np.int64)).to(floats.device))
        with floats.autocast():
            encoded = task(views)
        loss, _, kept = task.compare(in_float32(encoded), moment)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        task.after_step(moment, kept)
        ended, done = synchronized()
        # on an idle machine, some thread is always working; any additional time was spent waiting for other programs
        taken = ended - began if floats.device.type == "cuda" else min(ended - began, done - worked)
        return taken, (made - began) / (ended - began)

    count = min(FEW, most)
    with kept_for_backward(task) as kept:
        step(0, count)  # also the warm-up for later steps
    bytes_per_image = sum(kept) / count
    most = min(most, int(free_memory(floats.device) / 2 / max(bytes_per_image, 1)))
    began, number, (taken, making) = time.perf_counter(), 1, step(1, count)
    spent = taken
    while 4 * count <= most and spent + 4 * taken < seconds:
        count, number = 4 * count, number + 1
        taken, making = step(number, count)
        spent += taken
    while (spent + taken < seconds and time.perf_counter() - began < PATIENCE * seconds) or number < 3:
        number += 1
        latest = step(number, count)
        spent, (taken, making) = spent + latest[0], min((taken, making), latest)
    scaling = _scaling(step, number, count, taken) if floats.device.type == "cpu" else 1.0
    return Speed(count / taken, bytes_per_image, making, scaling)


def _scaling(step: Callable[[int, int], tuple[float, float]], number: int, count: int, taken: float) -> float:
    """Return the exponent with which speed grows with the number of threads, measured by steps in one thread.

    Args:
        step: Function that takes the number of a step and of its images, trains, and returns the time in seconds.
        number: Number of the last step.
        count: Number of images of the last step.
        taken: Time of such a step with all threads, in seconds.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        return 1.0
    few = max(min(FEW, count), count // max(1, threads // 4))  # keeps the step short with many threads, too
    torch.set_num_threads(1)
    try:
        alone = min(step(number + 1, few)[0], step(number + 2, few)[0]) / few
    finally:
        torch.set_num_threads(threads)
    return min(max(math.log(alone * count / taken) / math.log(threads), 0.0), 1.0)


def _noise(canvas: int, spec: ImageSpec, count: int) -> Split:
    """Return random images in the form of a split of a store."""
    shares = np.random.default_rng(0).random((count, canvas, canvas, spec.channels), np.float32)
    values = (spec.low + shares * (spec.high - spec.low)).astype(spec.numpy_dtype)
    ids = np.array([hash64(0, "trial", number) for number in range(count)], np.uint64)
    half, quarter = (0.5,) * spec.channels, (0.25,) * spec.channels
    return Split("train", canvas, np.sort(ids), half, quarter, "", (values,), spec=spec)
