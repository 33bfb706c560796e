"""Measure which near copies are found, and how many pairs are wrongly taken for near copies.

    python -m benchmarks.near_copies FOLDER_OR_ZIP ... [--images N] [--copies N]

For each folder or zip file, all pairs of up to N images are compared. A pair that is found counts as false, unless both
images are frames of one track (files in the same folder, three levels down) or are equal at 16 x 16 pixels. Then some
images are copied, and the share of copies that are found is printed for each kind of copy. Finally, the search is timed
on 25,000 to 100,000 random sketches.
"""

import functools
import io
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from PIL import Image

from ssl_pipeline.data.decode import Canvas, read_pixels
from ssl_pipeline.data.likeness import MAX_BITS, MAX_LEVELS, alike, sketch
from ssl_pipeline.data.listing import list_images
from ssl_pipeline.data.remarks import RejectedError

CANVAS = Canvas(size=32, resize="squash", background=(255, 255, 255), min_side=32, max_megapixels=100)
SIZES = (25_000, 50_000, 100_000)
TINY = 16

Change = Callable[[Image.Image], Image.Image]


def encode(image: Image.Image, quality: int) -> Image.Image:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    return Image.open(content)


def scale(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.LANCZOS)


def thumbnail(image: Image.Image, side: int) -> Image.Image:
    image = image.copy()
    image.thumbnail((side, side))
    return encode(image, 75)


CHANGES: dict[str, Change] = {
    **{f"JPEG {quality}": functools.partial(encode, quality=quality) for quality in (30, 50, 75, 95)},
    **{f"x {factor:g}": functools.partial(scale, factor=factor) for factor in (0.25, 0.5, 0.75, 1.5, 2)},
    "thumbnail of 128 px": functools.partial(thumbnail, side=128),
}


@click.command(help=__doc__)
@click.argument("piles", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option(
    "--images", default=5000, show_default=True, help="Images per folder or zip file to compare with each other."
)
@click.option("--copies", default=500, show_default=True, help="Images per folder or zip file to copy.")
def main(piles: tuple[Path, ...], images: int, copies: int) -> None:
    for pile in piles:
        names, pictures = read(pile, images)
        click.echo(f"{pile}: {len(pictures):,} images of at least 32 px")
        sketches = [sketch(picture) for picture in pictures]
        false = false_pairs(names, pictures, sketches)
        pairs = len(pictures) * (len(pictures) - 1) // 2
        click.echo(f"  false: {len(false)} of {pairs:,} pairs, {1e6 * len(false) / pairs:.2f} per million")
        for one, other in false[:20]:
            click.echo(f"    {names[one]}  {names[other]}")
        some = range(0, len(pictures), max(1, len(pictures) // copies))
        for kind, change in CHANGES.items():
            made = [(sketches[place], sketch(change(pictures[place]))) for place in some]
            kept = [len(alike([own, copy])) == 1 for own, copy in made if copy]
            if kept:
                click.echo(f"  {kind:20} {np.mean(kept):.1%} of {len(kept)} found")
    for size in SIZES:
        content = np.random.default_rng(0).integers(0, 256, (size, 32), dtype=np.uint8)
        start = time.perf_counter()
        alike([line.tobytes() + bytes(192) for line in content])
        click.echo(f"search among {size:,}: {time.perf_counter() - start:.1f} s")


def read(pile: Path, number: int) -> tuple[list[str], list[Image.Image]]:
    """Return names and images of about `number` evenly spaced images of a folder or zip file."""
    listing = list_images(pile)
    names, pictures = [], []
    for name in listing.names[:: max(1, len(listing.names) // number)]:
        try:
            pixels, _ = read_pixels(listing.read(name, 2**28), CANVAS)
        except RejectedError:
            continue  # most of these are too small
        names.append(name)
        pictures.append(Image.fromarray(pixels))
    return names, pictures


def false_pairs(names: list[str], pictures: list[Image.Image], sketches: list[bytes]) -> list[tuple[int, int]]:
    """Return all pairs that are within both bounds but not copies, found by comparing every image with every other."""
    content = np.frombuffer(b"".join(sketches), np.uint8).reshape(len(sketches), -1)
    hashes: npt.NDArray[np.uint64] = np.ascontiguousarray(content[:, :32]).view(np.uint64)
    colours = content[:, 32:].astype(np.int32)
    found = []
    for one in range(len(sketches)):
        bits = np.bitwise_count(hashes[one] ^ hashes[one + 1 :]).sum(axis=1)
        for other in one + 1 + np.flatnonzero(bits <= MAX_BITS):
            if np.square(colours[one] - colours[other]).mean() > MAX_LEVELS**2:
                continue
            first, second = (np.asarray(pictures[number].resize((TINY, TINY))) for number in (one, other))
            if not one_track(names[one], names[other]) and not np.array_equal(first, second):
                found.append((one, int(other)))
    return found


def one_track(one: str, other: str) -> bool:
    return one.count("/") == 3 and one.rpartition("/")[0] == other.rpartition("/")[0]


if __name__ == "__main__":
    main()
