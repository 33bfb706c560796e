"""What a training step keeps in memory, and how much of that is free."""

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
    """Return the main memory that this process may use, bytes: that of its container, where it has one."""
    memory = psutil.virtual_memory().total
    with suppress(OSError, ValueError):  # "max", or no such file
        memory = min(memory, int((_CGROUP / "memory.max").read_text()))
    return memory


def free_memory(device: torch.device) -> int:
    """Return the memory of a device that this process could still take, bytes.

    That of the CPU is main memory, of which each rank on this machine has its share.
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
    """Note the bytes of all that a forward pass keeps for the backward pass, but for weights."""
    seen = {parameter.untyped_storage().data_ptr() for parameter in task.parameters()}
    sizes: list[int] = []

    def note(kept: Tensor) -> Tensor:
        storage = kept.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            sizes.append(storage.nbytes())
        return kept.detach()  # not the tensor itself, which would hold the graph that holds it

    with torch.autograd.graph.saved_tensors_hooks(note, lambda kept: kept):
        yield sizes
