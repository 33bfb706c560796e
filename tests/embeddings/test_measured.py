"""Unmeasured pixels, in files that mark them in different ways."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

import ssl_pipeline
from ssl_pipeline.errors import PipelineError
from tests.embeddings.conftest import Embed
from tests.embeddings.graphs import write_graph


def test_pixels_that_were_not_measured_are_never_taken_for_measured(call: Embed):
    """A file that marks them with another value than the model is refused by name, unless it has no such pixels."""
    values = np.full((4, 4), 7, np.uint16)
    values[0, 0] = 9
    Path("deep").mkdir()
    for name, mark in (("other", 9), ("same", 0), ("unused", 5)):
        tifffile.imwrite(f"deep/{name}.tif", values, extratags=[(42113, "s", 0, f"{mark}", True)])
    np.save("deep/silent.npy", values[..., None])
    blind, knowing = (
        write_graph(Path("blind.onnx"), "uint16", 1),
        write_graph(Path("knowing.onnx"), "uint16", 1, nodata=0),
    )
    for model, known in ((blind, "none"), (knowing, "0: write 0 there")):
        assert "3 images embedded, 16 numbers each; 1 rejected" in call("deep", "--model", model).stdout
        assert Path("embeddings.rejects.csv").read_text().splitlines()[1:] == [
            'deep/other.tif,"not what the model takes: its file marks unmeasured pixels with 9, but the '
            f"model's value for them is {known}\""
        ]
    with pytest.raises(PipelineError, match=r"images\[0\] .* cannot be used: not what the model takes: its file marks"):
        ssl_pipeline.embed(blind, ["deep/other.tif"])
    assert ssl_pipeline.embed(blind, ["deep/same.tif", values[..., None]]).shape == (2, 16)
