"""Parts of examples/serve in this process: what memory holds, what is counted, and which files belong together."""

import asyncio
import importlib
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

from benchmarks.project import ROOT
from ssl_pipeline.deployment.classifier_graph import append_classifier
from ssl_pipeline.embeddings.reading import Picture
from ssl_pipeline.errors import PipelineError
from tests.embeddings.graphs import write_graph

FOLDER = ROOT / "examples" / "serve"


class Parts(NamedTuple):
    app: Any
    service: Any
    settings: Any
    backbone: Path

    def start(self, **words: Any) -> Any:
        rest = dict(classifier=None, index=None, provider="cpu", threads=1, decoders=2, max_bytes=100, max_images=100)
        more = dict(max_megapixels=1.0, max_requests=9, batch=4, wait_ms=0.0, patience=1.0)
        return self.service.Service(self.settings.Settings(**{"model": self.backbone, **rest, **more, **words}))


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Parts]:
    monkeypatch.syspath_prepend(FOLDER)
    found = [importlib.import_module(name) for name in ("app", "service", "settings")]
    yield Parts(*found, write_graph(tmp_path / "backbone.onnx", weights_sha256="ab" * 32, data_sha256="cd" * 32))
    for name in ("app", "batching", "bodies", "service", "settings"):
        sys.modules.pop(name, None)


def test_few_decoded_images_wait_for_a_slow_model(parts: Parts, monkeypatch: pytest.MonkeyPatch):
    picture = Picture(np.zeros((10, 10, 3), np.uint8), "")
    monkeypatch.setattr(parts.service, "WAITING_BYTES", 4 * picture.pixels.nbytes)
    service = parts.start()
    service._uploads = SimpleNamespace(read=lambda content: picture)
    most, now = 0, 0

    async def model(pixels: np.ndarray) -> np.ndarray:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.002)
        now -= 1
        return np.zeros(3, np.float32)

    uploads = [SimpleNamespace(name=str(number), content=b"") for number in range(64)]
    outcomes = asyncio.run(service.outcomes(uploads, model))
    assert [outcome.about["name"] for outcome in outcomes] == [upload.name for upload in uploads]
    assert 4 <= most <= 4 + 2  # 2 processes decode at the same time
    assert service._waiting_bytes == service._coming == 0


def ask(parts: Parts, service: Any, error: Exception) -> Any:
    async def fail(*words: Any) -> Any:
        raise error

    request = SimpleNamespace(url=SimpleNamespace(path="/embed"))
    return asyncio.run(parts.app._post(service, fail)(request))


def test_a_bug_is_counted(parts: Parts):
    service = parts.start()
    with pytest.raises(ZeroDivisionError):
        ask(parts, service, ZeroDivisionError())
    assert parts.app.latency(service)["answers"] == {500: 1}
    assert service.in_flight == 0


def test_a_decoder_that_was_killed_is_logged_and_told_in_the_words_of_a_client(
    parts: Parts, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.ERROR, "uvicorn.error"):
        response = ask(parts, parts.start(), PipelineError("Give fewer cores (taskset)."))
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert b"try again" in response.body
    assert b"taskset" not in response.body
    assert "/embed was answered with 503: Give fewer cores (taskset)." in caplog.text


def test_a_probe_or_classifier_of_another_run_is_refused(parts: Parts, tmp_path: Path):
    other = write_graph(tmp_path / "other.onnx", weights_sha256="00" * 32, data_sha256="00" * 32)
    tuned = write_graph(tmp_path / "tuned.onnx", weights_sha256="11" * 32, data_sha256="cd" * 32)
    probe = {"backbone_sha256": "ef" * 32}  # linear_eval and finetune both write it
    classifier = {**probe, "labels_per_class": "20"}
    for backbone, metadata, wrong in [
        (parts.backbone, probe, None),
        (tuned, classifier, None),
        (tuned, probe, "weights_sha256"),
        (other, probe, "weights_sha256"),
        (other, classifier, "data_sha256"),
    ]:
        path = tmp_path / "classifier.onnx"
        append_classifier(backbone, np.ones((2, 48)), np.zeros(2), ["a", "b"], path, metadata)
        if wrong is None:
            assert parts.start(classifier=path).classes == ["a", "b"]
            continue
        with pytest.raises(PipelineError, match=f"was not made with .*{wrong} differs"):
            parts.start(classifier=path)


def test_the_index_is_scaled_once(parts: Parts, monkeypatch: pytest.MonkeyPatch):
    rows = np.random.default_rng(0).normal(size=(5, 48)).astype(np.float32)
    digest = parts.start().backbone.sha256

    class Index:
        about = SimpleNamespace(model_sha256=digest)

        def __init__(self, path: Path):
            pass

        def __enter__(self) -> "Index":
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def rows(self) -> Any:
            yield list("abcde"), rows

    monkeypatch.setattr("ssl_pipeline.embeddings.table.Index", Index)
    service = parts.start(index=Path("table"))
    np.testing.assert_allclose(np.linalg.norm(service.bank, axis=1), 1, rtol=1e-6)
    (found,) = asyncio.run(service.neighbours(7 * rows[3:4], 5))
    assert found[0] == {"path": "d", "similarity": pytest.approx(1)}
    service.bank *= 0.5  # with a bank scaled at each request, cosines would stay the same
    assert asyncio.run(service.neighbours(rows[3:4], 1))[0][0]["similarity"] == pytest.approx(0.5)


def test_the_container_has_a_bound_on_decoders_and_is_asked_at_its_own_port():
    said = (FOLDER / "Dockerfile").read_text()
    assert {"SERVE_DECODERS", "SERVE_PORT"} <= set(re.findall(r"(\w+)=", re.findall("^ENV (.*)$", said, re.M)[0]))
    assert 'os.environ[\\"SERVE_PORT\\"]' in re.findall("^HEALTHCHECK (.*)$", said, re.M)[0]


def test_all_that_the_service_imports_is_listed():
    listed = re.findall(r"^[\w-]+", (FOLDER / "requirements.txt").read_text(), re.M)
    imports = {
        name
        for path in FOLDER.glob("*.py")
        for name in re.findall(r"^(?:from|import) (\w+)", path.read_text(), re.M)
        if name not in sys.stdlib_module_names and not (FOLDER / f"{name}.py").exists()
    }
    assert {name.replace("_", "-") for name in imports - {"ssl_pipeline"}} <= set(listed)
