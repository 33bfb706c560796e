"""An exported text tower as a function of texts."""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tokenizers

from ssl_pipeline import text_runtime
from ssl_pipeline.deployment.runtime import open_session
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import sha256
from ssl_pipeline.runtime import TextTower
from tests.embeddings.graphs import write_graph
from tests.factories import digit_images
from tests.text_graphs import CONTEXT, write_text_tower

HOSTILE = [
    *(
        "",
        " ",
        "\n\t",
        "\0",
        "a\0b",
        "\u202eabc",
        "\ufeff",
        "\ud800 half a pair",
        "e\u0301",
        "<end of text>",
        "\U0010ffff",
    ),
    *(
        "\u0628\u0634\u0643\u0644 \u062f\u0631\u0627\u062c\u0629",
        "\u81ea\u884c\u8f66",
        "\U0001f9d1\u200d\U0001f680" * 40,
    ),
    *("a" * 10_000, "word " * 10_000, "A RED  Bicycle", "\r\n".join("xy"), "\x1b[31mred"),
]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text_tower(tmp_path_factory.mktemp("model"), dim=6)


def test_texts_are_what_the_library_s_tokens_are_to_the_graph(path: Path):
    library = tokenizers.Tokenizer.from_file(str(path.with_name("tokenizer.json")))
    session, tower = open_session(path), TextTower(path)
    assert (tower.dim, tower.context) == (6, CONTEXT)
    found = tower(HOSTILE)
    assert found.dtype == np.float32
    assert found.shape == (len(HOSTILE), 6)
    for text, row in zip(HOSTILE, found, strict=True):
        encoded = library.encode(text.encode("utf-8", "replace").decode())
        tokens, mask = (np.array([part], np.int64) for part in (encoded.ids, encoded.attention_mask))
        np.testing.assert_allclose(row, session.run(None, {"tokens": tokens, "mask": mask})[0][0], atol=1e-6)


def test_a_text_is_the_same_alone_and_among_others(path: Path, monkeypatch: pytest.MonkeyPatch):
    tower = TextTower(path)
    alone = np.concatenate([tower([text]) for text in HOSTILE])
    np.testing.assert_allclose(tower(HOSTILE), alone, atol=1e-6)
    monkeypatch.setattr(text_runtime, "_BATCH_TEXTS", 4)
    np.testing.assert_allclose(tower(HOSTILE), alone, atol=1e-6)
    assert tower([]).shape == (0, 6)


def test_calls_may_come_from_several_threads(path: Path):
    tower = TextTower(path)
    expected = tower(HOSTILE)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(tower, [HOSTILE] * 12):
            np.testing.assert_array_equal(found, expected)


def test_it_says_which_texts_are_not_read_to_their_end(path: Path):
    assert TextTower(path).truncated(["a", "word " * 20, ""]).tolist() == [False, True, False]


def test_what_is_no_list_of_texts_is_refused(path: Path):
    tower = TextTower(path)
    with pytest.raises(PipelineError, match="texts is a single string, but the model expects a list"):
        tower("a red bicycle")
    for call in (tower, tower.truncated):
        with pytest.raises(PipelineError, match=r"texts\[1\] is of type bytes, but the model expects str"):
            call(["a", b"red"])  # type: ignore[list-item]


def test_another_tokenizer_or_none_is_refused(tmp_path: Path):
    path = write_text_tower(tmp_path, dim=6)
    tokenizer = tmp_path / "tokenizer.json"
    content = tokenizer.read_text(encoding="utf-8")
    tokenizer.write_text(content.replace('"max_length": 8', '"max_length": 9'), encoding="utf-8")
    with pytest.raises(PipelineError, match=r"tokenizer\.json is not the tokenizer that .*text\.onnx was trained with"):
        TextTower(path)
    tokenizer.unlink()
    with pytest.raises(PipelineError, match=r"tokenizer\.json cannot be read .*No such file"):
        TextTower(path)
    tokenizer.write_text("{", encoding="utf-8")
    write_text_tower(tmp_path, dim=6, tokenizer_sha256=sha256(tokenizer))
    tokenizer.write_text("{", encoding="utf-8")
    with pytest.raises(PipelineError, match=r"tokenizer\.json cannot be read"):
        TextTower(path)


def test_the_code_of_the_page_on_texts_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    page = (Path(__file__).parents[1] / "docs/text.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    export = tmp_path / "models/export"
    export.mkdir(parents=True)
    write_text_tower(export, 48)
    write_graph(export / "backbone.onnx")
    monkeypatch.chdir(tmp_path)
    names = {"photos": list(digit_images(3))}
    exec(compile(code, "docs/text.md", "exec"), names)
    assert names["cosines"].shape == (3, 2)


def test_a_graph_of_images_is_refused(tmp_path: Path):
    path = write_graph(tmp_path / "backbone.onnx")
    with pytest.raises(PipelineError, match=r"backbone\.onnx is not a text tower: it takes images instead of tokens"):
        TextTower(path)
    with pytest.raises(PipelineError, match="does not exist"):
        TextTower(tmp_path / "text.onnx")


def test_neither_torch_nor_the_tokenizers_are_imported_before_a_text_is_read(path: Path):
    code = (
        "import sys, ssl_pipeline.runtime as r\n"
        "assert 'tokenizers' not in sys.modules\n"
        f"assert r.TextTower({str(path)!r})(['a']).shape == (1, 6)\n"
        "print(sorted({'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
