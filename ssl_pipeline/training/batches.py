"""Batches of a run: views and ids of a step's images, which on a GPU are made during the previous step."""

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
"""Types of device for which batches are made ahead. On a CPU, a step keeps all cores busy: making the next batch at the
same time slows it down by as much as the next step saves."""


class Place(NamedTuple):
    """The place of a batch in a run.

    Attributes:
        step: The number of the step, from 0.
        epoch: The number of the epoch, from 0.
        positions: Positions (N,) of the images in the pool.
    """

    step: int
    epoch: int
    positions: npt.NDArray[np.int64]


class Batch(NamedTuple):
    """The inputs made from a batch's images.

    Attributes:
        views: Views of each kind, (N, V, C, S, S), and the task's other inputs; empty if they are made per micro-batch.
        ids: Ids (N,) int64 of the images, on the device of the views.
        shown: Ids (N, V) int64 of the images that main views are made of; None: all views are of the sample's image.
    """

    views: Views
    ids: Tensor
    shown: Tensor | None = None


@contextmanager
def made_ahead(
    make: Callable[[Place], Batch], places: Iterable[Place], device: torch.device
) -> Iterator[Iterator[tuple[Place, Batch]]]:
    """Yield an iterator of batches; on a GPU, a thread makes each batch during the previous step.

    The thread ends with the block. It is never more than one batch ahead.

    Args:
        make: A function that makes the batch for a place and depends on nothing else. Its exceptions are raised when
            the batch is requested.
        places: The places of the batches, in order.
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
"""A function that returns a batch, ordered before the work that the caller's stream does next."""


def _one_ahead(
    thread: ThreadPoolExecutor, begin: Callable[[Place], Take], places: Iterable[Place]
) -> Iterator[tuple[Place, Batch]]:
    """Yield each batch after submitting the next one to the thread."""
    waiting: list[tuple[Place, Future[Take]]] = []
    for place in places:
        waiting.append((place, thread.submit(begin, place)))
        if len(waiting) > 1:
            first, made = waiting.pop(0)
            yield first, made.result()()
    for last, made in waiting:
        yield last, made.result()()


def _beside_steps(make: Callable[[Place], Batch], device: torch.device) -> Callable[[Place], Take]:
    """Return `make` on a separate stream, if the device has streams, so that it does not wait for the step."""
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
                tensor.record_stream(here)  # so that its memory is not reused before the step has finished
            return batch

        return take

    return begin


def on_device(values: npt.NDArray[np.generic], device: torch.device) -> Tensor:
    """Return an array as a tensor on a device; copies to a GPU use pinned memory and are asynchronous."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
