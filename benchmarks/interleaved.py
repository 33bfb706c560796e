"""Ratios of two things that take turns in one process, as JSON lines.

Whatever else the machine does slows down both. A round is ours, theirs, theirs, ours: what drifts steadily (a clock
that slows as the machine warms up) adds equally to both and leaves the ratio. Time is the process's own, all of its
threads added up, where one thread is compared with one; with more threads it is time on the clock.
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
    """Name the machine: its processor, how many cores this process may use, and the version of torch."""
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
    """Measure how many times as fast ours is: the median of rounds of ABBA, and the quartiles.

    Args:
        ours: What is measured; it is called twice in each round, and once before.
        theirs: What it is compared with, called in the same way.
        rounds: The number of rounds, at least 1; the quartiles of a single one are its ratio.
        clock: The clock, in seconds; None: the process's own time in one thread, time on the clock in more. Work of
            other processes needs time on the clock.

    Returns:
        The ratio of the times (theirs / ours): its `median` and `quartiles` over the rounds, and the best times of
        either, s.
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
