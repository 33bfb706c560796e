"""Initial weights and rivals in linear_eval: evaluated like the backbone, on a small store of real digits."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.torch
import timm
import torch
import yaml
from onnx import TensorProto, helper
from pydantic import ValidationError

from ssl_pipeline.artifacts.assembly import build_encoder
from ssl_pipeline.artifacts.card import read_card
from ssl_pipeline.artifacts.files import load_encoder, save_model, save_weights
from ssl_pipeline.artifacts.start import save_start
from ssl_pipeline.augment.geometry import fit
from ssl_pipeline.config import Rival
from ssl_pipeline.deployment.backbone_graph import export_backbone
from ssl_pipeline.deployment.foreign_encoders import IMAGENET
from ssl_pipeline.deployment.foreign_graphs import embed_with
from ssl_pipeline.deployment.runtime import open_session
from ssl_pipeline.evaluation.linear.rivals import open_rivals
from ssl_pipeline.loading import load_registry
from tests.stages.small_project import BACKBONE, MEAN, STD, evaluate, metrics

PRETRAIN, OURS = Path("models/pretrain"), Path("models/export/backbone.onnx")


def name_rivals(*rivals: object) -> None:
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["linear_eval"]["rivals"] = list(rivals)
    Path("params.yaml").write_text(yaml.safe_dump(params))


@pytest.mark.usefixtures("project")
def test_what_pretraining_started_from_is_a_contestant_and_the_verdict_is_against_it():
    """The start has the same weights as the encoder, so that nothing may be credited to pretraining."""
    encoder, card = load_encoder(load_registry(), PRETRAIN)
    card = save_start(PRETRAIN, encoder.state_dict(), card.model_copy(update={"init": "given.safetensors"}))
    save_model(PRETRAIN, encoder, None, card)
    output = evaluate().output
    found = metrics()
    assert found["start"]["best_of"] == 2
    if found["start"]["validation_accuracy"] == found["validation_accuracy"]:
        assert found["start"]["accuracy"] == found["accuracy"]
        assert found["start"]["knn"]["accuracy"] == found["knn"]["accuracy"]
        assert found["gain_over_start"]["knn"]["accuracy"] == 0.0
    assert found["gain_over_start"]["accuracy_low"] <= 0
    assert "  the starting weights " in output
    assert "points over its starting weights (given.safetensors): " in output
    assert "helped" not in output
    assert set(found["start"]) - set(found["raw_pixels"]) == {"best_of", "knn"}


@pytest.mark.usefixtures("once_more")
def test_without_given_weights_or_rivals_there_is_no_word_of_either(judged: tuple[Path, str]):
    assert "starting weights" not in judged[1]
    assert not {"start", "gain_over_start", "rivals", "cost"} & metrics().keys()


@pytest.mark.usefixtures("project")
def test_rivals_stand_beside_ours_with_what_they_cost():
    """Our own graph and weights under other names have our results; another network has different ones."""
    shutil.copy(OURS, "same.onnx")
    shutil.copytree(PRETRAIN, "other")
    encoder = build_encoder(load_registry(), BACKBONE, MEAN, STD, 3, 8)
    save_weights(Path("bare.safetensors"), encoder.backbone.state_dict())
    bare = {"weights": "bare.safetensors", "backbone": BACKBONE.model_dump()}
    name_rivals("same.onnx", "other/encoder.safetensors", bare)
    output = evaluate().output
    found = metrics()
    assert list(found["rivals"]) == ["same.onnx", "other/encoder.safetensors", "bare.safetensors"]
    same, other, third = found["rivals"].values()
    assert (same["accuracy"], same["knn"]["accuracy"]) == (found["accuracy"], found["knn"]["accuracy"])
    assert same["gain"]["accuracy"] == same["gain"]["knn"]["accuracy"] == 0.0
    assert other["knn"]["accuracy"] == found["knn"]["accuracy"]  # cosines do not depend on the length of ours
    assert third["accuracy"] != found["accuracy"]
    weights = sum(value.numel() for name, value in encoder.backbone.named_parameters())
    assert found["cost"]["parameters"] == same["parameters"]
    for one in (same, third):  # the graph also stores statistics of batch norms, and tables for resizing
        assert 0.8 * weights < one["parameters"] < 1.2 * weights
    assert same["megabytes"] == found["cost"]["megabytes"] == OURS.stat().st_size / 1e6
    assert min(one["milliseconds"] for one in (found["cost"], same, other, third)) > 0
    assert "  ours: probe " in output
    assert f"  bare.safetensors: probe {100 * third['accuracy']:.1f}%" in output


class Normalised(torch.nn.Module):
    """An encoder that expects normalised images."""

    def __init__(self, backbone: torch.nn.Module):
        super().__init__()
        self.backbone = backbone

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.backbone(images)


@pytest.mark.usefixtures("project")
def test_a_graph_of_normalised_images_is_given_imagenet_s():
    """A graph exported by torch alone equals one of ours that contains this normalisation.

    One such graph takes any number of images; the other takes one at a time, and has its weights in a separate file.
    """
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    encoder = build_encoder(load_registry(), BACKBONE, mean, std, 0, 8).eval()
    card = read_card(PRETRAIN).model_copy(update={"mean": mean, "std": std})
    export_backbone(encoder, card, Path("ours.onnx"), l2_normalize=False, opset=18)
    module = Normalised(encoder.backbone).eval()
    for name, length, shapes in (
        ("many.onnx", 2, {"images": {0: torch.export.Dim("batch")}}),
        ("single.onnx", 1, None),
    ):
        example = torch.rand(length, 3, 8, 8)
        torch.onnx.export(
            module, (example,), name, dynamic_shapes=shapes, dynamo=True, verbose=False, external_data=length == 1
        )
        assert Path(f"{name}.data").exists() == (length == 1)
    canvases = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    names = ("ours.onnx", "many.onnx", "single.onnx")
    rows = [embed_with(open_session(Path(name)), IMAGENET)(canvases) for name in names]
    for theirs in rows[1:]:
        np.testing.assert_allclose(rows[0], theirs, rtol=1e-3, atol=1e-5)
    name_rivals(*names)
    evaluate()
    ours, *others = metrics()["rivals"].values()
    for name, theirs in zip(names[1:], others, strict=True):
        assert theirs["megabytes"] == sum(file.stat().st_size for file in Path().glob(f"{name}*")) / 1e6
        assert theirs["accuracy"] == pytest.approx(ours["accuracy"], abs=1 / 120)
        assert theirs["knn"]["accuracy"] == pytest.approx(ours["knn"]["accuracy"], abs=1 / 120)


@pytest.mark.usefixtures("project")
def test_published_weights_are_given_images_as_they_were_trained_on(monkeypatch: pytest.MonkeyPatch):
    """A faked download returns untrained weights; the image size and the normalisation are those that timm names."""
    create, built = timm.create_model, []

    def download(model: str, pretrained: bool = False, **options: object) -> torch.nn.Module:
        built.append(create(model, **options))
        return built[-1]

    monkeypatch.setattr(timm, "create_model", download)
    canvases = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    rivals = [Rival(weights="timm/test_resnet")]
    opened = open_rivals(rivals, load_registry(), read_card(PRETRAIN), canvases)["timm/test_resnet"]
    expected = built[-1].pretrained_cfg
    assert (expected["input_size"], expected["mean"]) == ((3, 160, 160), (0.5, 0.5, 0.5))
    images = fit(torch.from_numpy(canvases), 160, "squash", (0, 0, 0))
    mean, std = (torch.tensor(expected[name]).reshape(3, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        wanted = built[-1].eval()((images - mean) / std)
    np.testing.assert_allclose(opened.embed(canvases), wanted, rtol=1e-3, atol=1e-4)
    assert opened.embed(canvases[:0]).shape == (0, wanted.shape[1])


@pytest.mark.usefixtures("project")
def test_weights_of_a_file_get_images_as_the_published_ones_of_their_network_do(tmp_path: Path):
    """Otherwise the results of a downloaded file would differ from those of the published weights that it contains."""
    network = timm.create_model("test_resnet")
    safetensors.torch.save_file(network.state_dict(), tmp_path / "theirs.safetensors")
    canvases = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    rival = Rival.model_validate({"weights": str(tmp_path / "theirs.safetensors"), "backbone": "timm/test_resnet"})
    (opened,) = open_rivals([rival], load_registry(), read_card(PRETRAIN), canvases).values()
    images = (fit(torch.from_numpy(canvases), 160, "squash", (0, 0, 0)) - 0.5) / 0.5
    with torch.no_grad():
        wanted = network.eval().forward_head(network.forward_features(images), pre_logits=True)
    np.testing.assert_allclose(opened.embed(canvases), wanted, rtol=1e-3, atol=1e-4)


def write_graph(path: str, kind: int, shape: list[object], rank: int = 2) -> None:
    """Write a graph that takes the maximum over all dimensions after the first `rank`."""
    value = helper.make_tensor_value_info("x", kind, shape)
    output = helper.make_tensor_value_info("y", kind, shape[:rank])
    axes = helper.make_tensor("axes", TensorProto.INT64, [len(shape) - rank], list(range(rank, len(shape))))
    node = helper.make_node("ReduceMax", ["x", "axes"], ["y"], keepdims=0)
    graph = helper.make_graph([node], "g", [value], [output], [axes])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)


def write_nan(path: str) -> None:
    """Write a graph that returns a row of NaN for each image."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3])
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["means"], keepdims=0),
        helper.make_node("Sub", ["means", "means"], ["nothing"]),
        helper.make_node("Div", ["nothing", "nothing"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", [value], [output], [axes])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)


@pytest.mark.parametrize(
    ("rival", "words"),
    [
        ({"weights": "theirs.pth", "backbone": "timm/resnet18"}, "backbone is only valid with a .safetensors file"),
        ({"weights": "timm/resnet18", "backbone": "timm/resnet18"}, "backbone is only valid with a .safetensors file"),
        ({"weights": "Theirs.ONNX", "backbone": "timm/resnet18"}, "an .onnx file needs no backbone: remove it"),
    ],
)
def test_a_rival_is_never_called_by_a_name_that_was_not_opened(rival: dict[str, object], words: str):
    with pytest.raises(ValidationError, match=words):
        Rival.model_validate(rival)
    assert Rival(weights="Theirs.SafeTensors", backbone={"name": "timm/resnet18"}).backbone


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("rival", "words"),
    [
        ("no/such.onnx", "there is no such file"),
        ("NO.ONNX", "there is no such file"),
        (
            "weights.pth",
            "name a file that ends in .onnx or .safetensors, or a backbone with published weights. Backbones with published weights: timm/...",
        ),
        (
            "models",
            "name a file that ends in .onnx or .safetensors, or a backbone with published weights. Backbones with published weights: timm/...",
        ),
        ("nan.onnx", "it returns NaN or infinity for some images"),
        (
            {"weights": "fits_not.safetensors", "backbone": {"name": "resnet_cifar", "depth": 7}},
            "backbone resnet_cifar: ",
        ),
        ({"weights": "fits_not.safetensors", "backbone": "resnet_cifer"}, "backbone: unknown name 'resnet_cifer'"),
        (
            {"weights": "fits_not.safetensors", "backbone": {"name": "resnet_cifar", "dept": 7}},
            "backbone.dept: unknown",
        ),
        ({"weights": "fits_not.safetensors", "backbone": "resnet_cifar"}, "does not fit the backbone"),
        ("garbage.onnx", "is not a graph that onnxruntime"),
        ("garbage.safetensors", "weights alone do not say which network they belong to"),
        ({"weights": "garbage.safetensors", "backbone": "resnet_cifar"}, "cannot be read as safetensors"),
        ("grey.onnx", r"its input is float \['n', 1, 8, 8\]; it must be uint8 \[N, H, W, 3\]"),
        ("pair.onnx", "its input is uint8 [7, 'h', 'w', 3]"),
        ("maps.onnx", "and no output [N, D]"),
        ("resnet_cifar", "has no published weights"),
        ("resnet18", "unknown name 'resnet18'. Did you mean 'timm/resnet18' or 'torchvision/resnet18'?"),
        (
            "resnet18",
            "Or name a file that ends in .onnx or .safetensors, or a backbone with published weights. Backbones with published weights: timm/...",
        ),
        ("timm/resnet10t", "the published weights of timm/resnet10t could not be downloaded (no route to host)"),
        ("timm/resnet19", "timm has no model 'resnet19'"),
    ],
)
def test_a_rival_that_cannot_be_judged_is_refused_in_a_sentence(
    rival: object, words: str, monkeypatch: pytest.MonkeyPatch
):
    """It is refused before clusters and probes are computed; downloads fail as they do without a network."""

    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    monkeypatch.setattr("ssl_pipeline.evaluation.linear.study.study_clusters", lambda *_: pytest.fail("too late"))
    Path("garbage.onnx").write_bytes(b"garbage")
    Path("garbage.safetensors").write_bytes(b"garbage")
    write_graph("grey.onnx", TensorProto.FLOAT, ["n", 1, 8, 8])
    write_graph("pair.onnx", TensorProto.UINT8, [7, "h", "w", 3])
    write_graph("maps.onnx", TensorProto.FLOAT, ["n", 3, 8, 8], rank=3)
    write_nan("nan.onnx")
    safetensors.torch.save_file({"weight": torch.zeros(2)}, "fits_not.safetensors")
    name_rivals(rival)
    output = evaluate(2).output
    assert "error: linear_eval.rivals" in output
    assert (rival["weights"] if isinstance(rival, dict) else rival) in output
    assert words.replace("\\", "") in output
    assert "pretrain." not in output


@pytest.mark.usefixtures("project")
def test_a_rival_named_twice_is_refused():
    name_rivals("same.onnx", {"weights": "same.onnx"})
    assert "but these are repeated: same.onnx" in evaluate(2).output
