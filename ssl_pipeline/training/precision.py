"""In which floating-point format the forward pass computes, and on which device."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch

from ssl_pipeline import progress, ranks
from ssl_pipeline.errors import ConfigError

__all__ = ["Precision", "best_device", "resolve_precision"]

PrecisionName = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class Precision:
    """A resolved precision: weights stay in float32, the forward pass runs in `name`."""

    name: Literal["fp32", "bf16", "fp16"]
    device: torch.device

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context of a forward pass."""
        dtype = torch.float16 if self.name == "fp16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.name != "fp32")

    def scaler(self) -> torch.amp.GradScaler:
        """Return a scaler that keeps small fp16 gradients from vanishing; with another precision it does nothing."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")


def best_device() -> torch.device:
    """Return CUDA where there is one, each rank its own device of it, the CPU elsewhere."""
    return torch.device("cuda", ranks.local_number()) if torch.cuda.is_available() else torch.device("cpu")


def resolve_precision(choice: PrecisionName, device: torch.device) -> Precision:
    """Choose a precision that the device is fast in, or take the one that is asked for; say so where that is slow.

    Args:
        choice: `auto`: bf16 where the hardware has it, else fp16 on CUDA and fp32 on a CPU.
        device: The device on which training runs.

    Raises:
        ConfigError: fp16 is asked for where there is no CUDA: a CPU has no fast fp16, and no need for its narrow range.
    """
    fast: Literal["bf16", "fp16", "fp32"] = "fp16" if device.type == "cuda" else "fp32"
    if _has_bf16(device):
        fast = "bf16"
    if choice == "auto":
        return Precision(fast, device)
    if choice == "fp16" and device.type != "cuda":
        raise ConfigError("pretrain.precision: fp16 needs CUDA, and there is none here; use auto, bf16 or fp32.")
    if choice == "bf16" and fast != "bf16":
        progress.say(
            f"pretrain.precision is bf16, which this {device.type.upper()} does not compute in itself: a step takes "
            f"several times as long as in fp32. Set pretrain.precision: auto, which is {fast} here."
        )
    return Precision(choice, device)


def _has_bf16(device: torch.device) -> bool:
    """Say whether the hardware multiplies bf16 itself; emulation would be slower than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    flags = torch.cpu.get_capabilities()
    return any(bool(flags.get(flag)) for flag in ("avx512_bf16", "amx_bf16", "bf16"))
