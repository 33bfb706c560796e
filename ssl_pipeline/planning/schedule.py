"""Plan the batch size, the learning rate and the number of epochs."""

import math

from ssl_pipeline.planning.machine import Machine, Speed

__all__ = ["FEWEST_STEPS", "batch_size", "epochs_within", "learning_rate", "micro_batch"]

STEPS_PER_EPOCH = 10
SMALLEST_BATCH = 4
"""Smallest number of images per step: with fewer, pretraining warns of too few negatives."""
FEWEST_STEPS = 3000
"""Number of steps below which smaller batches are better, because steps are scarce (docs/recipes.md)."""
LEAST_BATCH, GPU_LEAST_BATCH = 32, 128
MOST_BATCH, GPU_MOST_BATCH = 256, 512
SHARE_OF_MEMORY = 0.5
RATE, RATE_BATCH = 2e-3, 256
"""Peak learning rate of AdamW at a reference batch size; the rate grows with the square root of the batch size."""
MOST_EPOCHS = 800
"""Maximum number of epochs; on small sets of images, more passes brought no further gain."""


def batch_size(pool: int, seen: float, machine: Machine) -> int:
    """Return the number of images per step, a power of two.

    Args:
        pool: Number of images to pretrain on.
        seen: Total number of images seen in the run, counting repetitions.
        machine: Hardware to compute with.
    """
    least, most = (LEAST_BATCH, MOST_BATCH) if machine.device == "cpu" else (GPU_LEAST_BATCH, GPU_MOST_BATCH)
    enough = max(pool / STEPS_PER_EPOCH, min(SMALLEST_BATCH, pool))
    return _power_of_two(max(2, min(max(seen / FEWEST_STEPS, least), most, enough)))


def micro_batch(batch: int, speed: Speed, machine: Machine, processes: int) -> int | None:
    """Return the number of images that a process can encode at once, a power of two; None if its whole share fits.

    Args:
        batch: Number of images per step.
        speed: Speed and memory that a trial has measured.
        machine: Hardware to compute with.
        processes: Number of processes that share the step and the main memory.
    """
    memory = SHARE_OF_MEMORY * (machine.memory / processes if machine.device == "cpu" else machine.device_memory)
    fitting = memory / max(speed.step_bytes(1), 1)
    return None if fitting >= math.ceil(batch / processes) else _power_of_two(max(1, fitting))


def _power_of_two(number: float) -> int:
    """Return the largest power of two up to a number, at least 1."""
    return int(2 ** math.floor(math.log2(number)))


def learning_rate(batch: int) -> float:
    """Return the peak learning rate for a number of images per step, rounded to two digits."""
    return float(f"{RATE * math.sqrt(batch / RATE_BATCH):.2g}")


def epochs_within(seconds: float, pool: int, batch: int, speed: Speed) -> int:
    """Return the number of passes over the images that fit into a time in seconds, at least one."""
    images = pool // min(batch, pool) * min(batch, pool)
    return max(1, min(MOST_EPOCHS, int(seconds * speed.images_per_second / images)))
