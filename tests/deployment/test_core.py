"""backbone_core.onnx: the network alone, its batch, its metadata, and the documented preprocessing."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from ssl_pipeline.augment.geometry import fit
from ssl_pipeline.deployment.core_graph import Core, prove_core, write_core
from ssl_pipeline.deployment.from_pixels import FromPixels, embedding
from ssl_pipeline.deployment.parity import probes
from ssl_pipeline.deployment.runtime import open_session, read_metadata, run
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.runtime import Backbone
from tests.deployment.conftest import Images, Model
from tests.factories import digit_images

PAGE = Path(__file__).parents[2] / "docs" / "forms.md"


@pytest.fixture(scope="module")
def documented(model: Model) -> dict[str, Any]:
    """Return what the code on the page defines."""
    (code,) = re.findall(r"```python\n(import json.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code.replace("models/export/backbone_core.onnx", str(model.core)), names)
    return names


def test_documented_lines_and_the_core_make_of_pixels_what_the_whole_graph_makes(
    model: Model, documented: dict[str, Any], originals: list[Images]
):
    whole = open_session(model.backbone)
    for image in (*originals[:3], originals[0][:5, :90], originals[0][:1, :1]):
        np.testing.assert_allclose(documented["embed"](image), run(whole, image[None])[0], atol=2e-6)


@pytest.mark.parametrize("resize", ["squash", "crop", "letterbox"])
def test_documented_lines_resize_as_the_graph_does(
    model: Model, documented: dict[str, Any], originals: list[Images], resize: str, monkeypatch: pytest.MonkeyPatch
):
    for image in originals[:3]:
        fitted = fit(torch.tensor(image[None]), 16, resize, model.card.background)
        monkeypatch.setitem(documented, "resize", resize)
        made = documented["preprocess"](image)
        np.testing.assert_allclose(made, model.encoder.normalised(fitted).numpy(), atol=2e-5)


def test_the_core_says_what_it_takes(model: Model):
    session = open_session(model.core)
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.type, taken.shape) == ("normalised", "tensor(float)", ["batch", 3, 16, 16])
    assert (given.name, given.type, given.shape) == ("embedding", "tensor(float)", ["batch", 16])
    metadata, whole = read_metadata(session), read_metadata(open_session(model.backbone))
    own = {"input", "preprocessing", "range"}
    assert {key: value for key, value in metadata.items() if key not in own} == {
        key: value for key, value in whole.items() if key != "input"
    }
    assert metadata["input"].startswith("normalised: float32 [N, 3, 16, 16]")
    assert json.loads(metadata["mean"]) == pytest.approx(model.card.mean)
    assert json.loads(metadata["std"]) == pytest.approx(model.card.std)
    low, high = json.loads(metadata["range"])
    assert (low, high) == pytest.approx((-0.3 / 0.37, 0.7 / 0.37))


def test_the_core_is_a_part_of_the_whole_graph(model: Model):
    core, whole = onnx.load(model.core).graph, onnx.load(model.backbone).graph
    weights = {one.name: numpy_helper.to_array(one) for one in whole.initializer}
    for one in core.initializer:
        np.testing.assert_array_equal(numpy_helper.to_array(one), weights[one.name])
    used = {name for node in core.node for name in node.input}
    assert {one.name for one in core.initializer} <= used
    assert [value.name for value in whole.output] == ["embedding"]
    assert len(core.node) < len(whole.node)


def test_a_fixed_number_of_images(model: Model, originals: list[Images], tmp_path: Path):
    core = Core(tmp_path / "backbone_core.onnx", 4)
    write_core(onnx.load(model.core), core, model.encoder, read_metadata(open_session(model.core)))
    session = open_session(core.path)
    assert (session.get_inputs()[0].shape, session.get_outputs()[0].shape) == ([4, 3, 16, 16], [4, 16])
    assert "batch" not in str(onnx.load(core.path).graph)
    batches, answers = asked(model, originals)
    assert prove_core(core, batches, answers).max_difference < 1e-4


def asked(model: Model, originals: list[Images]) -> tuple[dict[str, tuple[Images]], dict[str, np.ndarray]]:
    """Return batches, and torch's outputs for them."""
    network = FromPixels(model.card, embedding(model.encoder, True)).eval()
    batches = {name: (images,) for name, images in probes(originals, 16).items()}
    with torch.inference_mode():
        return batches, {name: network(torch.tensor(images)).numpy() for name, (images,) in batches.items()}


def test_a_core_with_another_weight_or_another_mean_is_refused(model: Model, originals: list[Images], tmp_path: Path):
    batches, answers = asked(model, originals)
    assert prove_core(Core(model.core), batches, answers).row_difference < 1e-4
    changed = onnx.load(model.core)
    weight = next(one for one in changed.graph.initializer if len(one.dims) == 4)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.01), weight.name))
    onnx.save(changed, tmp_path / "weight.onnx")
    other = onnx.load(model.core)
    next(entry for entry in other.metadata_props if entry.key == "mean").value = "[0.31, 0.3, 0.3]"
    onnx.save(other, tmp_path / "mean.onnx")
    for name in ("weight", "mean"):
        with pytest.raises(PipelineError, match=rf"{name}.onnx does not compute what torch computes"):
            prove_core(Core(tmp_path / f"{name}.onnx"), batches, answers)


def test_a_core_is_not_taken_for_a_graph_from_pixels(model: Model):
    with pytest.raises(PipelineError, match=r"maps normalised to embedding.*Name a backbone\.onnx"):
        Backbone(model.core)
    with pytest.raises(ValueError, match="normalised must be"):
        run(open_session(model.core), digit_images(2))
