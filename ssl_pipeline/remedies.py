"""Instructions in messages about missing or damaged files, and about a run that was stopped.

In a DVC project, a stage makes such files again. A program that calls `ssl_pipeline` has no stages.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["again", "make", "remake", "within_call"]

_CALL: ContextVar[tuple[str, str] | None] = ContextVar("_CALL", default=None)


@contextmanager
def within_call(go_on: str, start_over: str) -> Iterator[None]:
    """Let messages inside the block give instructions for a program, in which no stage runs.

    Args:
        go_on: Instruction to resume a run, as the beginning of a sentence, such as "Call pretrain again".
        start_over: Instruction to make missing or damaged files, as the end of a sentence.
    """
    token = _CALL.set((go_on, start_over))
    try:
        yield
    finally:
        _CALL.reset(token)


def again() -> str:
    """Return the instruction to resume a run that was stopped, as the beginning of a sentence."""
    call = _CALL.get()
    return call[0] if call else "Run `dvc repro` again"


def make(stage: str) -> str:
    """Return the instruction to make missing files of a stage, as the end of a sentence."""
    call = _CALL.get()
    return call[1] if call else f"the stage '{stage}' makes it. Run `dvc repro {stage}` first"


def remake(stage: str) -> str:
    """Return the instruction to remake damaged files of a stage, as the end of a sentence."""
    call = _CALL.get()
    return call[1] if call else f"run `dvc repro --force {stage}`"
