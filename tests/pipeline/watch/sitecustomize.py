"""Log each attempt to reach a network and each image that is opened.

Python imports this module whenever it starts with this folder on PYTHONPATH.
"""

import os
import sys
from typing import Any

_LOG = os.environ["NETWORK_LOG"]
_EVENTS = {"socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"}


def _note(line: str) -> None:
    with open(_LOG, "a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and str(arguments[0]).endswith(".png") and arguments[1] in ("r", "rb", None):
        _note(f"opened {arguments[0]}")
    if event not in _EVENTS:
        return
    address = arguments[-1] if event in ("socket.connect", "socket.sendto") else arguments[0]
    if not (event == "socket.connect" and isinstance(address, str | bytes)):  # local addresses
        _note(f"{event} {address} by {' '.join(sys.argv)}")


_note(f"watching {' '.join(sys.orig_argv[1:])}")
sys.addaudithook(_watch)
