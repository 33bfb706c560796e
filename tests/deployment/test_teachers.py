"""A teacher's files are opened as stated; its embeddings are stored and resumed, never mixed with another teacher's."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ssl_pipeline.artifacts.assembly import build_encoder
from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.artifacts.files import save_weights
from ssl_pipeline.config import Choice
from ssl_pipeline.data.framing import Framing
from ssl_pipeline.data.image_spec import RGB8
from ssl_pipeline.data.store import Split
from ssl_pipeline.deployment import foreign_encoders, teacher_targets
from ssl_pipeline.deployment.teacher_targets import targets_of
from ssl_pipeline.deployment.teachers import OpenedTeacher, open_teacher
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.loading import load_registry
from ssl_pipeline.provenance.teachers import teacher_digests
from ssl_pipeline.recipes import Recipe
from ssl_pipeline.training.targets import AskedTargets
from tests.factories import BACKBONE, MEAN, STD, digit_images
from tests.teacher_graph import STATED, write_teacher

REGISTRY = load_registry()
FRAMING = Framing(8, "squash", (0, 0, 0))
IMAGES = 50


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def pool() -> Split:
    ids = np.arange(IMAGES, dtype=np.uint64)
    return Split("train", 8, ids, MEAN, STD, "digits", (digit_images(IMAGES),))


def recipe(teacher: Any, **options: Any) -> Recipe:
    task = {"name": "distill", "hidden_dim": 8, "teacher": teacher, **options}
    return Recipe(name="own", pretext_task=Choice.model_validate(task), loss=Choice(name="embedding_distillation"))


def opened(pool: Split, teacher: Any, **options: Any) -> OpenedTeacher:
    found = open_teacher(REGISTRY, recipe(teacher, **options), pool, FRAMING)
    assert found is not None
    return found


def expected(images: np.ndarray) -> np.ndarray:
    """Compute the graph's embeddings of canvases with numpy."""
    normalised = (images.transpose(0, 3, 1, 2) / 255 - 0.5) / 0.25
    return normalised.reshape(-1, 3, 4, 2, 4, 2).mean(axis=(3, 5)).reshape(len(images), -1)


def test_a_graph_of_others_sees_canvases_as_it_is_stated_to(pool: Split):
    teacher = opened(pool, {"weights": write_teacher("theirs.onnx"), **STATED})
    np.testing.assert_allclose(teacher.embed(digit_images(5)), expected(digit_images(5)), atol=1e-4)
    known = teacher.known_to(recipe("theirs.onnx"))
    assert known.pretext_task.options["teacher_dim"] == teacher.teaching.dim == 48


def test_weights_of_others_are_given_images_as_they_are_stated_to_take(pool: Split, monkeypatch: pytest.MonkeyPatch):
    """Size and statistics differ from the student's; `tests/stages/test_rivals.py` exports real networks."""
    seen: list[tuple[Any, ...]] = []

    def write(encoder: Any, card: ModelCard, path: Path, **_: Any) -> None:
        seen.append((encoder.mean.flatten().tolist(), encoder.std.flatten().tolist(), card.size, card.resize))
        shutil.copy(write_teacher("theirs.onnx", shape=("n", "h", "w", 3)), path)

    monkeypatch.setattr(foreign_encoders, "export_backbone", write)
    backbone = build_encoder(REGISTRY, BACKBONE, MEAN, STD, 3, 16).backbone
    save_weights(Path("bare.safetensors"), backbone.state_dict())
    teacher = {"weights": "bare.safetensors", "backbone": BACKBONE.model_dump(), "size": 16, **STATED}
    opened(pool, teacher)
    assert seen == [([0.5] * 3, [0.25] * 3, 16, "squash")]


@pytest.mark.parametrize(
    ("teacher", "words"),
    [
        (None, r"learns from another encoder, but none is named\. Write pretrain\.pretext_task: \{teacher: PATH\}"),
        ("no/such.onnx", r"'no/such\.onnx': there is no such file"),
        ("theirs.onnx", r"normalisation .* unknown.*\{weights: theirs\.onnx, mean: \[0\.485.*std: \[0\.229"),
        ("any.onnx", r"\{weights: any\.onnx, size: 224, mean: "),
        ({"weights": "any.onnx", **STATED}, r"\{weights: any\.onnx, size: 224\} for"),
        ({"weights": "theirs.onnx", "size": 224, **STATED}, r"stated size is 224 px, but its graph takes 8 px"),
        ({"weights": "ours.onnx", "size": 8}, r"its graph takes raw pixels of any size: leave size out"),
        ("five.onnx", r"its input is uint8 \['n', 'h', 'w', 5\]; it must be uint8 \[N, H, W, 3\]"),
        ({"weights": "nan.onnx", **STATED}, r"it returns NaN or infinity for some images"),
        ("broken.onnx", r"is not a graph that onnxruntime"),
        ({"weights": "bare.safetensors", "backbone": "resnet_cifar"}, r"backbone '\S+' was trained on are unknown"),
        ({"weights": "bare.safetensors", "backbone": "resnet_cifar", "size": 8}, r"state size, mean and std, or none"),
        ("bare.safetensors", r"weights alone do not say which network they belong to"),
        ("models/export/own.onnx", r"lies in models, where the products of this run will replace it\. Copy it"),
        ("theirs.pth", r"name a file that ends in \.onnx or \.safetensors"),
        ("resnet19", r"unknown name 'resnet19'"),
    ],
)
def test_a_teacher_that_cannot_teach_is_refused_in_a_sentence(teacher: Any, words: str, pool: Split):
    Path("models/export").mkdir(parents=True)
    Path("broken.onnx").write_bytes(b"no graph")
    Path("models/export/own.onnx").write_bytes(b"")
    for name, options in {
        "theirs.onnx": {},
        "any.onnx": {"shape": ("n", 3, "h", "w")},
        "ours.onnx": {"shape": ("n", "h", "w", 3)},
        "five.onnx": {"shape": ("n", "h", "w", 5)},
        "nan.onnx": {"nan": True},
    }.items():
        write_teacher(name, **options)
    save_weights(Path("bare.safetensors"), {"weight": torch.zeros(1)})
    with pytest.raises(ConfigError, match=rf"^pretrain\.pretext_task\.teacher(?s:.*){words}"):
        open_teacher(REGISTRY, recipe(teacher), pool, FRAMING)


def test_a_length_that_is_not_the_teacher_s_is_refused(pool: Split):
    with pytest.raises(ConfigError, match=r"teacher_dim: 7, but the embeddings of theirs\.onnx have 48 components"):
        opened(pool, {"weights": write_teacher("theirs.onnx"), **STATED}, teacher_dim=7)


@pytest.mark.parametrize("centre", [True, False])
def test_embeddings_of_whole_images_are_kept_and_a_run_that_died_goes_on(
    centre: bool, pool: Split, here: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(teacher_targets, "_BLOCK", 16)
    teacher, asked = opened(pool, {"weights": write_teacher("theirs.onnx"), **STATED}, centre=centre), []

    def noted(images: np.ndarray, last: int = 100) -> np.ndarray:
        if len(asked) == last:
            raise KeyboardInterrupt
        asked.append(len(images))
        return teacher.embed(images)

    with pytest.raises(KeyboardInterrupt):
        targets_of(teacher._replace(embed=lambda images: noted(images, 2)), pool, "plain", here / "kept")
    assert asked == [16, 16]
    for _ in range(2):  # the second time, all embeddings are stored
        targets = targets_of(teacher._replace(embed=noted), pool, "plain", here / "kept")
        assert asked == [16, 16, 16, 2]
    rows = np.array([40, 3, 17])
    whole = expected(digit_images(IMAGES))
    found = targets.of(rows, {"plain": torch.zeros(3, 1, 3, 8, 8)})
    wanted = (whole - centre * whole.mean(axis=0))[rows]
    np.testing.assert_allclose(found[:, 0], wanted, atol=1e-4)
    assert [path.name for path in sorted((here / "kept").glob("*/*"))] == ["embeddings.npy", "lock", "mean.npy"]


def test_another_teacher_another_statement_and_another_pool_share_nothing_and_few_are_kept(pool: Split, here: Path):
    teacher = {"weights": write_teacher("theirs.onnx"), **STATED}
    digests = {tuple(teacher_digests({"teacher": teacher}).items())}
    for number, (change, images) in enumerate([({}, "digits"), ({}, "others"), ({"std": [1, 1, 1]}, "digits")]):
        targets_of(opened(pool, teacher | change), Split(*_parts(pool, images)), "plain", here / "kept")
        assert len(list((here / "kept").glob("*/embeddings.npy"))) == number + 1
    for scale in (2.0, 3.0):
        write_teacher("theirs.onnx", scale)
        digests.add(tuple(teacher_digests({"teacher": teacher}).items()))
        targets_of(opened(pool, teacher), pool, "plain", here / "kept")
    assert len(list((here / "kept").glob("*/embeddings.npy"))) == 4
    assert len(digests) == 3
    Path("theirs.onnx.data").write_bytes(b"weights that lie beside it")
    assert teacher_digests({"teacher": teacher}).keys() == {"teacher", "teacher.data"}
    assert teacher_digests({"teacher": "none.onnx"}) == teacher_digests({"teacher": 7}) == teacher_digests({}) == {}


def _parts(pool: Split, sha256: str) -> tuple[Any, ...]:
    return pool.name, pool.canvas, pool.ids, pool.mean, pool.std, sha256, pool.shards


def test_a_teacher_that_sees_views_is_asked_of_these(pool: Split, here: Path):
    teacher = opened(pool, {"weights": write_teacher("theirs.onnx"), **STATED}, targets="views")
    targets = targets_of(teacher, pool, "plain", here / "kept")
    canvases = digit_images(6)
    between = (canvases - 0.4).clip(0, 255).astype(np.float32)  # the teacher sees values rounded to 8 bits
    views = torch.from_numpy(between).permute(0, 3, 1, 2).reshape(3, 2, 3, 8, 8) / 255
    mean = expected(digit_images(IMAGES)).mean(axis=0)
    wanted = (expected(canvases) - mean).reshape(3, 2, -1)
    np.testing.assert_allclose(targets.of(np.arange(3), {"plain": views}), wanted, atol=1e-4)


def test_numbers_that_are_none_end_the_run_wherever_they_come(pool: Split, here: Path):
    teacher = opened(pool, {"weights": write_teacher("theirs.onnx"), **STATED})
    odd = teacher._replace(embed=lambda images: np.full((len(images), 48), np.nan, np.float32))
    with pytest.raises(PipelineError, match=r"teacher: it returns NaN or infinity for 50 of 50 images"):
        targets_of(odd, pool, "plain", here / "kept")
    with pytest.raises(PipelineError, match=r"NaN or infinity for 2 of 2 images"):
        AskedTargets(odd.embed, 0.0, "plain", RGB8).of(np.arange(2), {"plain": torch.zeros(2, 1, 3, 8, 8)})
