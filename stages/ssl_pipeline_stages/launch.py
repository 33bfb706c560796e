"""Several processes for one stage, each on a device of its own: torch's launcher, with `pretrain.devices`."""

import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from ssl_pipeline import ranks
from ssl_pipeline.config import Config

__all__ = ["SHARED", "launch", "wanted"]

SHARED = {"pretrain"}
"""Stages whose work several processes share."""


def wanted(stage: str, config: Config) -> int:
    """Return how many processes are to be started for a stage; 1: none, as one is enough or they have been started."""
    if stage not in SHARED or ranks.count() > 1:
        return 1
    if config.pretrain.devices != "auto":
        return config.pretrain.devices
    import torch

    return max(1, torch.cuda.device_count())


def launch(stage: str, params: Path, count: int) -> int:
    """Run a stage as as many processes of this machine; return their exit status, 130 after Ctrl-C.

    Ctrl-C reaches all processes of a terminal, so that it is waited for here until they have saved a checkpoint.
    """
    command = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}", "-m", "ssl_pipeline", stage]
    interrupted = []
    with subprocess.Popen([sys.executable, *command, "--params", str(params)]) as launcher:

        def end(number: int, frame: FrameType | None) -> None:
            interrupted.append(number)
            if number == signal.SIGTERM:
                launcher.send_signal(number)

        before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            status = launcher.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    return 130 if interrupted else status
