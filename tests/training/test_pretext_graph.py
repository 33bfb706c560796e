"""pretext.onnx computes what torch computes; otherwise it is refused."""

import numpy as np
import onnxruntime
import pytest
import torch

from ssl_pipeline.config import Choice
from ssl_pipeline.data.framing import Framing
from ssl_pipeline.deployment import pretext_graph
from ssl_pipeline.deployment.from_pixels import FromPixels, Prediction
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.recipes import Recipe
from ssl_pipeline.training.preparation import describe_run


@pytest.fixture
def card(configure, policies, pool):
    framing = Framing(8, "crop", (0, 0, 0))
    recipe = Recipe(name="rotation", pretext_task=Choice(name="rotation"))
    return lambda task: describe_run(configure(), recipe, task, pool, framing, policies, {"somebody": "1.2"})


def test_the_graph_matches_torch_at_other_shapes_or_is_refused(
    build_small, configure, card, pool, tmp_path, monkeypatch
):
    task = build_small(configure(recipe="rotation"))
    path = tmp_path / "pretext.onnx"
    pretext_graph.write_pretext_graph(task, card(task), pool, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).integers(0, 256, (3, 21, 13, 3), dtype=np.uint8)
    (found,) = session.run(None, {"images": images})
    with torch.no_grad():
        wanted = FromPixels(card(task), Prediction(task))(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert found.shape == (3, 4)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    assert session.get_modelmeta().custom_metadata_map["resize"] == "crop"
    assert card(task).plugins == {"somebody": "1.2"}

    monkeypatch.setattr(pretext_graph, "write_image_graph", lambda *arguments, **options: None)  # the file is unchanged
    with torch.no_grad():
        task.head.bias[0] += 0.1
    with pytest.raises(
        PipelineError, match=r"pretext\.onnx does not compute(?s:.*)torch and onnxruntime differ: .*'rotation'"
    ):
        pretext_graph.write_pretext_graph(task, card(task), pool, path)
