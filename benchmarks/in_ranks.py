"""Several ranks on this machine without a launcher: forks of one process that has already imported everything."""

import multiprocessing
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ssl_pipeline.training.together import joined

__all__ = ["in_ranks"]


def in_ranks(count: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Run a function in each of several ranks, with one thread each; return the result of each rank.

    Args:
        count: Number of ranks.
        work: Function at the top level of a module, called with the ranks and the arguments. It must return what
            `torch.load` can read, such as tensors and numbers.
        arguments: Further arguments of the function, which must be picklable.

    Raises:
        RuntimeError: A rank has failed.
    """
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload([work.__module__])
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with tempfile.TemporaryDirectory() as scratch:
        paths = [Path(scratch) / f"{number}.pt" for number in range(count)]
        processes = [
            forks.Process(target=_rank, args=(number, count, port, path, work, arguments))
            for number, path in enumerate(paths)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        if any(process.exitcode for process in processes):
            raise RuntimeError(f"a rank has failed; exit codes: {[process.exitcode for process in processes]}")
        return [torch.load(path) for path in paths]


def _rank(number: int, count: int, port: int, path: Path, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.environ |= {"RANK": str(number), "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    with joined(torch.device("cpu")) as ranks:
        torch.save(work(ranks, *arguments), path)
