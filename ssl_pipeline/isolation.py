"""Import third-party code so that it leaves no global state changed and only the user can interrupt it."""

import contextlib
import os
import pickle
import random
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import numpy as np
import torch

__all__ = ["Visit", "isolated"]


@dataclass
class Visit:
    """Record of what happened while third-party code ran.

    Attributes:
        interrupted: Whether the user asked to stop (Ctrl-C), as opposed to code that raises KeyboardInterrupt itself.
        changed: Names of the global states that the code changed. They have been restored.
    """

    interrupted: bool = False
    changed: list[str] = field(default_factory=list)


_SHARED_STATES: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "torch's default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "torch's default device": (
        lambda: str(torch.get_default_device()),
        lambda device: torch.set_default_device(None if device == "cpu" else device),
    ),
    "torch's threads": (torch.get_num_threads, torch.set_num_threads),
    "torch's random numbers": (
        lambda: torch.get_rng_state().numpy().tobytes(),
        lambda state: torch.set_rng_state(torch.frombuffer(bytearray(state), dtype=torch.uint8)),
    ),
    "torch's gradients": (torch.is_grad_enabled, torch.set_grad_enabled),
    "torch's deterministic algorithms": (
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    "torch's precision of products": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "Python's random numbers": (random.getstate, random.setstate),
    "numpy's random numbers": (np.random.get_state, np.random.set_state),
    "the working folder": (os.getcwd, os.chdir),
}
"""Name of a global state of the process -> functions that read and set it."""


@contextlib.contextmanager
def isolated() -> Iterator[Visit]:
    """Run a block, then restore the global states that it changed; yield a record of what happened."""
    visit = Visit()
    before = {name: read() for name, (read, _) in _SHARED_STATES.items()}
    try:
        with _noting_interrupts(visit):
            yield visit
    finally:
        for name, (read, write) in _SHARED_STATES.items():
            if pickle.dumps(read()) != pickle.dumps(before[name]):
                write(before[name])
                visit.changed.append(name)


@contextlib.contextmanager
def _noting_interrupts(visit: Visit) -> Iterator[None]:
    """Note Ctrl-C without changing its effect, and undo a change of its handler by the block."""
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(usual):
        yield  # Ctrl-C raises nothing here
        return

    def note(number: int, frame: FrameType | None) -> None:
        visit.interrupted = True
        usual(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
