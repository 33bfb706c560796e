"""The service of examples/serve over loopback: what it answers, refuses and batches, and how it stops."""

import contextlib
import http.client
import io
import json
import re
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from sklearn.datasets import load_sample_images

from benchmarks.project import ROOT
from ssl_pipeline.deployment.classifier_graph import append_classifier
from ssl_pipeline.embeddings.reading import Picture, canvas_of, read_some
from ssl_pipeline.products import sha256
from ssl_pipeline.runtime import Backbone
from ssl_pipeline_stages.embed import embed
from tests.deployment.hostile_uploads import HOSTILE, MOST_BYTES
from tests.embeddings.graphs import write_graph

FORBIDDEN = ("torch", "torchvision", "timm", "onnx", "sklearn", "matplotlib", "scipy")
ALONE = f"""
import runpy, sys
for name in {FORBIDDEN}:
    sys.modules[name] = None
sys.path.insert(0, {str(ROOT / "examples" / "serve")!r})
runpy.run_path({str(ROOT / "examples" / "serve")!r}, run_name="__main__")
"""
Answer = tuple[int, dict[str, Any]]


class Server(NamedTuple):
    process: "subprocess.Popen[str]"
    port: int

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def post(self, path: str, *files: bytes) -> Answer:
        """Send one file as the body, or several as a form."""
        if len(files) == 1:
            return self.ask("POST", path, files[0])
        named = [(f"{number}.jpg", content) for number, content in enumerate(files)]
        return self.ask("POST", path, form(*named), content_type="multipart/form-data; boundary=xyz")


def form(*files: tuple[str, bytes]) -> bytes:
    head = '--xyz\r\nContent-Disposition: form-data; name="images"; filename="{}"\r\n\r\n'
    return b"".join(head.format(name).encode() + content + b"\r\n" for name, content in files) + b"--xyz--\r\n"


@contextlib.contextmanager
def started(*words: object) -> Iterator[Server]:
    """Start the service; unless it has ended by then, check that it stops cleanly on request."""
    command = [sys.executable, "-c", ALONE, "--port", "0", "--decoders", "1", "--threads", "1", *map(str, words)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            found = next(filter(None, (re.search(r"http://127\.0\.0\.1:(\d+)", line) for line in process.stderr)))
            yield Server(process, int(found[1]))
            process.terminate()
            assert process.wait(20) == 0
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()


def jpeg(image: np.ndarray, **options: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=92, **options)
    return content.getvalue()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Write six photographs of several sizes; one lies on its side according to its EXIF data."""
    china, flower = load_sample_images().images
    note = Image.Exif()
    note[0x0112] = 6
    files = [jpeg(china), jpeg(flower, exif=note.tobytes()), *(jpeg(china[:, n:]) for n in (100, 200, 300, 301))]
    folder = tmp_path_factory.mktemp("photos")
    for number, content in enumerate(files):
        (folder / f"{number}.jpg").write_bytes(content)
    return sorted(folder.iterdir())


class Models(NamedTuple):
    backbone: Path
    classifier: Path
    index: Path


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, photos: list[Path]) -> Models:
    folder = tmp_path_factory.mktemp("models")
    backbone = write_graph(folder / "backbone.onnx")
    weight = np.random.default_rng(0).normal(size=(2, 48)).astype(np.float32)
    append_classifier(backbone, weight, np.zeros(2, np.float32), ["temple", "flower"], folder / "probe.onnx")
    words = [str(photos[0].parent), "--model", str(backbone), "--out", str(folder / "embeddings.parquet")]
    assert CliRunner().invoke(embed, words, catch_exceptions=False).exit_code == 0
    return Models(backbone, folder / "probe.onnx", folder / "embeddings.parquet")


@pytest.fixture(scope="module")
def server(models: Models) -> Iterator[Server]:
    words = ("--model", models.backbone, "--classifier", models.classifier, "--index", models.index)
    bounds = ("--max-bytes", MOST_BYTES, "--max-images", 6, "--max-megapixels", 1, "--wait-ms", 100)
    with started(*words, *bounds) as server:
        yield server


@pytest.fixture(scope="module")
def expected(models: Models, photos: list[Path]) -> np.ndarray:
    backbone = Backbone(models.backbone, threads=1)
    found = list(read_some(photos, canvas_of(backbone.images, backbone.metadata), backbone.images))
    return backbone([picture.pixels for picture in found if isinstance(picture, Picture)])


def test_embeddings_are_those_of_the_backbone(server: Server, photos: list[Path], expected: np.ndarray):
    status, alone = server.post("/embed", photos[1].read_bytes())
    assert (status, alone["images"][0]["width"], alone["images"][0]["height"]) == (200, 427, 640)
    np.testing.assert_allclose(alone["images"][0]["embedding"], expected[1], atol=1e-6)
    status, together = server.post("/embed", *(photo.read_bytes() for photo in photos))
    assert (status, [image["name"] for image in together["images"]]) == (200, [f"{n}.jpg" for n in range(6)])
    np.testing.assert_allclose([image["embedding"] for image in together["images"]], expected, atol=1e-6)


def test_classes_and_neighbours(server: Server, photos: list[Path], models: Models, expected: np.ndarray):
    status, said = server.post("/classify", photos[0].read_bytes())
    with Image.open(photos[0]) as photo:
        (probabilities,) = Backbone(models.classifier, output="probabilities")([np.asarray(photo)])
    assert status == 200
    assert said["images"][0]["probabilities"] == pytest.approx(
        dict(zip(["temple", "flower"], probabilities, strict=True)), abs=1e-5
    )
    assert said["images"][0]["class"] == ["temple", "flower"][int(probabilities.argmax())]
    assert said["model"] == sha256(models.classifier)
    status, said = server.post("/neighbours?k=4", photos[4].read_bytes(), photos[1].read_bytes())
    rows = [
        [(Path(match["path"]).name, match["similarity"]) for match in image["neighbours"]] for image in said["images"]
    ]
    cosines = expected @ expected[4]
    assert [name for name, _ in rows[0]] == [f"{place}.jpg" for place in np.argsort(-cosines)[:4]]
    assert [cosine for _, cosine in rows[0]] == pytest.approx(np.sort(cosines)[::-1][:4], abs=1e-5)
    assert rows[1][0] == ("1.jpg", pytest.approx(1, abs=1e-5))


def test_what_it_is_and_how_long_it_takes(server: Server, photos: list[Path]):
    server.post("/embed", photos[0].read_bytes())
    assert server.ask("GET", "/health") == (200, {"status": "ok", "in_flight": 0})
    status, version = server.ask("GET", "/version")
    assert (status, version["model"]["dim"], version["model"]["provider"]) == (200, 48, "CPUExecutionProvider")
    assert (version["classifier"]["classes"], version["index"]) == (["temple", "flower"], {"images": 6})
    _, latency = server.ask("GET", "/latency")
    times = latency["addresses"]["/embed"]
    assert 0 < times["p50_ms"] <= times["p95_ms"] <= times["p99_ms"]


def test_concurrent_requests_are_batched(server: Server, photos: list[Path], expected: np.ndarray):
    before = server.ask("GET", "/latency")[1]["batches"]
    contents = [photos[number % 6].read_bytes() for number in range(24)]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda content: server.post("/embed", content), contents))
    assert {status for status, _ in answers} == {200}
    rows = [said["images"][0]["embedding"] for _, said in answers]
    np.testing.assert_allclose(rows, np.tile(expected, (4, 1)), atol=1e-6)
    after = server.ask("GET", "/latency")[1]["batches"]
    assert after["images"] - before["images"] == 24
    assert after["count"] - before["count"] < 16
    assert after["largest"] > 1


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_images_are_refused_with_a_reason(server: Server, name: str):
    content, wanted = HOSTILE[name]
    status, said = server.post("/embed", content)
    assert (status, type(said["error"])) == (wanted, str)
    assert len(json.dumps(said)) < 1000


def test_requests_that_are_none_are_refused_with_a_reason(server: Server, photos: list[Path]):
    photo = photos[0].read_bytes()
    multipart = "multipart/form-data; boundary=xyz"
    whole = form(("a.jpg", photo))
    asked = {
        "too many": (413, server.post("/embed", *[photo[:100]] * 7)),
        "far too many": (413, server.post("/embed", *[b"x"] * 3000)),
        "no file": (400, server.ask("POST", "/embed", b"--xyz--\r\n", content_type=multipart)),
        "no boundary": (400, server.ask("POST", "/embed", whole, content_type="multipart/form-data")),
        "no form": (400, server.ask("POST", "/embed", b"\0" * 99, content_type=multipart)),
        "bytes without end": (
            413,
            server.ask("POST", "/embed", iter([bytes(2**16)] * 40)),
        ),
        "compressed": (415, server.ask("POST", "/embed", zlib.compress(photo), content_encoding="gzip")),
        "a word for a number": (400, server.post("/neighbours?k=many", photo)),
        "a large number": (400, server.post("/neighbours?k=" + "9" * 5000, photo)),
        "a number behind zeros": (400, server.post("/neighbours?k=0001000000", photo)),
        "one too many": (400, server.post("/neighbours?k=1001", photo)),
        "none": (400, server.post("/neighbours?k=0", photo)),
        "a digit that is none": (400, server.post("/neighbours?k=%C2%B2", photo)),
        "another method": (405, server.ask("GET", "/embed")),
        "another address": (404, server.ask("GET", "/../../etc/passwd")),
    }
    assert {name: status for name, (_, (status, _)) in asked.items()} == {n: wanted for n, (wanted, _) in asked.items()}
    assert all(said["error"] for _, (_, said) in asked.values())
    named = form(("\x1b[2Jgone", b"text"), ("b.jpg", photo))
    status, said = server.ask("POST", "/embed", named, content_type=multipart)
    assert (status, said["error"]) == (415, "1 of 2 images cannot be used.")
    assert [image["name"] for image in said["images"]] == ["\x1b[2Jgone"]
    assert "not an image" in said["images"][0]["reason"]


@pytest.mark.parametrize("charset", ["utf-7", "undefined", "idna", "utf-16", "hex", "unicode_escape", "a" * 5000])
def test_names_of_files_are_read_as_utf_8_whatever_the_client_says(server: Server, charset: str):
    names = ["+2AA-.png", "\\ud800.png", "xn--a.png", "é.png", "x" * 300]
    head = f"multipart/form-data; boundary=xyz; charset={charset}"
    body = form(*((name, b"text") for name in names))
    status, said = server.ask("POST", "/embed", body, content_type=head)
    assert (status, [image["name"] for image in said["images"]]) == (415, [name[:200] for name in names])


@pytest.mark.parametrize("boundary", ['"x\\"y"', "é", "x" * 71, '""'])
def test_a_boundary_that_is_none_is_refused(server: Server, boundary: str):
    status, said = server.ask("POST", "/embed", b"--x", content_type=f"multipart/form-data; boundary={boundary}")
    assert (status, "boundary" in said["error"]) == (400, True)


def test_what_can_be_refused_by_the_head_does_not_wait_for_the_body(server: Server):
    with half_a_request(server.port, bytes(5000), "/neighbours?k=0") as connection:
        assert connection.recv(12) == b"HTTP/1.1 400"


def half_a_request(port: int, content: bytes, path: str = "/embed") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    head = f"POST {path} HTTP/1.1\r\nHost: here\r\nContent-Length: {len(content)}\r\n\r\n"
    connection.sendall(head.encode() + content[:1000])
    return connection


def wait_until_refused(port: int) -> None:
    with contextlib.suppress(ConnectionRefusedError, ConnectionResetError):
        for _ in range(1000):
            socket.create_connection(("127.0.0.1", port), timeout=20).close()
            time.sleep(0.01)
        pytest.fail("the service still accepts connections")


def test_it_takes_so_many_requests_and_ends_when_they_are_answered(models: Models, photos: list[Path]):
    photo = photos[0].read_bytes()
    with started("--model", models.backbone, "--max-requests", 1) as server:
        with half_a_request(server.port, photo, "/classify") as connection:
            assert connection.recv(12) == b"HTTP/1.1 404"  # sent before the body arrives
        with half_a_request(server.port, photo) as connection:
            while server.ask("GET", "/health")[1]["in_flight"] == 0:
                time.sleep(0.01)
            status, said = server.post("/embed", photo)
            assert (status, said["error"]) == (503, "Too many requests in flight: try again.")
            server.process.terminate()
            wait_until_refused(server.port)
            connection.sendall(photo[1000:])
            with http.client.HTTPResponse(connection) as response:
                response.begin()
                assert (response.status, len(json.loads(response.read())["images"][0]["embedding"])) == (200, 48)
        assert server.process.wait(20) == 0


def test_a_file_that_does_not_fit_is_told_at_the_start(models: Models, tmp_path: Path):
    other = write_graph(tmp_path / "other.onnx", note="another")
    words = ["--model", other, "--index", models.index]
    done = subprocess.run([sys.executable, "-c", ALONE, *map(str, words)], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "was not made with" in done.stderr
