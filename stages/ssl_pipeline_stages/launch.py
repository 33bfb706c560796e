"""Several processes for one stage, each on a device of its own: torch's launcher, with `pretrain.devices`."""

import logging
import os
import signal
import sys
from pathlib import Path

from ssl_pipeline import ranks
from ssl_pipeline.config import Config
from ssl_pipeline.data.parallel import available_cores
from ssl_pipeline.errors import ConfigError

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

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the first rank says what went wrong
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, available_cores() // count)))
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
        return max(1, error.failures.get(0, error.get_first_failure()[1]).exitcode)
    except SignalException as stop:
        return 130 if stop.sigval == signal.SIGINT else 128 + stop.sigval
    return 0
