"""Other encoders' graphs on images of other bands and types: they see what they can, or are refused in a sentence."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ssl_pipeline.artifacts.assembly import build_encoder
from ssl_pipeline.artifacts.files import save_weights
from ssl_pipeline.config import Rival
from ssl_pipeline.data.image_spec import RGB8, ImageSpec
from ssl_pipeline.deployment.foreign_graphs import embed_with
from ssl_pipeline.deployment.runtime import open_session
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.evaluation.linear.rivals import open_rivals
from ssl_pipeline.loading import load_registry
from ssl_pipeline.types import Inputs
from tests.factories import BACKBONE, MEAN, STD, digit_images, model_card

PLAIN = Inputs(8, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
GREY12 = ImageSpec(channels=1, dtype="uint16", low=0.0, high=4095.0)
BANDS = ImageSpec(channels=5, dtype="float32", low=-1.0, high=1.0)


def write_means(path: Path) -> Path:
    """Write a graph from normalised images to the means of their three channels."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3])
    node = helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=0)
    graph = helper.make_graph([node], "g", [value], [output], [axes])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def test_a_grey_band_is_shown_three_times_on_the_scale_of_its_data_set(tmp_path: Path):
    canvases = digit_images(5)[..., :1].astype(np.uint16) * 16
    found = embed_with(open_session(write_means(tmp_path / "means.onnx")), PLAIN, GREY12)(canvases)
    expected = np.repeat(canvases.mean(axis=(1, 2)) / 4095, 3, axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_of_many_bands_those_are_shown_that_are_red_green_and_blue(tmp_path: Path):
    canvases = np.random.default_rng(0).uniform(-1, 1, (4, 8, 8, 5)).astype(np.float32)
    spec = BANDS.model_copy(update={"rgb": (3, 2, 0)})
    found = embed_with(open_session(write_means(tmp_path / "means.onnx")), PLAIN, spec)(canvases)
    expected = (canvases.mean(axis=(1, 2))[:, [3, 2, 0]] + 1) / 2
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_where_nobody_knows_which_bands_are_rgb_a_rival_for_rgb_is_refused(tmp_path: Path):
    session = open_session(write_means(tmp_path / "means.onnx"))
    with pytest.raises(PipelineError, match=r"takes RGB images, but these are 5 bands of float32.*ingest\.pixels"):
        embed_with(session, PLAIN, BANDS)


def test_weights_of_a_network_for_rgb_are_judged_on_grey_images_and_refused_on_unknown_bands(tmp_path: Path):
    encoder = build_encoder(load_registry(), BACKBONE, MEAN, STD, 3, 8)
    path = tmp_path / "bare.safetensors"
    save_weights(path, encoder.backbone.state_dict())
    rival = Rival.model_validate({"weights": str(path), "backbone": BACKBONE.model_dump()})
    rgb = digit_images(3)
    grey = rgb[..., :1].astype(np.uint16) * 16  # the full scale is 255 * 16
    spec = GREY12.model_copy(update={"high": 4080.0})
    card = model_card(images=spec, background=(0,), mean=(0.3,), std=(0.3,))
    (judged,) = open_rivals([rival], load_registry(), card, grey).values()
    (usual,) = open_rivals([rival], load_registry(), model_card(images=RGB8), rgb).values()
    np.testing.assert_allclose(judged.embed(grey), usual.embed(rgb), rtol=1e-3, atol=1e-5)
    card = model_card(images=BANDS, background=(0,) * 5, mean=(0.3,) * 5, std=(0.3,) * 5)
    with pytest.raises(ConfigError, match=r"bare\.safetensors.*takes RGB images, but these are 5 bands"):
        open_rivals([rival], load_registry(), card, np.zeros((2, 8, 8, 5), np.float32))
