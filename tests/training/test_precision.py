import pytest
import torch

from ssl_pipeline.errors import ConfigError
from ssl_pipeline.training import precision

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"avx512_bf16": True}, "bf16"),
        ({"bf16": True}, "bf16"),
        ({"avx512_bf16": False, "avx2": True}, "fp32"),
        ({}, "fp32"),
    ],
)
def test_auto_on_a_cpu_follows_its_flags(monkeypatch, flags, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags)
    assert precision.resolve_precision("auto", CPU).name == expected


@pytest.mark.parametrize(("has_bf16", "expected"), [(True, "bf16"), (False, "fp16")])
def test_auto_on_cuda_asks_for_bf16_in_hardware(monkeypatch, has_bf16, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16 or including_emulation)
    assert precision.resolve_precision("auto", CUDA).name == expected


def test_fp16_without_cuda_is_refused_by_its_key():
    with pytest.raises(ConfigError, match=r"pretrain\.precision: fp16 needs CUDA"):
        precision.resolve_precision("fp16", CPU)


@pytest.mark.parametrize(("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_autocast_computes_in_the_named_format(name, dtype):
    resolved = precision.resolve_precision(name, CPU)
    with resolved.autocast():
        assert torch.nn.functional.linear(torch.ones(2, 3), torch.ones(4, 3)).dtype == dtype
    assert not resolved.scaler().is_enabled()


@pytest.mark.parametrize(("flags", "told"), [({"avx2": True}, True), ({"amx_bf16": True}, False)])
def test_bf16_without_hardware_is_taken_and_said_to_be_slow(monkeypatch, capsys, flags, told):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags)
    assert precision.resolve_precision("bf16", CPU).name == "bf16"
    output = capsys.readouterr()
    assert ("several times as long as in fp32. Set pretrain.precision: auto" in output.out + output.err) == told
    assert precision.resolve_precision("fp32", CPU).name == "fp32"
    assert capsys.readouterr() == ("", "")
