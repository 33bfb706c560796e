"""Floating-point format and device of the forward pass."""

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
    """A resolved precision: weights stay in float32, and the forward pass computes in `name`."""

    name: Literal["fp32", "bf16", "fp16"]
    device: torch.device

    def autocast(self) -> AbstractContextManager[object]:
        """Return the autocast context of a forward pass."""
        dtype = torch.float16 if self.name == "fp16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.name != "fp32")

    def scaler(self) -> torch.amp.GradScaler:
        """Return a scaler that keeps small fp16 gradients from vanishing; in other precisions it does nothing."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")


def best_device() -> torch.device:
    """Return this rank's CUDA device if there is one, or else the CPU."""
    return torch.device("cuda", ranks.local_number()) if torch.cuda.is_available() else torch.device("cpu")


def resolve_precision(choice: PrecisionName, device: torch.device) -> Precision:
    """Choose a fast precision for a device, or return the requested one and print a warning if it is slow.

    Args:
        choice: The requested precision; `auto`: bf16 if the hardware supports it, or else fp16 on CUDA and fp32 on a
            CPU.
        device: The device to train on.

    Raises:
        ConfigError: fp16 is requested without CUDA: a CPU has no fast fp16 and no need for its narrow range.
    """
    fast: Literal["bf16", "fp16", "fp32"] = "fp16" if device.type == "cuda" else "fp32"
    if _has_bf16(device):
        fast = "bf16"
    if choice == "auto":
        return Precision(fast, device)
    if choice == "fp16" and device.type != "cuda":
        raise ConfigError("pretrain.precision: fp16 needs CUDA, which is not available. Use auto, bf16 or fp32.")
    if choice == "bf16" and fast != "bf16":
        progress.say(
            f"pretrain.precision: bf16 is emulated on this {device.type.upper()}, so a step takes several times as "
            f"long as in fp32. Set pretrain.precision: auto, which means {fast} here."
        )
    return Precision(choice, device)


def _has_bf16(device: torch.device) -> bool:
    """Return whether the hardware supports bf16 natively; emulation would be slower than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    flags = torch.cpu.get_capabilities()
    return any(bool(flags.get(flag)) for flag in ("avx512_bf16", "amx_bf16", "bf16"))
