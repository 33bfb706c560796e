"""Choosing the execution provider of onnxruntime; by itself, onnxruntime falls back to another one silently.

Imports no torch.
"""

import contextlib
import ctypes
import functools
import json
from pathlib import Path
from typing import Any, Literal, get_args

import onnxruntime

from ssl_pipeline import ranks
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.progress import say
from ssl_pipeline.terminal import brief, shown

__all__ = ["PROVIDERS", "Provider", "check_used", "cuda_devices", "wanted"]

Provider = Literal["auto", "cpu", "cuda", "openvino"]
"""Choice of the user; auto takes CUDA if it works, otherwise the CPU."""
PROVIDERS: tuple[Provider, ...] = get_args(Provider)

_NAMES = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "openvino": "OpenVINOExecutionProvider"}
_WHEELS = {"cuda": "onnxruntime-gpu", "openvino": "onnxruntime-openvino"}
"""Provider -> the wheel that contains it. All wheels share the folder `onnxruntime`, so only one can be installed."""

Wanted = list[str | tuple[str, dict[str, str]]]


def wanted(provider: Provider = "auto", threads: int | None = None) -> Wanted:
    """Return the execution providers to request from onnxruntime, with their options; the CPU always comes last.

    Args:
        provider: Choice of the user.
        threads: Number of CPU threads within an operator; None leaves the choice to the provider.

    Raises:
        PipelineError: This installation or this machine lacks the provider; the message says what to install.
        ValueError: The provider is unknown.
    """
    if provider not in PROVIDERS:
        raise ValueError(f"provider must be one of {', '.join(PROVIDERS)}, got {shown(repr(provider), 50)}")
    built = onnxruntime.get_available_providers()
    if provider == "auto":
        provider = "cuda" if _NAMES["cuda"] in built and cuda_devices() > 0 else "cpu"
        return [_with_options(provider, threads), _NAMES["cpu"]] if provider == "cuda" else [_NAMES["cpu"]]
    if provider == "cpu":
        return [_NAMES["cpu"]]
    if _NAMES[provider] not in built:
        raise PipelineError(
            f"provider: {provider} is not available: the installed onnxruntime {onnxruntime.__version__} has only "
            f"{', '.join(name.removesuffix('ExecutionProvider') for name in built)}. Uninstall `onnxruntime` and its "
            f"other wheels, which share one folder, then `pip install {_WHEELS[provider]}`; or choose cpu."
        )
    if provider == "cuda" and cuda_devices() == 0:
        raise PipelineError(
            "provider: cuda is not available: the driver finds no CUDA device. `nvidia-smi` should list one; start "
            "containers with `docker run --gpus all`. Or choose cpu."
        )
    return [_with_options(provider, threads), _NAMES["cpu"]]


def check_used(used: str, asked: Wanted, provider: Provider) -> None:
    """Detect a fallback of onnxruntime: raise an error if the user has chosen a provider, otherwise print a warning.

    Args:
        used: First entry of `session.get_providers()`.
        asked: Providers that were requested for the session.
        provider: Choice of the user.

    Raises:
        PipelineError: The session does not run on the chosen provider.
    """
    first = asked[0] if isinstance(asked[0], str) else asked[0][0]
    if used == first:
        return
    name = first.removesuffix("ExecutionProvider")
    cause = _why_it_does_not_load(name.lower())
    if provider == "auto":
        _say_once(f"A {name} device exists, but onnxruntime runs on the CPU{cause}.")
        return
    raise PipelineError(
        f"provider: {provider} does not work: onnxruntime {onnxruntime.__version__} has fallen back to the CPU"
        f"{cause}. Install the library versions that it was built for: `pip install "
        f"{_WHEELS[provider]}{'[cuda,cudnn]' if provider == 'cuda' else ''}`. Or choose cpu."
    )


def cuda_devices() -> int:
    """Return the number of CUDA devices that the driver finds; without one, onnxruntime would print errors."""
    driver = None
    for library in ("libcuda.so.1", "nvcuda.dll"):  # on Linux, on Windows
        with contextlib.suppress(OSError):
            driver = driver or ctypes.CDLL(library)
    if driver is None:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def _with_options(provider: Provider, threads: int | None) -> tuple[str, dict[str, str]]:
    if provider == "cuda":
        onnxruntime.preload_dlls()  # finds the CUDA libraries that came with torch's wheels
        # TF32 rounds factors to 10 bits: embeddings would differ between devices by more than the parity bound
        device = str(ranks.local_number() % cuda_devices())
        return _NAMES["cuda"], {"use_tf32": "0", "device_id": device}
    # by default, OpenVINO computes in bfloat16 on processors that support it
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    return _NAMES["openvino"], {"device_type": "CPU", "load_config": json.dumps({"CPU": settings})}


def _why_it_does_not_load(name: str) -> str:
    """Return the system's error for the library of a provider, as part of a sentence, or "" if the library loads."""
    folder = Path(onnxruntime.__file__).parent / "capi"
    try:
        for library in folder.glob(f"*onnxruntime_providers_{name}.*"):  # lib….so on Linux, ….dll on Windows
            ctypes.CDLL(str(library))
    except OSError as error:
        return f", because a library cannot be loaded ({brief(error)})"
    return ""


@functools.cache
def _say_once(message: str) -> None:
    say(message)
