"""text.onnx: what it computes, and the proof that refuses a graph that computes something else."""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ssl_pipeline.deployment import text_release
from ssl_pipeline.deployment.runtime import open_session, read_metadata
from ssl_pipeline.deployment.text_release import release_text, texts_to_try, verify_text
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.export_config import GraphConfig
from ssl_pipeline.products import sha256, verified
from ssl_pipeline.runtime import TextTower
from tests.text_graphs import CAPTIONS, CONTEXT, small_tokenizer, write_text_tower
from tests.text_model import DIM, TextModel, write_text_graph, write_text_model

SECTION = GraphConfig(layer="last", l2_normalize=True, opset=18, core_batch="dynamic", outputs=["embedding"])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TextModel:
    return write_text_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def graph(model: TextModel) -> Path:
    path = model.folder / "exported.onnx"
    write_text_graph(model, path)
    return path


def test_it_is_released_with_its_tokenizer_and_proved_by_a_new_process(model: TextModel, graph: Path, tmp_path: Path):
    command = [sys.executable, "-m", "ssl_pipeline", "reference", str(model.folder)]
    assert model.task.text_tower is not None
    figures = release_text(tmp_path, model.task.text_tower, model.card, SECTION, model.folder, CAPTIONS, command)
    assert figures["max_difference"] < 1e-5
    assert figures["row_difference"] < 1e-5
    assert figures["texts"] == len(CAPTIONS) + 8
    tokenizer = verified(tmp_path / "tokenizer.json", "export")
    assert tokenizer.read_bytes() == (model.folder / "tokenizer.json").read_bytes()
    assert (tmp_path / "text.onnx").read_bytes() == graph.read_bytes()  # the same tower makes the same bytes
    said = read_metadata(open_session(tmp_path / "text.onnx"))
    assert said["weights_sha256"] == model.card.weights_sha256
    assert said["text_weights_sha256"] == sha256(model.folder / "text_tower.safetensors")
    assert json.loads(said["context"]) == CONTEXT
    assert json.loads(said["l2_normalized"])

    # the runtime's embeddings of all texts equal torch's of each text alone
    with torch.inference_mode():
        for text, row in zip(CAPTIONS, TextTower(tmp_path / "text.onnx")(CAPTIONS), strict=True):
            tokens, mask, _ = small_tokenizer().encode([text])
            length = int(mask.sum())
            alone = model.task.text_tower(torch.tensor(tokens[:, :length]), torch.tensor(mask[:, :length]))[0]
            np.testing.assert_allclose(row, (alone / alone.norm()).numpy(), atol=1e-5)


def test_any_number_and_any_length_of_texts_can_be_embedded(model: TextModel, graph: Path):
    session = open_session(graph)
    assert model.task.text_tower is not None
    for count, length in ((1, 1), (1, CONTEXT), (5, 2), (3, 5), (0, 4)):
        tokens = np.random.default_rng(length).integers(3, 280, (count, length))
        mask = np.ones_like(tokens)
        found = session.run(None, {"tokens": tokens, "mask": mask})[0]
        with torch.inference_mode():
            expected = F.normalize(model.task.text_tower(torch.tensor(tokens), torch.tensor(mask)), dim=1).numpy()
        assert found.shape == (count, DIM)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def alone(path: Path) -> Callable[..., dict[str, np.ndarray]]:
    """Return a reference that runs a graph on each text alone and without its padding."""
    session = open_session(path)

    def rebuilt(beside: Path, command: object, options: object, arrays: Mapping[str, np.ndarray]):
        answers = {}
        for name in [entry.removeprefix("tokens/") for entry in arrays if entry.startswith("tokens/")]:
            tokens, mask = arrays[f"tokens/{name}"], arrays[f"mask/{name}"]
            given = [
                {"tokens": tokens[[row], :length], "mask": mask[[row], :length]}
                for row, length in enumerate(mask.sum(axis=1))
            ]
            answers[name] = np.concatenate([session.run(None, one)[0] for one in given])
        return answers

    return rebuilt


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("weights", "torch and onnxruntime differ"),
        ("padding", "torch and onnxruntime differ"),
        ("batch", "rows depend on their batch"),
        ("collapse", "outputs do not vary"),
    ],
)
def test_a_graph_that_computes_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, said: str
):
    path = write_text_tower(tmp_path, DIM)
    monkeypatch.setattr(text_release, "rebuilt", alone(path))
    tokenizer = small_tokenizer()
    assert verify_text(path, CAPTIONS, tokenizer, [], l2_normalize=True)["texts"] == len(CAPTIONS) + 8
    write_text_tower(tmp_path, DIM, broken=how)
    if how == "collapse":
        monkeypatch.setattr(text_release, "rebuilt", alone(path))
    with pytest.raises(PipelineError, match=f"text.onnx does not compute what torch computes(?s:.*){said}"):
        verify_text(path, CAPTIONS, tokenizer, [], l2_normalize=True)


def test_texts_are_tried_padded_cut_and_alone():
    batches = texts_to_try(["a"] * 40, small_tokenizer())
    shapes = {name: tokens.shape for name, (tokens, _) in batches.items()}
    assert shapes["all"] == (24, CONTEXT)
    assert shapes["one"] == (1, 2)
    assert shapes["short"][1] < CONTEXT
    assert (batches["all"][1].sum(axis=1) == CONTEXT).any()  # one text is truncated
