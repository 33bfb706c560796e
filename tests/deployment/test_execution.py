"""A graph runs on what the user asks for, or the message says what is missing."""

from pathlib import Path
from types import SimpleNamespace

import onnxruntime
import pytest
from click.testing import CliRunner

from ssl_pipeline.deployment import execution
from ssl_pipeline.deployment.execution import PROVIDERS, wanted
from ssl_pipeline.deployment.runtime import open_session
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.runtime import Backbone
from ssl_pipeline_stages import provider
from ssl_pipeline_stages.embed import embed
from ssl_pipeline_stages.search import search
from tests.embeddings.graphs import write_graph
from tests.factories import digit_images

CPU, CUDA, OPENVINO = "CPUExecutionProvider", "CUDAExecutionProvider", "OpenVINOExecutionProvider"
BUILT = onnxruntime.get_available_providers()
with_cuda = pytest.mark.skipif(CUDA not in BUILT, reason="this onnxruntime is built without CUDA")
without_device = pytest.mark.skipif(execution.cuda_devices() > 0, reason="there is a CUDA device")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_graph(tmp_path_factory.mktemp("model") / "backbone.onnx")


def built(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(names))


def test_left_to_itself_it_asks_for_cuda_only_where_there_is_a_device(monkeypatch: pytest.MonkeyPatch):
    built(monkeypatch, CUDA, CPU)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.setattr(execution, "cuda_devices", lambda: 0)
    assert wanted() == [CPU]
    monkeypatch.setattr(execution, "cuda_devices", lambda: 2)
    cuda = {"use_tf32": "0", "device_id": "0"}
    assert wanted() == [(CUDA, cuda), CPU]
    assert wanted("cpu") == [CPU]
    monkeypatch.setenv("LOCAL_RANK", "3")  # rank 3 uses the second of the two devices
    assert wanted("cuda") == [(CUDA, cuda | {"device_id": "1"}), CPU]
    built(monkeypatch, OPENVINO, CPU)
    assert wanted() == [CPU]


def test_openvino_keeps_single_precision(monkeypatch: pytest.MonkeyPatch):
    built(monkeypatch, OPENVINO, CPU)
    (name, options), rest = wanted("openvino", threads=3)
    assert (name, rest, options["device_type"]) == (OPENVINO, CPU, "CPU")
    assert options["load_config"] == '{"CPU": {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 3}}'


@pytest.mark.parametrize(("name", "wheel"), [("cuda", "onnxruntime-gpu"), ("openvino", "onnxruntime-openvino")])
def test_the_wheel_that_brings_a_provider_is_named(model: Path, monkeypatch: pytest.MonkeyPatch, name: str, wheel: str):
    built(monkeypatch, CPU)
    with pytest.raises(PipelineError, match=f"{name} is not available: .* has only CPU.*install {wheel}`"):
        Backbone(model, provider=name)  # type: ignore[arg-type]


@with_cuda
@without_device
def test_a_missing_device_is_told(model: Path, capfd: pytest.CaptureFixture[str]):
    with pytest.raises(PipelineError, match="the driver finds no CUDA device"):
        Backbone(model, provider="cuda")
    assert capfd.readouterr().err == ""


@with_cuda
@without_device
def test_libraries_that_do_not_load_are_told(model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(execution, "cuda_devices", lambda: 1)  # so that onnxruntime tries, fails, and falls back
    with pytest.raises(PipelineError, match=r"has fallen back to the CPU, because .* cannot be loaded \(lib.*cudnn\]"):
        Backbone(model, provider="cuda")


@with_cuda
@without_device
def test_a_fall_that_nobody_chose_is_said_once(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(execution, "cuda_devices", lambda: 1)
    assert [Backbone(model).provider for _ in range(2)] == [CPU, CPU]
    assert capsys.readouterr().err.count("A CUDA device exists, but onnxruntime runs on the CPU") == 1


@pytest.mark.skipif(OPENVINO not in BUILT, reason="this onnxruntime is built without OpenVINO")
def test_openvino_computes_what_the_cpu_does(model: Path):
    backbone = Backbone(model, provider="openvino", threads=1)
    assert backbone.provider == OPENVINO
    assert backbone(digit_images(5)) == pytest.approx(Backbone(model, provider="cpu")(digit_images(5)), abs=1e-6)


def test_what_was_chosen_is_kept_to(model: Path):
    session = open_session(model, provider="cpu")
    assert session.get_providers() == [CPU]
    assert not session._enable_fallback
    with pytest.raises(ValueError, match="provider must be one of auto, cpu, cuda, openvino, got 'tpu'"):
        wanted("tpu")  # type: ignore[arg-type]


def test_commands_offer_all_of_them_and_tell_without_a_traceback(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert provider.PROVIDERS == PROVIDERS
    built(monkeypatch, CPU)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(embed, ["here", "--model", str(model), "--provider", "openvino"])
    assert (done.exit_code, done.output.count("\n")) == (1, 1)
    assert "error: provider: openvino is not available" in done.output
    assert "[auto|cpu|cuda|openvino]" in CliRunner().invoke(search, ["--help"]).output


@pytest.mark.parametrize("system", ["libcuda.so.1", "nvcuda.dll"])
def test_devices_are_counted_by_the_driver_of_either_system(monkeypatch, system):
    def counted(count):
        count._obj.value = 3
        return 0

    driver = SimpleNamespace(cuInit=lambda flags: 0, cuDeviceGetCount=counted)

    def load(name):
        if name != system:
            raise OSError
        return driver

    monkeypatch.setattr(execution.ctypes, "CDLL", load)
    assert execution.cuda_devices() == 3
    monkeypatch.setattr(execution.ctypes, "CDLL", lambda name: load(""))
    assert execution.cuda_devices() == 0
