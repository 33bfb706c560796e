"""The service of examples/serve over loopback: `python -m benchmarks.serve ARCHIVE [--requests N]`.

The service embeds photographs of the archive with an untrained ResNet-8 at 64 px, with one thread and one decoding
process; the clients run on the same cores. Three lines of JSON are printed:

`speed`: images per second of eight concurrent clients, and the 95th percentile of the latency of one client, relative
to a loop in one process that decodes each photograph with Pillow and runs the bare session on it; in turns.

`hostile`: number of responses by status for 1,000 damaged photographs and files of other formats, from eight concurrent
clients. Half of the files are in forms whose file names and charsets are hostile, too.

`memory`: memory of the service and its processes, MiB, after each tenth of the requests.
"""

import contextlib
import http.client
import io
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np
import onnxruntime
import psutil
from PIL import Image

from benchmarks.embed import export
from benchmarks.hostile import samples
from benchmarks.many_images import resident
from benchmarks.mutations import damage
from benchmarks.project import ROOT

CLIENTS, ROUNDS, EACH = 8, 5, 200
HOSTILE = 1000
CHARSETS = ("utf-7", "undefined", "utf-16", "idna", "hex", "none such")
Body = bytes | tuple[bytes, str]
"""Body of a request: bytes, or bytes and their content type."""


@contextlib.contextmanager
def service(model: Path) -> Iterator[tuple[int, psutil.Process]]:
    """Start the service, yield its port and its process, and terminate it at the end."""
    words = ["--model", str(model), "--port", "0", "--threads", "1", "--decoders", "1"]
    command = [sys.executable, str(ROOT / "examples" / "serve"), *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        port = next(filter(None, (re.search(r"http://127\.0\.0\.1:(\d+)", line) for line in process.stderr)))[1]
        yield int(port), psutil.Process(process.pid)
        process.terminate()


def ask(port: int, bodies: Sequence[Body]) -> list[tuple[int, float]]:
    """Post bodies one by one over one connection; return the status and the latency, s, of each request."""
    connection, found = http.client.HTTPConnection("127.0.0.1", port, timeout=120), []
    for body in bodies:
        content, kind = body if isinstance(body, tuple) else (body, "application/octet-stream")
        began = time.perf_counter()
        connection.request("POST", "/embed", content, {"content-type": kind})
        response = connection.getresponse()
        response.read()
        found.append((response.status, time.perf_counter() - began))
    connection.close()
    return found


def ask_together(port: int, bodies: Sequence[Body]) -> list[tuple[int, float]]:
    """Post bodies from several concurrent clients; return the status and the latency, s, of each request."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        parts = pool.map(lambda first: ask(port, bodies[first::CLIENTS]), range(CLIENTS))
        return [answer for part in parts for answer in part]


def bare(session: onnxruntime.InferenceSession, contents: Sequence[bytes]) -> list[float]:
    """Decode photographs and run the session on them one by one; return the time of each, s."""
    found = []
    for content in contents:
        began = time.perf_counter()
        session.run(None, {"images": np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))[None]})
        found.append(time.perf_counter() - began)
    return found


def compare_speed(port: int, model: Path, photos: Sequence[bytes]) -> dict[str, object]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    ratios, tails = [], []
    for number in range(ROUNDS + 1):
        some = photos[:EACH]
        theirs = bare(session, some)
        began = time.perf_counter()
        ask_together(port, some)
        together = time.perf_counter() - began
        alone = [seconds for _, seconds in ask(port, some)]
        if number:  # the first round is a warm-up
            ratios.append(sum(theirs) / together)
            tails.append(np.percentile(alone, 95) / np.percentile(theirs, 95))
    last = {"bare_ms": 1000 * sum(theirs) / EACH, "p95_ms": 1000 * float(np.percentile(alone, 95))}
    return {
        "what": "speed",
        "images_per_second_to_bare": round(statistics.median(ratios), 3),
        "span": [round(min(ratios), 3), round(max(ratios), 3)],
        "p95_to_bare": round(statistics.median(tails), 3),
        "p95_span": [round(min(tails), 3), round(max(tails), 3)],
        **{name: round(value, 2) for name, value in last.items()},
    }


def held(process: psutil.Process) -> float:
    return sum(resident(each) for each in (process, *process.children(recursive=True))) / 2**20


def form(content: bytes, chance: random.Random) -> Body:
    """Put a file into a form with a hostile file name and charset; one in four forms is damaged, too."""
    name = chance.choice([b"+2AA-.png", b"\x1b[2J\0", chance.randbytes(20).translate(None, b"\r\n")])
    head = b'--xyz\r\nContent-Disposition: form-data; name="images"; filename="' + name + b'"\r\n\r\n'
    body = head + content + b"\r\n--xyz--\r\n"
    kind = f"multipart/form-data; boundary=xyz; charset={chance.choice(CHARSETS)}"
    return (body if chance.random() < 0.75 else damage(body, chance)), kind


def send_hostile(port: int, photos: Sequence[bytes]) -> dict[str, object]:
    chance = random.Random(0)
    pile = [*photos[:100], *(content for _, content in samples())]
    damaged = [damage(chance.choice(pile), chance) for _ in range(HOSTILE)]
    bodies = [form(content, chance) if number % 2 else content for number, content in enumerate(damaged)]
    answers = ask_together(port, bodies)
    statuses = Counter(status for status, _ in answers)
    failed = sum(count for status, count in statuses.items() if status >= 500)
    return {"what": "hostile", "statuses": dict(sorted(statuses.items())), "failed": failed}


def watch_memory(port: int, process: psutil.Process, photos: Sequence[bytes], requests: int) -> dict[str, object]:
    seen = []
    for _ in range(10):
        answers = ask_together(port, [photos[number % len(photos)] for number in range(requests // 10)])
        assert {status for status, _ in answers} == {200}
        seen.append(held(process))
    grown = round(seen[-1] - seen[0], 1)
    return {"what": "memory", "requests": requests, "mib": [round(each, 1) for each in seen], "grown_mib": grown}


@click.command(help=__doc__)
@click.argument("archive", type=click.Path(path_type=Path, exists=True))
@click.option("--requests", default=10_000, show_default=True, help="Number of requests for `memory`.")
def main(archive: Path, requests: int) -> None:
    with zipfile.ZipFile(archive) as opened:
        names = [name for name in opened.namelist() if name.lower().endswith((".jpg", ".png"))]
        photos = [opened.read(name) for name in names[:1000]]
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "backbone.onnx"
        export(model)
        with service(model) as (port, process):
            print(json.dumps(compare_speed(port, model, photos)), flush=True)
            print(json.dumps(send_hostile(port, photos)), flush=True)
            print(json.dumps(watch_memory(port, process, photos, requests)), flush=True)


if __name__ == "__main__":
    main()
