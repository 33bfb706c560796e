"""Threads over samples: each thread makes the views of different images."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

__all__ = ["for_each"]


def for_each(work: Callable[[slice], object], parts: Sequence[slice], threads: int) -> None:
    """Call a function with each part, in several threads at once, each of which runs torch's operations by itself.

    Operations on a few images are too short for torch to divide them among threads without loss.

    Args:
        work: Function that writes to nothing but its own part, and spends most of its time in torch's operations.
        parts: Parts to call it with.
        threads: Largest number of threads; 1: the calling thread does all the work.

    Raises:
        Exception: A call raised it; of several, it is the exception of the first part.
    """
    threads = min(threads, len(parts))
    if threads <= 1:
        for part in parts:
            work(part)
        return
    shared, inference = torch.get_num_threads(), torch.is_inference_mode_enabled()

    def call(part: slice) -> None:
        with torch.inference_mode(inference):  # each thread has a mode of its own
            work(part)

    try:
        with ThreadPoolExecutor(threads, "views", torch.set_num_threads, (1,)) as pool:
            list(pool.map(call, parts))
    finally:
        torch.set_num_threads(shared)  # a thread that sets its own number also sets that of threads to come
