"""A graph of views makes torch's views, or is discarded."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.augment.views import PARAMETERS, ViewMaker
from ssl_pipeline.deployment import view_graph
from ssl_pipeline.deployment.view_graph import export_views, prove_views
from ssl_pipeline.errors import PipelineError
from tests.deployment.conftest import Images


def policy(size: int, **operations: Any) -> Policy:
    return Policy.model_validate({"size": size, **operations})


EVERYTHING = policy(
    20,
    random_resized_crop={"p": 0.9, "scale": [0.2, 1.0], "ratio": [0.75, 1.333]},
    horizontal_flip={"p": 0.5},
    vertical_flip={"p": 0.5},
    rotation={"p": 0.5, "degrees": 20},
    color_jitter={"p": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    grayscale={"p": 0.2},
    gaussian_blur={"p": 0.5, "sigma": [0.1, 2.0]},
    solarize={"p": 0.2, "threshold": 0.5},
    gaussian_noise={"p": 0.5, "std": 0.05},
)


@pytest.mark.parametrize("wanted", [EVERYTHING, policy(16)])
def test_the_graph_makes_torch_s_views(originals: list[Images], tmp_path: Path, wanted: Policy):
    path = tmp_path / "augment.onnx"
    assert export_views(wanted, 48, path).max_difference <= 1e-3
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    maker, generator = ViewMaker(wanted), torch.Generator().manual_seed(0)
    canvases = torch.from_numpy(np.stack([originals[0][30 * i : 30 * i + 48, 40 * i : 40 * i + 48] for i in range(12)]))
    for n in (1, 12):
        feed = {"images": canvases[:n], "uniforms": torch.rand(n, len(PARAMETERS), generator=generator)}
        if maker.needs_noise:
            feed["noise"] = torch.randn(n, 3, wanted.size, wanted.size, generator=generator)
        (found,) = session.run(["views"], {name: value.numpy() for name, value in feed.items()})
        assert np.abs(found - maker(*feed.values()).numpy()).max() <= 1e-3
    facts = {item.key: item.value for item in onnx.load(path).metadata_props}
    assert json.loads(facts["parameters"]) == list(PARAMETERS)


def test_a_graph_that_is_wrong_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    export_views(policy(16, vertical_flip={"p": 1.0}), 48, tmp_path / "upside_down.onnx")
    wrong = (tmp_path / "upside_down.onnx").read_bytes()
    monkeypatch.setattr(view_graph, "traced_once", lambda *_: wrong)
    with pytest.raises(PipelineError, match=r"^augment\.onnx does not compute what torch computes, and is discarded"):
        export_views(policy(16), 48, tmp_path / "augment.onnx")
    assert not (tmp_path / "augment.onnx").exists()
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".onnx"] == ["upside_down.onnx"]


def test_a_value_at_the_threshold_may_fall_on_either_side(tmp_path: Path):
    """The graph's threshold is a hair away, which has the same effect as values whose last bits differ."""
    value = 100 / 255  # a grey level of the images, which are not resized
    threshold = {"p": 1.0, "threshold": value - 2e-5}
    export_views(policy(16, solarize=threshold), 16, tmp_path / "augment.onnx")
    beyond = {**threshold, "threshold": value + 2e-5}
    assert prove_views(tmp_path / "augment.onnx", policy(16, solarize=beyond), 16).max_difference < 1e-6
    far = {**threshold, "threshold": value + 3e-4}
    with pytest.raises(PipelineError, match="torch and onnxruntime differ: "):
        prove_views(tmp_path / "augment.onnx", policy(16, solarize=far), 16)
