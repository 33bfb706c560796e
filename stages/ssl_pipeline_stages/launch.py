"""Start several processes for one stage, each on its own device, by torch's launcher (`pretrain.devices`)."""

import logging
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from ssl_pipeline import ranks
from ssl_pipeline.config import Config
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.remedies import again

__all__ = ["SHARED", "launch", "wanted"]

SHARED = {"ingest", "pretrain", "linear_eval"}
"""Stages whose work the processes of `torchrun` share. In other stages, the first process does all the work."""

_SHUTDOWN_SECONDS = 600
"""Time until processes that were asked to stop are killed; a step in many parts and its checkpoint may take so long."""


def wanted(stage: str, config: Config) -> int:
    """Return the number of processes to start for a stage; 1 if one is enough or the processes are already running.

    Raises:
        ConfigError: The machine has fewer GPUs than `pretrain.devices`.
    """
    if stage != "pretrain" or ranks.launched():
        return 1
    import torch

    found, devices = torch.cuda.device_count(), config.pretrain.devices
    if devices == "auto":
        return max(1, found)
    if found and devices > found:
        raise ConfigError(
            f"pretrain.devices: {devices} processes need a GPU each, but this machine has {found}. Set devices: auto "
            "to use them all."
        )
    return devices


def launch(stage: str, params: Path, count: int) -> int:
    """Run a stage in several processes on this machine; return the exit status of the first one that failed.

    A signal that asks this process to stop is passed on to them, and they have time to save a checkpoint.

    Args:
        stage: Name of the stage.
        params: Path of params.yaml.
        count: Number of processes.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in list(logging.root.manager.loggerDict):  # each logger has its own level
        if name.startswith("torch.distributed"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # errors are reported here or by a rank
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, ranks.available_cores() // count)))
    launcher = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        shutdown_timeout=_SHUTDOWN_SECONDS,
    )
    words = ["-m", "ssl_pipeline", stage, "--params", str(params)]
    try:
        elastic_launch(launcher, sys.executable)(*words)
    except ChildFailedError as error:
        rank, status = _first({rank: (failure.exitcode, failure.timestamp) for rank, failure in error.failures.items()})
        _tell(rank, count, status)
        return max(1, status)
    except SignalException as stop:
        return 130 if stop.sigval == signal.SIGINT else 128 + stop.sigval
    return 0


def _first(failures: Mapping[int, tuple[int, int]]) -> tuple[int, int]:
    """Return the rank that failed first, and its exit status; the launcher has stopped the others with SIGTERM.

    Args:
        failures: Rank -> exit status (negative for a signal) and time in whole seconds.
    """
    rank = min(failures, key=lambda rank: (failures[rank][0] == -signal.SIGTERM, failures[rank][1], failures[rank][0]))
    return rank, failures[rank][0]


def _tell(rank: int, count: int, status: int) -> None:
    """Report which rank has ended and why, unless the first rank has reported its error itself."""
    if status >= 0 and rank == 0:
        return
    why = f"ended with exit status {status}, for the reason given above"
    if status < 0:
        why = f"was ended by signal {signal.Signals(-status).name}"
        if status == -signal.SIGKILL:
            why += (
                ", which the system sends if memory has run out; in that case, lower pretrain.micro_batch or "
                "pretrain.devices"
            )
    click.echo(
        f"error: rank {rank} of {count} (counted from 0) {why}. The other ranks have been stopped. "
        f"{again()} to resume from the last checkpoint.",
        err=True,
    )
