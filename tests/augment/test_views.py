"""Views are pure functions of an image and hashed numbers; their graphs compute the same."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as reference

from ssl_pipeline.augment import graph
from ssl_pipeline.augment.graph import export_views
from ssl_pipeline.augment.policy import Policies, Policy, read_policies
from ssl_pipeline.augment.preview import write_preview
from ssl_pipeline.augment.views import PARAMETERS, ViewMaker, make_views
from ssl_pipeline.data.writer import write_split
from ssl_pipeline.errors import PipelineError

EVERYTHING = Policy.model_validate(
    {
        "size": 20,
        "random_resized_crop": {"p": 0.9, "scale": [0.2, 1.0], "ratio": [0.75, 1.333]},
        "horizontal_flip": {"p": 0.5},
        "vertical_flip": {"p": 0.5},
        "rotation": {"p": 0.5, "degrees": 20},
        "color_jitter": {"p": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
        "grayscale": {"p": 0.2},
        "gaussian_blur": {"p": 0.5, "sigma": [0.1, 2.0]},
        "solarize": {"p": 0.2, "threshold": 0.5},
        "gaussian_noise": {"p": 0.5, "std": 0.05},
    }
)
IDS = np.arange(12, dtype=np.uint64) * np.uint64(977)


def only(size: int = 48, **operations: Any) -> Policy:
    return Policy.model_validate({"size": size, **operations})


def drawn(**values: float) -> Tensor:
    """Numbers for 12 samples: 0.5, but for those named (dots as double underscores)."""
    numbers = torch.full((12, len(PARAMETERS)), 0.5)
    for name, value in values.items():
        numbers[:, PARAMETERS.index(name.replace("__", "."))] = value
    return numbers


def views(canvases: Tensor, ids: Any = IDS, policy: Policy = EVERYTHING, seed: int = 0, epoch: int = 0) -> Tensor:
    return make_views({"global": policy}, {"global": 2}, canvases, ids, seed, epoch)["global"]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_sample_s_views_do_not_depend_on_its_batch(canvases: Tensor, threads: int):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        whole = views(canvases)
        for chosen in ([0], [5, 2], [11, 0, 3, 7, 4]):
            assert torch.equal(views(canvases[chosen], IDS[chosen]), whole[chosen])
    finally:
        torch.set_num_threads(before)


def test_seed_epoch_sample_and_view_all_matter(canvases: Tensor):
    base = views(canvases)
    assert torch.equal(views(canvases), base)
    assert base.shape == (12, 2, 3, 20, 20)
    assert 0 <= base.min() <= base.max() <= 1
    for other in (views(canvases, seed=1), views(canvases, epoch=1), views(canvases, IDS + np.uint64(1)), base.flip(1)):
        assert ((other - base).abs().amax(dim=(1, 2, 3, 4)) > 0.05).all()


def test_turning_an_operation_off_leaves_the_others_numbers(canvases: Tensor):
    crop = {"p": 1.0, "scale": [0.2, 0.5], "ratio": [1.0, 1.0]}
    with_grey = views(canvases, policy=only(random_resized_crop=crop, grayscale={"p": 1.0}))
    without = views(canvases, policy=only(random_resized_crop=crop))
    expected = reference.rgb_to_grayscale(without.flatten(0, 1), num_output_channels=3).unflatten(0, (12, 2))
    assert (with_grey - expected).abs().max() < 1e-3


def test_a_crop_keeps_the_share_of_area_and_the_ratio_that_were_drawn(canvases: Tensor):
    policy = only(24, random_resized_crop={"p": 1.0, "scale": [0.25, 0.25], "ratio": [1.0, 1.0]})
    found = ViewMaker(policy)(canvases, drawn(random_resized_crop__top=0.5, random_resized_crop__left=0.0))
    pixels = canvases.permute(0, 3, 1, 2).float() / 255
    expected = reference.resized_crop(pixels, 12, 0, 24, 24, [24, 24], antialias=True)  # half of 48 px a side
    assert (found - expected).abs().max() < 1e-5


@pytest.mark.parametrize(("name", "axis"), [("horizontal_flip", 3), ("vertical_flip", 2)])
def test_flips_flip_those_whose_number_is_below_p(canvases: Tensor, name: str, axis: int):
    maker = ViewMaker(only(**{name: {"p": 0.5}}))
    plain = canvases.permute(0, 3, 1, 2) / 255
    assert torch.equal(maker(canvases, drawn(**{name: 0.5})), plain)
    assert torch.equal(maker(canvases, drawn(**{name: 0.49})), plain.flip(axis))


def test_an_empty_policy_only_resizes(canvases: Tensor):
    assert torch.equal(ViewMaker(only())(canvases, drawn()), canvases.permute(0, 3, 1, 2) / 255)


@pytest.mark.parametrize("policy", [EVERYTHING, only(16, horizontal_flip={"p": 0.5})])
def test_the_graph_makes_torch_s_views(canvases: Tensor, tmp_path: Path, policy: Policy):
    path = tmp_path / "augment.onnx"
    assert export_views(policy, 48, path) <= 1e-3
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    maker = ViewMaker(policy)
    generator = torch.Generator().manual_seed(0)
    for n in (1, 12):
        feed = {"images": canvases[:n], "uniforms": torch.rand(n, len(PARAMETERS), generator=generator)}
        if maker.needs_noise:
            feed["noise"] = torch.randn(n, 3, policy.size, policy.size, generator=generator)
        (found,) = session.run(["views"], {name: value.numpy() for name, value in feed.items()})
        assert np.abs(found - maker(*feed.values()).numpy()).max() <= 1e-3
    facts = {item.key: item.value for item in onnx.load(path).metadata_props}
    assert json.loads(facts["parameters"]) == list(PARAMETERS)


def test_a_graph_that_is_wrong_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(graph, "_difference", lambda *_: float("nan"))
    with pytest.raises(PipelineError, match="differ from torch's by nan"):
        export_views(only(16), 48, tmp_path / "augment.onnx")
    assert not list(tmp_path.iterdir())


def test_the_preview_shows_the_image_first_and_then_its_views(canvases: Tensor, tmp_path: Path):
    write_split(tmp_path / "store" / "train", IDS, [canvases.numpy()], 48)
    write_preview(tmp_path / "store", {"global": EVERYTHING, "same": only()}, 0, tmp_path / "preview.png")
    sheet = np.asarray(Image.open(tmp_path / "preview.png"))
    assert sheet.shape == (16 + 12 * 68, 13 * 68 + 12, 3)
    first = np.asarray(Image.fromarray(canvases[0].numpy()).resize((64, 64), Image.Resampling.NEAREST))
    assert np.array_equal(sheet[16:80, 4:68], first)
    assert np.array_equal(sheet[16:80, 12 + 7 * 68 : 76 + 7 * 68], first)  # a view that changes nothing


def test_policies_come_back_and_damage_is_told(tmp_path: Path):
    policies = Policies(canvas=48, resize="crop", background=(1, 2, 3), seed=4, views={"global": EVERYTHING})
    path = tmp_path / "policy.json"
    path.write_text(policies.model_dump_json())
    assert read_policies(path) == policies
    path.write_text('{"canvas": 3}')
    with pytest.raises(PipelineError, match=r"damaged(?s:.*)dvc repro --force augment"):
        read_policies(path)
