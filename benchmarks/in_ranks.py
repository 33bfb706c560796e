"""Several ranks on this machine, without a launcher: forks of one process that has imported everything."""

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
    """Run a function in each of some ranks, with one thread; return what each of them returns.

    Args:
        count: The number of ranks.
        work: A function of a module, which is given the ranks and the arguments. It returns tensors, numbers and what
            `torch.load` takes besides.
        arguments: Its arguments, which pickle takes.
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
            raise RuntimeError(f"ranks have failed: {[process.exitcode for process in processes]}")
        return [torch.load(path) for path in paths]


def _rank(number: int, count: int, port: int, path: Path, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.environ |= {"RANK": str(number), "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    with joined(torch.device("cpu")) as ranks:
        torch.save(work(ranks, *arguments), path)
