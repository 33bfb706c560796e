"""Initial weights from a file: all of them are loaded by name, or a message says what does not fit."""

from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch

from ssl_pipeline.config import Choice
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.loading import load_registry
from ssl_pipeline.training.initial import load_weights, say_left_out


@pytest.fixture
def encoder(build_small, configure):
    return build_small(configure(seed=5)).encoder


def same(first, second):
    return all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


@pytest.mark.parametrize("whole", [True, False], ids=["encoder", "backbone alone"])
def test_both_kinds_of_files_load(encoder, build_small, configure, tmp_path, whole):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file((encoder if whole else encoder.backbone).state_dict(), path)
    task = build_small(configure(init=str(path)))
    assert same(encoder.backbone, task.encoder.backbone)
    assert not same(encoder.backbone, build_small(configure()).encoder.backbone)


def test_a_file_of_the_library_that_made_the_network_loads(tmp_path):
    """The file lacks the prefix that the network has here, and includes its classifier."""
    path = tmp_path / "weights.safetensors"
    torch.manual_seed(1)
    theirs = timm.create_model("test_resnet")
    safetensors.torch.save_file(theirs.state_dict(), path)
    backbone = load_registry().build("backbone", Choice(name="timm/test_resnet"), size=32, pretrained=False).eval()
    load_weights(backbone, path)
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(backbone(images), theirs.eval().forward_head(theirs.forward_features(images), pre_logits=True))


def test_misfits_are_named(encoder, tmp_path):
    state = encoder.backbone.state_dict()
    names = [name for name, value in state.items() if value.ndim == 4]
    state[names[0]] = torch.zeros(7, 3, 3, 3)
    del state[names[1]]
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(state, path)
    with pytest.raises(ConfigError) as caught:
        load_weights(encoder.backbone, path)
    message = str(caught.value)
    assert f"{names[1]} is missing" in message
    assert f"{names[0]} has shape (7, 3, 3, 3) in the file and (4, 3, 3, 3) in the backbone" in message
    assert message.startswith(f"pretrain.init: {path} does not fit")


def test_many_misfits_are_counted(encoder, tmp_path):
    safetensors.torch.save_file({"other": torch.zeros(1)}, tmp_path / "weights.safetensors")
    count = sum(not name.endswith("num_batches_tracked") for name in encoder.backbone.state_dict())
    with pytest.raises(ConfigError, match=rf"and {count - 5} more"):
        load_weights(encoder.backbone, tmp_path / "weights.safetensors")


def test_a_classifier_in_the_file_is_left_out_and_said(encoder, tmp_path, capsys):
    state = {**encoder.backbone.state_dict(), "fc.weight": torch.zeros(10, 4)}
    safetensors.torch.save_file(state, tmp_path / "weights.safetensors")
    load_weights(encoder.backbone, tmp_path / "weights.safetensors")
    assert not capsys.readouterr().err  # each stage loads the weights, but only pretrain reports this
    say_left_out(encoder.backbone, tmp_path / "weights.safetensors")
    assert "(1): fc.weight" in capsys.readouterr().err


@pytest.mark.parametrize("wrapped", ["", "network."])
def test_weights_of_a_deeper_network_are_refused_and_a_classifier_within_a_head_is_not(tmp_path, wrapped):
    """ConvNeXt's classifier and a norm of its backbone are in the same module."""
    path = tmp_path / "weights.pth"
    theirs = timm.create_model("test_convnext").state_dict()
    assert {"head.fc.weight", "head.norm.weight"} <= theirs.keys()
    backbone = load_registry().build("backbone", Choice(name="timm/test_convnext"), size=32, pretrained=False)
    load_weights(backbone, saved(path, {f"{wrapped}{name}": value for name, value in theirs.items()}))
    deeper = {name.replace("blocks.0", "blocks.7"): value for name, value in theirs.items()} | theirs
    deeper = {f"{wrapped}{name}": value for name, value in deeper.items()}
    with pytest.raises(
        ConfigError, match=r"does not fit .*stages\.0\.blocks\.7\.\S* exists only in the file;.*more\. Use"
    ):
        load_weights(backbone, saved(path, deeper))


def test_a_transformer_of_another_image_size_is_told_to_change_the_size_of_views(tmp_path):
    theirs = timm.create_model("test_vit", img_size=48).state_dict()
    backbone = load_registry().build("backbone", Choice(name="timm/test_vit"), size=32, pretrained=False)
    with pytest.raises(
        ConfigError, match=r"Only position embeddings differ: .*Set augment\.views\.<kind>\.size to that"
    ):
        load_weights(backbone, saved(tmp_path / "weights.pth", theirs))


def first_floats(state):
    return next(name for name, value in state.items() if value.ndim == 4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda value: value.to(torch.int64), "has type torch.int64 in the file and torch.float32 in"),
        (lambda value: value.to(torch.float8_e4m3fn), "has type torch.float8_e4m3fn in the file and torch.float32"),
        (lambda value: value.to(torch.complex64), "has type torch.complex64 in the file"),
        (lambda value: value * float("nan"), "contains NaN or infinity"),
        (lambda value: value * float("inf"), "contains NaN or infinity"),
    ],
)
def test_weights_that_are_no_weights_are_refused(encoder, tmp_path, change, words):
    state = encoder.backbone.state_dict()
    name = first_floats(state)
    state[name] = change(state[name])
    safetensors.torch.save_file(state, tmp_path / "weights.safetensors")
    with pytest.raises(ConfigError, match=f"{name} {words}"):
        load_weights(encoder.backbone, tmp_path / "weights.safetensors")


def test_weights_of_half_precision_load(encoder, tmp_path):
    state = {name: value.half() if value.is_floating_point() else value for name, value in encoder.state_dict().items()}
    safetensors.torch.save_file(state, tmp_path / "weights.safetensors")
    load_weights(encoder.backbone, tmp_path / "weights.safetensors")
    name = first_floats(encoder.backbone.state_dict())
    assert torch.equal(encoder.backbone.state_dict()[name], state[f"backbone.{name}"].float())


def test_names_that_are_left_out_are_told_in_a_bounded_line(encoder, tmp_path, capsys):
    others = {f"odd\x1b[31m\n{number}": torch.zeros(1) for number in range(2000)}
    safetensors.torch.save_file({**encoder.backbone.state_dict(), **others}, tmp_path / "weights.safetensors")
    say_left_out(encoder.backbone, tmp_path / "weights.safetensors")
    (said,) = capsys.readouterr().err.splitlines()
    assert "(2000): odd\\x1b[31m\\n0" in said
    assert len(said) < 1200
    assert said.isprintable()


def header(text):
    return len(text).to_bytes(8, "little") + text.encode()


def test_a_folder_a_device_and_a_pickle_are_refused(encoder, tmp_path):
    torch.save(encoder.backbone.state_dict(), tmp_path / "pickle.safetensors")
    (tmp_path / "graph.ONNX").touch()
    (tmp_path / "weights.npz").touch()
    for path, words in [
        (tmp_path, "is not a file"),
        (Path("/dev/zero"), "is not a file"),
        (tmp_path / "pickle.safetensors", "cannot be read as safetensors"),
        (
            tmp_path / "graph.ONNX",
            r"with a teacher and set pretrain\.pretext_task: \{teacher: .*; to compare .*linear_eval\.rivals",
        ),
        (tmp_path / "weights.npz", r"'weights\.npz' is not a file of weights\. Name a \.safetensors file, or"),
        (tmp_path / ("x" * 300), "cannot be read|does not exist"),
    ]:
        with pytest.raises(ConfigError, match=rf"pretrain\.init: .*{words}") as caught:
            load_weights(encoder.backbone, path)
        assert len(str(caught.value)) < 2 * len(str(path)) + 400


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        (b"", "cannot be read"),
        (b"not safetensors", "cannot be read"),
        (b"\xff" * 8 + b"{}", "cannot be read"),
        ((2**62).to_bytes(8, "little") + b"{}", "cannot be read"),
        (header('{"w": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}'), "cannot be read"),
        (header('{"w": {"dtype": "ODD", "shape": [1], "data_offsets": [0, 4]}}') + b"1234", "cannot be read"),
        (header('{"w": {"dtype": "F8_E8M0", "shape": [4], "data_offsets": [0, 4]}}') + b"1234", "does not fit|cannot"),
        (header('{"w": {"dtype": "F4", "shape": [8], "data_offsets": [0, 4]}}') + b"1234", "does not fit|cannot"),
    ],
)
def test_an_unreadable_file_is_a_message(encoder, tmp_path, content, words):
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"pretrain\.init: .*{words}"):
        load_weights(encoder.backbone, path)


def saved(path, content):
    torch.save(content, path)
    return path


@pytest.fixture
def other(build_small, configure):
    """Another encoder, whose weights the files contain."""
    return build_small(configure(seed=6)).encoder.backbone


@pytest.mark.parametrize(
    "nested",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"state": {0: {"step": torch.ones(1)}}}},
        lambda state: {"model": {f"module.{name}": value for name, value in state.items()}},
        lambda state: {"trainer": {"model": {f"model.backbone.{name}": value for name, value in state.items()}}},
        lambda state: {**{f"encoder_q.{name}": value for name, value in state.items()}, "queue": torch.ones(4, 4)},
        lambda state: {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")},
    ],
    ids=["plain", "state_dict", "module", "deep", "prefix", "old"],
)
def test_weights_are_found_in_checkpoints_as_people_have_them(encoder, other, tmp_path, nested):
    path = saved(tmp_path / "checkpoint.pth", nested(other.state_dict()))
    assert not same(other, encoder.backbone)
    assert load_weights(encoder.backbone, path) is None
    assert same(other, encoder.backbone)


def test_several_sets_that_fit_are_named_and_none_is_taken(encoder, other, tmp_path):
    before, state = {name: value.clone() for name, value in encoder.backbone.state_dict().items()}, other.state_dict()
    both = {f"{side}.{name}": value for side in ("encoder_q", "encoder_k") for name, value in state.items()}
    for content, words in [
        ({"model": state, "model_ema": state}, "'model'; 'model_ema'"),
        ({"state_dict": both}, "'encoder_q' under 'state_dict'; 'encoder_k' under 'state_dict'"),
    ]:
        with pytest.raises(ConfigError, match=rf"several sets of weights that fit the backbone \({words}\).*Save the"):
            load_weights(encoder.backbone, saved(tmp_path / "checkpoint.pth", content))
    assert all(torch.equal(value, before[name]) for name, value in encoder.backbone.state_dict().items())


class Malicious:
    def __reduce__(self):
        return Path.touch, (Path("ran"),)


@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"state_dict": {}}, "contains no named tensors. Save a state_dict"),
        ([torch.ones(1)], "contains no named tensors"),
        ({"weights": torch.ones(1), "more": Malicious()}, "not opened, as they could run any code"),
        (
            torch.nn.Linear(1, 1),
            r"Python objects or a program beside its tensors, which are not opened, as they could run any code\. If you "
            r"trust the file, save only its weights: torch\.save\(network\.state_dict\(\), path\)\.$",
        ),
        (
            {"stem.0.weight": torch.ones(4, 3, 3, 3).to_sparse()},
            "does not fit the backbone: stem.0.weight is not a dense array in the file; stem.1.weight is missing",
        ),
    ],
)
def test_what_holds_more_or_less_than_weights_is_not_opened(encoder, tmp_path, monkeypatch, content, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=rf"pretrain\.init: .*{words}"):
        load_weights(encoder.backbone, saved(tmp_path / "weights.pt", content))
    assert not Path("ran").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"\x80\x02]q\x00.", b"\x80\x02" + b"(" * 5000])
def test_a_damaged_pickle_is_a_message(encoder, tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(
        ConfigError, match=r"pretrain\.init: .*weights\.pth (cannot be read|contains no named tensors)"
    ) as caught:
        load_weights(encoder.backbone, path)
    assert len(str(caught.value)) < len(str(path)) + 600


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((4, 1, 3, 3), r"takes images with 1 channels, but these have 3\. Give it RGB images \(ingest\.pixels: rgb8\)"),
        (
            (4, 3, 7, 7),
            r"first convolution is 7 x 7, but the backbone's is 3 x 3\. .*pretrain\.backbone: \{stem: imagenet\}",
        ),
        ((8, 3, 3, 3), r"Use the backbone that the file was made with"),
    ],
)
def test_another_first_convolution_is_told_with_what_to_do(encoder, tmp_path, shape, words):
    state = encoder.backbone.state_dict() | {"stem.0.weight": torch.zeros(shape)}
    with pytest.raises(ConfigError, match=words):
        load_weights(encoder.backbone, saved(tmp_path / "weights.pth", state))
