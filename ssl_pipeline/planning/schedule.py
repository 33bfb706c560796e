"""How many images a step has, and how many times each is seen."""

import math

from ssl_pipeline.planning.machine import Machine, Speed

__all__ = ["FEWEST_STEPS", "batch_size", "epochs_within", "learning_rate"]

STEPS_PER_EPOCH = 10
FEWEST_STEPS = 3000
"""With fewer steps in all, small batches are better, as steps are what is short (docs/recipes.md)."""
LEAST_BATCH, GPU_LEAST_BATCH = 32, 128
MOST_BATCH, GPU_MOST_BATCH = 256, 512
SHARE_OF_MEMORY = 0.5
RATE, RATE_BATCH = 2e-3, 256
"""Peak learning rate of AdamW at a number of images per step; it goes with the root of that number."""
MOST_EPOCHS = 800
"""With more passes over the images, nothing more was learned of few of them."""


def batch_size(pool: int, seen: float, speed: Speed, machine: Machine) -> int:
    """Return how many images a step should have, a power of two.

    Args:
        pool: Number of images to pretrain on.
        seen: Number of images that are seen in all, each as often as it is seen.
        speed: What a trial has measured.
        machine: What there is to compute with.
    """
    on_cpu = machine.device == "cpu"
    least, most = (LEAST_BATCH, MOST_BATCH) if on_cpu else (GPU_LEAST_BATCH, GPU_MOST_BATCH)
    memory = (machine.memory if on_cpu else machine.device_memory) * SHARE_OF_MEMORY
    fits = memory / max(speed.step_bytes(1), 1)
    wanted = min(max(seen / FEWEST_STEPS, least), most, pool / STEPS_PER_EPOCH, fits)
    return int(2 ** math.floor(math.log2(max(wanted, 2))))


def learning_rate(batch: int) -> float:
    """Return a peak learning rate for a number of images per step, to two digits."""
    return float(f"{RATE * math.sqrt(batch / RATE_BATCH):.2g}")


def epochs_within(seconds: float, pool: int, batch: int, speed: Speed) -> int:
    """Return how many passes over the images fit into a time, at least one."""
    images = pool // min(batch, pool) * min(batch, pool)
    return max(1, min(MOST_EPOCHS, int(seconds * speed.images_per_second / images)))
