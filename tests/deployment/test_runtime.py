"""Running graphs needs no torch, prints nothing, and refuses arrays that are not images."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ssl_pipeline.deployment.runtime import open_session, run
from ssl_pipeline.errors import PipelineError
from tests.deployment.conftest import Model
from tests.factories import digit_images

ALONE = """
import sys, numpy
from ssl_pipeline.deployment.runtime import open_session, read_metadata, run
from pathlib import Path
session = open_session(Path(sys.argv[1]), threads=1)
embeddings = run(session, numpy.zeros((2, 5, 4, 3), numpy.uint8))
assert read_metadata(session)["embedding_dim"] == str(embeddings.shape[1])
print("torch" in sys.modules, session.get_providers())
"""


def test_it_runs_without_torch_and_without_noise(model: Model):
    done = subprocess.run([sys.executable, "-c", ALONE, model.backbone], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("False")
    assert "CPUExecutionProvider" in done.stdout
    assert done.stderr == ""


def test_batches_change_nothing_but_the_memory(model: Model):
    session = open_session(model.backbone, threads=1)
    images = digit_images(10)
    np.testing.assert_allclose(run(session, images, batch_size=3), run(session, images), atol=1e-6)
    assert run(session, images[:0]).shape == (0, 16)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([np.zeros((2, 8, 8, 3), np.float32)], r"images must be uint8 .* got float32 \(2, 8, 8, 3\)"),
        ([np.zeros((8, 8, 3), np.uint8)], r"\(8, 8, 3\)"),
        ([np.zeros((2, 3, 8, 8), np.uint8)], r"\(2, 3, 8, 8\)"),
        ([np.zeros((2, 0, 8, 3), np.uint8)], r"\(2, 0, 8, 3\)"),
        ([np.zeros((2, 8, 8, 3), np.uint8)] * 2, "takes images, got 2 arrays"),
    ],
)
def test_what_is_not_images_is_refused(model: Model, images: list[np.ndarray], message: str):
    with pytest.raises(ValueError, match=message):
        run(open_session(model.backbone), *images)


def test_a_file_that_is_missing_or_is_no_graph_is_named(tmp_path: Path):
    with pytest.raises(PipelineError, match=r"gone\.onnx does not exist"):
        open_session(tmp_path / "gone.onnx")
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(PipelineError, match=r"text\.onnx is not a graph that onnxruntime"):
        open_session(tmp_path / "text.onnx")
