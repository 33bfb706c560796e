"""What a message says to do about files that are missing or damaged, and about a run that was stopped.

In a project of DVC it is a stage that makes them again; in a program that calls `ssl_pipeline` there are no stages.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["again", "make", "remake", "within_call"]

_CALL: ContextVar[tuple[str, str] | None] = ContextVar("_CALL", default=None)


@contextmanager
def within_call(go_on: str, start_over: str) -> Iterator[None]:
    """Have messages in a block say what a program does, in which no stage runs.

    Args:
        go_on: What continues a run, such as "Call pretrain again": the beginning of a sentence.
        start_over: What makes files that are missing or damaged: the end of one.
    """
    token = _CALL.set((go_on, start_over))
    try:
        yield
    finally:
        _CALL.reset(token)


def again() -> str:
    """Return what continues a run that was stopped: the beginning of a sentence."""
    call = _CALL.get()
    return call[0] if call else "Run `dvc repro` again"


def make(stage: str) -> str:
    """Return what makes files of a stage that are missing: the end of a sentence."""
    call = _CALL.get()
    return call[1] if call else f"the stage '{stage}' makes it. Run `dvc repro {stage}` first"


def remake(stage: str) -> str:
    """Return what makes files of a stage again that are damaged: the end of a sentence."""
    call = _CALL.get()
    return call[1] if call else f"run `dvc repro --force {stage}`"
