"""Damaged images, films, archives, parameters and products: each must be read, listed, or refused with a message.

    python -m benchmarks.hostile images|films|archives|params|products [--number N] [--seed N]

The files are tried in a child process with a time limit per file, so that a hang or a crash is detected and reported
with the path. Possible outcomes:

    whole     the file was read (an image: stored, a copy, or rejected with a reason), or the damage had no effect
    told      an error message of bounded length, and an exit status
    lost      some files are not accounted for
    used      a stage read a damaged product, and its results changed
    long      an error message that is too long
    traceback, died, hang
"""

import contextlib
import csv
import io
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from benchmarks.films import write_film
from benchmarks.hostile_products import make_products, try_product
from benchmarks.mutations import damage, garble
from benchmarks.project import ROOT
from ssl_pipeline.config import load
from ssl_pipeline.data.decode import Canvas
from ssl_pipeline.data.ingest import Shares, ingest
from ssl_pipeline.data.source import Images
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.loading import load_source
from ssl_pipeline_plugins.sources.clips import Clips
from ssl_pipeline_plugins.sources.folder import Folder

NUMBERS = {"images": 10_000, "films": 500, "archives": 2000, "params": 700, "products": 400}
PILE = {"images": 50, "films": 10}  # number of files that are tried together
SECONDS = {"images": 60.0, "films": 60.0, "archives": 60.0, "params": 60.0, "products": 600.0}
LONG = 5000  # characters
CANVAS = Canvas(size=16, resize="squash", background=(255, 255, 255), min_side=6, max_megapixels=1.0)
SHARES = Shares(seed=0, val_fraction=0.15, test_fraction=0.25, max_reject_fraction=1.0)
FORMATS: dict[str, list[dict[str, object]]] = {
    "jpg": [{"quality": 90}, {"progressive": True}, {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}],
    "png": [{}, {"optimize": True}],
    "gif": [{}],
    "bmp": [{}],
    "webp": [{}, {"lossless": True}],
    "tif": [{}, {"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}, {"compression": "jpeg"}],
    "ppm": [{}],
    "tga": [{}, {"compression": "tga_rle"}],
    "ico": [{}],
    "jp2": [{}],
    "pcx": [{}],
    "sgi": [{}],
    "dds": [{}],
}
CODECS = (
    ("libx264", "mp4"),
    ("libx264", "mkv"),
    ("mpeg4", "avi"),
    ("libx264", "ts"),
    ("libx264", "flv"),
    ("mjpeg", "mov"),
    ("ffv1", "nut"),
)
MODES = ("RGB", "L", "P", "1", "RGBA", "CMYK", "I;16")


def digits(number: int) -> dict[str, bytes]:
    images = (load_digits().images * 15).astype(np.uint8)
    return {f"{place}.png": encoded(Image.fromarray(images[place]), "png") for place in range(number)}


def encoded(image: Image.Image, suffix: str, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, Image.registered_extensions()[f".{suffix}"], **options)
    return content.getvalue()


def samples() -> list[tuple[str, bytes]]:
    """Return a picture in every format and mode that Pillow can write, each with its suffix."""
    photo = Image.fromarray(load_sample_images().images[0]).resize((96, 64))
    found = []
    for suffix, choices in FORMATS.items():
        for mode in MODES:
            for options in choices:
                with contextlib.suppress(OSError, ValueError, KeyError):  # the format does not support this mode
                    found.append((suffix, encoded(photo.convert(mode), suffix, **options)))
    return found


def make_images(folder: Path, number: int, chance: random.Random) -> None:
    known = samples()
    for start in range(0, number, PILE["images"]):
        pile = folder / f"{start:06}"
        pile.mkdir()
        for name, content in digits(8).items():
            (pile / name).write_bytes(content)
        for place in range(start, min(start + PILE["images"], number)):
            suffix, content = chance.choice(known)
            (pile / f"x{place:06}.{suffix}").write_bytes(damage(content, chance))


def make_films(folder: Path, number: int, chance: random.Random) -> None:
    known = {}
    for codec, suffix in CODECS:
        pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        whole = write_film(folder / f"whole.{suffix}", codec, pixels=pixels, options={"g": "6"})
        known[suffix, codec] = whole.read_bytes()
        whole.unlink()
    for start in range(0, number, PILE["films"]):
        pile = folder / f"{start:06}"
        (pile / "frames").mkdir(parents=True)
        for name, content in digits(8).items():
            (pile / "frames" / name).write_bytes(content)
        for place in range(start, min(start + PILE["films"], number)):
            suffix, codec = chance.choice(list(known))
            content = known[suffix, codec]
            damaged = content[: chance.randrange(len(content))] if chance.random() < 0.2 else damage(content, chance)
            (pile / f"x{place:06}.{suffix if chance.random() < 0.9 else 'mp4'}").write_bytes(damaged)


def make_archives(folder: Path, number: int, chance: random.Random) -> None:
    for place in range(number):
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", chance.choice((0, 8, 12, 14))) as archive:
            for name, image in digits(12).items():
                archive.writestr(f"{chance.choice(('a', 'b', 'né', '日本'))}/{name}", image)
            archive.writestr("labels.csv", "path,group\n")
        whole = content.getvalue()
        half = whole.find(b"PK\x01\x02") if chance.random() < 0.6 else 0  # usually damage the directory
        (folder / f"{place:06}.zip").write_bytes(whole[:half] + damage(whole[half:], chance))


def make_params(folder: Path, number: int, chance: random.Random) -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    for place in range(number):
        content = garble(text, chance).encode("utf-8", "surrogatepass")
        (folder / f"{place:06}.yaml").write_bytes(damage(content, chance) if chance.random() < 0.1 else content)


def try_pile(pile: Path) -> str:
    images = Folder(path=str(pile)).open()
    expected = len(images.records) + len(images.rejects) + len(images.ignored)
    if pile.is_dir() and expected != sum(path.is_file() for path in pile.rglob("*")):
        return "lost: some files are not listed"
    return account(images, expected)


def try_films(pile: Path) -> str:
    images = Clips(path=str(pile), fps=5, max_frames=30).open()
    clips = {record.group for record in images.records} | images.rejects.keys() | images.ignored.keys()
    if len(clips) != 1 + sum(path.is_file() for path in pile.iterdir()):
        return "lost: some films are not listed"
    return account(images, len(images.records) + len(images.rejects) + len(images.ignored))


def account(images: Images, expected: int) -> str:
    """Ingest images, and check that each of them is in exactly one table."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        ingest(images, out, CANVAS, SHARES, out / "reports", workers=1)
        left_out = [line for line in read(out / "near_copies.csv") if line["left_out"]]
        tables = ("store/index.csv", "rejects.csv", "duplicates.csv", "ignored.csv")
        names = [line["path"] for table in tables for line in read(out / table)]
        names += [line["path"] for line in left_out]
    return "whole" if len(names) == len(set(names)) == expected else f"lost: {len(set(names))} of {expected}"


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


def try_params(path: Path) -> str:
    load_source(load(path).ingest.source)
    return "whole"


MAKE: dict[str, Callable[[Path, int, random.Random], None]] = {
    "images": make_images,
    "films": make_films,
    "archives": make_archives,
    "params": make_params,
    "products": make_products,
}
TRY: dict[str, Callable[[Path], str]] = {
    "images": try_pile,
    "films": try_films,
    "archives": try_pile,
    "params": try_params,
    "products": try_product,
}


def attempt(kind: str, path: Path) -> str:
    try:
        return TRY[kind](path)
    except PipelineError as error:
        return "told" if len(str(error)) <= LONG else f"long: {len(str(error))} characters"
    except Exception:  # this script exists to find tracebacks
        return f"traceback: {traceback.format_exc(limit=-4)}"


@click.command(help=__doc__)
@click.argument("kind", type=click.Choice(list(MAKE)))
@click.option("--number", type=int, help="Number of files; default: the number that must pass.")
@click.option("--seed", default=0, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="Folder for the files, emptied first.")
@click.option("--attempt", "skip", type=int, help="Number of files to skip; try the others (internal).")
def main(kind: str, number: int | None, seed: int, folder: Path | None, skip: int | None) -> None:
    if skip is not None:
        assert folder is not None
        for path in sorted(folder.iterdir())[skip:]:
            click.echo(json.dumps(attempt(kind, path)))
        return
    with contextlib.nullcontext(folder) if folder else tempfile.TemporaryDirectory() as place:
        shutil.rmtree(place, ignore_errors=True)
        files = Path(place) / kind
        files.mkdir(parents=True)
        MAKE[kind](files, number or NUMBERS[kind], random.Random(seed))
        paths = sorted(files.iterdir())
        found: Counter[str] = Counter()
        for path, outcome in zip(paths, outcomes(kind, files, len(paths)), strict=True):
            word = outcome.partition(":")[0]
            found[word] += PILE.get(kind, 1)
            if word not in ("whole", "told"):
                click.echo(f"{path}: {outcome}")
    click.echo(f"{kind}, seed {seed}: " + ", ".join(f"{number:,} {word}" for word, number in found.most_common()))
    sys.exit(bool(found.keys() - {"whole", "told"}))


def outcomes(kind: str, folder: Path, total: int) -> Iterator[str]:
    """Yield the outcome of each file; after a hang or a crash, a new process continues with the next file."""
    done = 0
    while done < total:
        words = (sys.executable, "-m", "benchmarks.hostile", kind, "--folder", folder, "--attempt", str(done))
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT) as child:
            while line := read_line(child, SECONDS[kind]):
                yield json.loads(line)
                done += 1
            status = child.wait()
        if done < total:
            yield "hang" if status == -signal.SIGKILL else f"died: exit status {status}"
            done += 1


def read_line(child: "subprocess.Popen[str]", seconds: float) -> str:
    """Return the next line of output, or "" at its end; kill the process after `seconds` without output."""
    assert child.stdout is not None
    watch = threading.Timer(seconds, child.kill)
    watch.start()
    try:
        return child.stdout.readline()
    finally:
        watch.cancel()


if __name__ == "__main__":
    main()
