"""Latency of exported files compared with the network in torch, measured in turns on one CPU thread."""

import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ssl_pipeline.data.image_spec import Pixels
from ssl_pipeline.deployment.from_pixels import FromPixels
from ssl_pipeline.deployment.runtime import open_session, run

__all__ = ["BATCHES", "TORCH", "Latency", "time_files"]

TORCH = "torch"
BATCHES = (1, 32)
"""Batch sizes that are timed."""
Latency = dict[str, dict[str, float]]
"""Batch size -> `milliseconds` for the whole batch, and its ratio to torch's time, `of_torch`."""

_ROUNDS, _FEWEST_ROUNDS = 15, 3
_SECONDS = 0.5
"""Time in s after which no further round begins, for each batch size."""


def time_files(files: Mapping[str, Path], network: FromPixels, images: Pixels) -> dict[str, Latency]:
    """Measure the latency of exported files and of the network in torch.

    Args:
        files: Name -> path of an exported file.
        network: Network that they were exported from; it is moved to the CPU and into eval mode.
        images: Images (n, H, W, C), at least one.

    Returns:
        For each name, and for `TORCH`, the medians over some rounds. Each round runs forwards and backwards through the
        files, so that a drift affects all alike. The time is that of this process; other processes do not count.
    """
    sessions = {name: open_session(path, threads=1, provider="cpu") for name, path in files.items()}
    network.cpu().eval()
    found: dict[str, Latency] = {name: {} for name in (*files, TORCH)}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for size in BATCHES:
            batch = images[np.arange(size) % len(images)]
            calls: dict[str, Callable[[], object]] = {name: partial(run, one, batch) for name, one in sessions.items()}
            calls[TORCH] = partial(_eagerly, network, batch)
            rounds = _in_turns(calls)
            for name, seconds in rounds.items():
                ratios = [ours / theirs for ours, theirs in zip(seconds, rounds[TORCH], strict=True)]
                milliseconds = 1000 * statistics.median(seconds)
                found[name][str(size)] = {"milliseconds": milliseconds, "of_torch": statistics.median(ratios)}
    finally:
        torch.set_num_threads(threads)
    return found


def _eagerly(network: FromPixels, batch: Pixels) -> None:
    with torch.inference_mode():
        network(torch.from_numpy(batch))


def _in_turns(calls: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Return the time of each call in each round, in s."""
    for call in calls.values():
        call()
    rounds: dict[str, list[float]] = {name: [] for name in calls}
    began = time.process_time()
    for number in range(_ROUNDS):
        if number >= _FEWEST_ROUNDS and time.process_time() - began > _SECONDS:
            break
        taken = dict.fromkeys(calls, 0.0)
        for name in (*calls, *reversed(list(calls))):
            start = time.process_time()
            calls[name]()
            taken[name] += (time.process_time() - start) / 2
        for name, seconds in taken.items():
            rounds[name].append(seconds)
    return rounds
