"""What a step is given: the views of its images, and their ids; on a GPU made while the step before it runs."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ssl_pipeline.types import Views

__all__ = ["Batch", "Place", "made_ahead", "on_device"]

HELPED = {"cuda"}
"""Kinds of devices beside which batches are made ahead. On a CPU a step keeps all cores busy: one is slowed by what is
made beside it as much as the next one is spared."""


class Place(NamedTuple):
    """Which batch of a run it is.

    Attributes:
        step: The number of the step, from 0.
        epoch: The number of the epoch, from 0.
        positions: (N,) the images' places in the pool.
    """

    step: int
    epoch: int
    positions: npt.NDArray[np.int64]


class Batch(NamedTuple):
    """What is made of a batch's images.

    Attributes:
        views: Kind of view -> (N, V, C, S, S), and the task's random numbers.
        ids: (N,) int64, the ids of the images, on the device of the views.
        shown: (N, V) int64, the ids of the images that the main views are of; None: all are of the sample's own.
    """

    views: Views
    ids: Tensor
    shown: Tensor | None = None


@contextmanager
def made_ahead(
    make: Callable[[Place], Batch], places: Iterable[Place], device: torch.device
) -> Iterator[Iterator[tuple[Place, Batch]]]:
    """Yield an iterator of batches, each of which is made in a thread while the step before it runs, where that helps.

    The thread has ended when the block has. At most one batch lies ready.

    Args:
        make: A function that makes a batch, of its place alone. What it raises is raised where the batch is asked for.
        places: The places of the batches, in their order.
        device: The device on which steps compute.
    """
    if device.type not in HELPED:
        yield ((place, make(place)) for place in places)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        try:
            yield _one_ahead(thread, _beside_steps(make, device), places)
        finally:
            thread.shutdown(cancel_futures=True)


Take = Callable[[], Batch]
"""Returns a batch to whoever computes with it, in the order of that device's work."""


def _one_ahead(
    thread: ThreadPoolExecutor, begin: Callable[[Place], Take], places: Iterable[Place]
) -> Iterator[tuple[Place, Batch]]:
    """Yield each batch once the thread has been given the next one to make."""
    waiting: list[tuple[Place, Future[Take]]] = []
    for place in places:
        waiting.append((place, thread.submit(begin, place)))
        if len(waiting) > 1:
            first, made = waiting.pop(0)
            yield first, made.result()()
    for last, made in waiting:
        yield last, made.result()()


def _beside_steps(make: Callable[[Place], Batch], device: torch.device) -> Callable[[Place], Take]:
    """Return `make` with a stream of its own, where the device has streams, so that it does not wait for the step."""
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def begin(place: Place) -> Take:
        with torch.cuda.stream(stream):  # None: nothing changes
            batch = make(place)
            ready = stream.record_event() if stream else None

        def take() -> Batch:
            if ready is None:
                return batch
            here = torch.cuda.current_stream(device)
            here.wait_event(ready)
            for tensor in (*batch.views.values(), batch.ids, *([] if batch.shown is None else [batch.shown])):
                tensor.record_stream(here)  # its memory is not given away before the step is done with it
            return batch

        return take

    return begin


def on_device(values: npt.NDArray[np.generic], device: torch.device) -> Tensor:
    """Return an array as a tensor on a device; a GPU copies it from pinned memory, and is not waited for."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
