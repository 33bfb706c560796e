"""A run of two ranks, as a launcher starts them: one is the process of the test, the other a child process."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

__all__ = ["second_rank"]


@contextmanager
def second_rank(monkeypatch: pytest.MonkeyPatch, *words: str, number: int = 1) -> Iterator[subprocess.Popen[str]]:
    """Make this process one of two ranks, and start `python WORDS` in the same folder as the other rank.

    Args:
        monkeypatch: Fixture that sets the environment of this process.
        words: Words after `python`.
        number: Number of the rank that is started: 0, which holds the rendezvous store of the run, or 1.

    Yields:
        The process of the other rank, which has ended when the block ends.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    both = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    environment = os.environ | both | {"RANK": str(number), "LOCAL_RANK": str(number)}
    second = subprocess.Popen([sys.executable, *words], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        with monkeypatch.context() as patch:
            for name, value in (both | {"RANK": str(1 - number), "LOCAL_RANK": str(1 - number)}).items():
                patch.setenv(name, value)
            yield second
            second.wait(60)
    finally:
        second.kill()
        second.communicate()
