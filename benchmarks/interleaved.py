"""Ratios of the times of two functions that take turns in one process.

Whatever else runs on the machine slows down both. A round is ours, theirs, theirs, ours, so a steady drift, such as a
clock rate that falls as the machine warms up, affects both equally and does not change the ratio. With one thread, time
is the processor time of the process, over all of its threads; with more threads, it is wall-clock time.
"""

import os
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

__all__ = ["faster", "machine"]


def machine() -> dict[str, Any]:
    """Return the processor of the machine, the number of cores that this process may use, and the version of torch."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    capability = torch.backends.cpu.get_cpu_capability()
    return {
        "processor": (names or [platform.processor()])[0],
        "simd": capability,
        "cores": cores,
        "torch": torch.__version__,
    }


def faster(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    rounds: int = 9,
    clock: Callable[[], float] | None = None,
) -> dict[str, Any]:
    """Measure how many times as fast ours is as theirs, in ABBA rounds.

    Args:
        ours: Function to measure; it is called twice in each round, and once before the first round.
        theirs: Function to compare it with, called in the same way.
        rounds: Number of rounds, at least 1; with a single round, both quartiles are its ratio.
        clock: Clock, in seconds. None: the processor time of this process if torch has one thread, otherwise wall-clock
            time. Functions that start other processes need wall-clock time.

    Returns:
        The `median` and `quartiles` over the rounds of the ratio of times (theirs / ours), the number of `rounds`, and
        the best times `s` of both functions, s.
    """
    clock = clock or (time.process_time if torch.get_num_threads() == 1 else time.perf_counter)

    def seconds(run: Callable[[], object]) -> float:
        start = clock()
        run()
        return clock() - start

    ours()
    theirs()
    ratios, best = [], {"ours": float("inf"), "theirs": float("inf")}
    for _ in range(rounds):
        a, b, c, d = seconds(ours), seconds(theirs), seconds(theirs), seconds(ours)
        ratios.append((b + c) / (a + d))
        best = {"ours": min(best["ours"], a, d), "theirs": min(best["theirs"], b, c)}
    lower, median, upper = np.percentile(ratios, [25, 50, 75]).tolist()
    return {"median": round(median, 3), "quartiles": [round(lower, 3), round(upper, 3)], "rounds": rounds, "s": best}
