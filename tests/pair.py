"""A run of two ranks, as a launcher starts them: the first is the process of the test, the second one is started."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

__all__ = ["second_rank"]


@contextmanager
def second_rank(monkeypatch: pytest.MonkeyPatch, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Make this process the first of two ranks, and start `python WORDS` in the same folder as the second.

    Yields:
        The second one, which has ended when the block ends.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    both = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    environment = os.environ | both | {"RANK": "1", "LOCAL_RANK": "1"}
    second = subprocess.Popen([sys.executable, *words], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        with monkeypatch.context() as patch:
            for name, value in (both | {"RANK": "0", "LOCAL_RANK": "0"}).items():
                patch.setenv(name, value)
            yield second
            second.wait(60)
    finally:
        second.kill()
        second.communicate()
