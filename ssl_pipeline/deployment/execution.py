"""On which execution provider of onnxruntime a graph runs, by choice; onnxruntime itself falls back without a word.

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
"""What a user asks for; auto: CUDA where it works, and the CPU elsewhere."""
PROVIDERS: tuple[Provider, ...] = get_args(Provider)

_NAMES = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "openvino": "OpenVINOExecutionProvider"}
_WHEELS = {"cuda": "onnxruntime-gpu", "openvino": "onnxruntime-openvino"}
"""Provider -> the wheel that brings it. Each holds the folder `onnxruntime`, so that only one can be installed."""

Wanted = list[str | tuple[str, dict[str, str]]]


def wanted(provider: Provider = "auto", threads: int | None = None) -> Wanted:
    """Return the execution providers to ask onnxruntime for, with their options; the CPU is always the last.

    Args:
        provider: The choice of the user.
        threads: CPU threads within an operator; None leaves the choice to the provider.

    Raises:
        PipelineError: This installation or this machine lacks what is asked for; the message says what brings it.
        ValueError: There is no such provider.
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
            f"provider: {provider} is asked for, and onnxruntime {onnxruntime.__version__} as it is installed has "
            f"{', '.join(name.removesuffix('ExecutionProvider') for name in built)} alone. Uninstall `onnxruntime` "
            f"and all other wheels of it, which share one folder, and `pip install {_WHEELS[provider]}`; or ask for "
            "the cpu."
        )
    if provider == "cuda" and cuda_devices() == 0:
        raise PipelineError(
            "provider: cuda is asked for, and the driver knows no CUDA device. `nvidia-smi` should list one; in a "
            "container, start it with `docker run --gpus all`. Or ask for the cpu."
        )
    return [_with_options(provider, threads), _NAMES["cpu"]]


def check_used(used: str, asked: Wanted, provider: Provider) -> None:
    """Notice where onnxruntime has fallen back: refuse it if the user has chosen, and say it otherwise.

    Args:
        used: The first of `session.get_providers()`.
        asked: What the session was asked for.
        provider: The choice of the user.

    Raises:
        PipelineError: The session runs on another provider than the chosen one.
    """
    first = asked[0] if isinstance(asked[0], str) else asked[0][0]
    if used == first:
        return
    name = first.removesuffix("ExecutionProvider")
    cause = _why_it_does_not_load(name.lower())
    if provider == "auto":
        _say_once(f"There is a device for {name}, but onnxruntime runs on the CPU{cause}.")
        return
    raise PipelineError(
        f"provider: {provider} is asked for, and onnxruntime {onnxruntime.__version__} has fallen back to the CPU"
        f"{cause}. Install the versions of the libraries that it was built for: `pip install "
        f"{_WHEELS[provider]}{'[cuda,cudnn]' if provider == 'cuda' else ''}`. Or ask for the cpu."
    )


def cuda_devices() -> int:
    """Return how many CUDA devices the driver knows; onnxruntime itself complains on stderr where there is none."""
    driver = None
    for library in ("libcuda.so.1", "nvcuda.dll"):  # of Linux, of Windows
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
        # TF32 keeps 10 bits of a product: embeddings would differ between devices by more than the parity bound
        device = str(ranks.local_number() % cuda_devices())
        return _NAMES["cuda"], {"use_tf32": "0", "device_id": device}
    # where a processor has bfloat16, OpenVINO computes in it unless told otherwise
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    return _NAMES["openvino"], {"device_type": "CPU", "load_config": json.dumps({"CPU": settings})}


def _why_it_does_not_load(name: str) -> str:
    """Return what the system says of the library of a provider, as a part of a sentence; "" where it loads."""
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
