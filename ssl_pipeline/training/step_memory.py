"""Memory that a training step needs, and memory that is free."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

from ssl_pipeline import ranks

__all__ = ["free_memory", "kept_for_backward", "main_memory"]

_CGROUP = Path("/sys/fs/cgroup")


def main_memory() -> int:
    """Return the main memory in bytes that this process may use, within the limit of its container, if any."""
    memory = psutil.virtual_memory().total
    with suppress(OSError, ValueError):  # "max", or no such file
        memory = min(memory, int((_CGROUP / "memory.max").read_text()))
    return memory


def free_memory(device: torch.device) -> int:
    """Return the memory of a device in bytes that this process could still allocate.

    For the CPU, this is an equal share of the free main memory for each rank on this machine.
    """
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + cached
    free = psutil.virtual_memory().available
    with suppress(OSError, ValueError):
        taken = int((_CGROUP / "memory.current").read_text())
        free = min(free, int((_CGROUP / "memory.max").read_text()) - taken)
    return max(free, 0) // ranks.local_count()


@contextmanager
def kept_for_backward(task: nn.Module) -> Iterator[list[int]]:
    """Record the size in bytes of each tensor that a forward pass stores for the backward pass, except weights."""
    seen = {parameter.untyped_storage().data_ptr() for parameter in task.parameters()}
    sizes: list[int] = []

    def note(kept: Tensor) -> Tensor:
        storage = kept.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            sizes.append(storage.nbytes())
        return kept.detach()  # the tensor itself would form a cycle with its graph

    with torch.autograd.graph.saved_tensors_hooks(note, lambda kept: kept):
        yield sizes
