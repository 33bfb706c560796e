"""Several processes for one stage, each on a device of its own: torch's launcher, with `pretrain.devices`."""

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
"""Stages whose work the processes of `torchrun` share. Of the others, the first process does all."""

_SHUTDOWN_SECONDS = 600
"""Until processes that were asked to stop are killed: a step in many parts, and its checkpoint, may take that long."""


def wanted(stage: str, config: Config) -> int:
    """Return how many processes are to be started for a stage; 1: none, as one is enough or they have been started.

    Raises:
        ConfigError: There are fewer GPUs than `pretrain.devices`.
    """
    if stage != "pretrain" or ranks.launched():
        return 1
    import torch

    found, devices = torch.cuda.device_count(), config.pretrain.devices
    if devices == "auto":
        return max(1, found)
    if found and devices > found:
        raise ConfigError(
            f"pretrain.devices: {devices} processes take a GPU each, and this machine has {found}. Write devices: "
            "auto for all of them."
        )
    return devices


def launch(stage: str, params: Path, count: int) -> int:
    """Run a stage in several processes on this machine; return the exit status of the first that failed.

    They are told to stop by whatever asks this process to, and have the time to save a checkpoint.

    Args:
        stage: The stage.
        params: The path of params.yaml.
        count: The number of processes.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in list(logging.root.manager.loggerDict):  # each has a level of its own
        if name.startswith("torch.distributed"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what went wrong is said here, or by a rank
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
    """Return the rank that failed first, and its exit status; the launcher has ended the others with SIGTERM.

    Args:
        failures: Rank -> exit status, negative for a signal, and time in whole seconds.
    """
    rank = min(failures, key=lambda rank: (failures[rank][0] == -signal.SIGTERM, failures[rank][1], failures[rank][0]))
    return rank, failures[rank][0]


def _tell(rank: int, count: int, status: int) -> None:
    """Say which rank has ended and why, but for what the first one has said itself."""
    if status >= 0 and rank == 0:
        return
    why = f"has ended with exit status {status}, for the reason that it gives above"
    if status < 0:
        why = f"was ended by signal {signal.Signals(-status).name}"
        if status == -signal.SIGKILL:
            why += (
                ", which systems send where memory has run out: if so, set pretrain.micro_batch lower, or "
                "pretrain.devices"
            )
    click.echo(
        f"error: rank {rank} of {count} (counted from 0) {why}. The others have been ended with it. "
        f"{again()} to go on from the last checkpoint.",
        err=True,
    )
