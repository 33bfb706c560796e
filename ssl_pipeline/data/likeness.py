"""Sketches of pictures, which survive re-encoding and resizing, and the search for pictures with similar sketches.

A sketch consists of a perceptual hash of 256 bits (imagehash's `phash`: whether each of the lowest 16 x 16 frequencies
of the grey values is above their median) and of 8 x 8 colours, since the hash ignores colour. Two pictures are alike if
their hashes differ in up to 30 bits and their colours by up to 5 grey levels, root mean square.
`benchmarks/near_copies.py` measures how many near copies this finds; pictures that are blurred all over are often
missed, because most of their frequencies are noise.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = ["MIN_SIDE", "alike", "sketch"]

MIN_SIDE = 32
"""Shortest side of a picture with a sketch, px; the hash of a smaller one would mostly describe interpolation."""
HASH_SIDE = 16
COLOUR_SIDE = 8
REDUCED_SIDE = 64
"""Side in px to which a large picture is first reduced, by a whole factor, which is much faster than resizing it."""

MAX_BITS = 30
MAX_LEVELS = 5.0
BANDS = 16
"""Number of 16-bit pieces of a hash. If two hashes differ in up to 31 bits, some piece differs in at most one bit."""
CROWD = 64
"""Most hashes with the same piece that a hash is compared with; more would join the same group anyway."""
BLOCK = 2**12

Whole = npt.NDArray[np.int64]


def sketch(image: Image.Image) -> bytes:
    """Return the sketch of an RGB picture, 32 bytes of hash and 192 bytes of colours; b"" if it is too small."""
    shorter = min(image.size)
    if shorter < MIN_SIDE:
        return b""
    import imagehash

    if shorter >= 2 * REDUCED_SIDE:
        image = image.reduce(shorter // REDUCED_SIDE)
    bits = imagehash.phash(image, HASH_SIDE).hash
    colours = image.resize((COLOUR_SIDE, COLOUR_SIDE), Image.Resampling.BILINEAR)
    return np.packbits(bits).tobytes() + colours.tobytes()


def alike(sketches: Sequence[bytes]) -> list[list[int]]:
    """Group pictures that are alike, directly or through others.

    Multi-index hashing after Norouzi, Punjani and Fleet (2012), "Fast search in Hamming space with multi-index
    hashing": candidates are looked up by each of the 16 pieces of the hash, with none or one of its bits flipped, and
    by brightness. Each picture is compared with few others, and no pair that is near enough is missed.

    Args:
        sketches: Sketches from `sketch`.

    Returns:
        Groups of two or more positions, each sorted, ordered by their first positions.
    """
    known = [number for number, content in enumerate(sketches) if content]
    if len(known) < 2:
        return []
    content = np.frombuffer(b"".join(sketches[number] for number in known), np.uint8).reshape(len(known), -1)
    length = HASH_SIDE * HASH_SIDE // 8
    search = _Search(np.ascontiguousarray(content[:, :length]), content[:, length:])
    for band in range(BANDS):
        search.join_by(band)
    groups: dict[int, list[int]] = {}
    for number, group in zip(known, search.groups.tolist(), strict=True):
        groups.setdefault(group, []).append(number)
    return [members for members in groups.values() if len(members) > 1]


class _Search:
    """Pictures, and the groups that they have been joined into so far."""

    def __init__(self, hashes: npt.NDArray[np.uint8], colours: npt.NDArray[np.uint8]):
        self.pieces = hashes.view(np.uint16)  # (n, 16)
        self.words = hashes.view(np.uint64)  # (n, 4)
        self.colours = colours  # (n, 192)
        self.brightness = colours.sum(axis=1, dtype=np.int64)  # (n,), up to 192 x 255 < 2**16
        self.groups: Whole = np.arange(len(hashes))

    def join_by(self, band: int) -> None:
        """Join pictures that are alike and whose hashes differ in at most one bit of a piece.

        Pictures with the same piece are sorted by brightness. The brightness of two pictures that are alike differs by
        no more than the limit on their colours allows, so that each picture is compared with a short stretch.
        """
        pieces = self.pieces[:, band].astype(np.int64)
        keys = pieces << 16 | self.brightness
        order = np.argsort(keys, kind="stable")
        keys, pieces, brightness = keys[order], pieces[order], self.brightness[order]
        least = np.maximum(brightness - MAX_LEVELS * self.colours.shape[1], 0).astype(np.int64)
        most = np.minimum(brightness + MAX_LEVELS * self.colours.shape[1], 2**16 - 1).astype(np.int64)
        for turned in (0, *(1 << bit for bit in range(16))):
            others = (pieces ^ turned) << 16
            first = np.searchsorted(keys, others | least)
            counts = np.minimum(np.searchsorted(keys, others | most, side="right") - first, CROWD)
            for begin in range(0, len(pieces), BLOCK):
                block = slice(begin, begin + BLOCK)
                one = np.repeat(np.arange(len(pieces))[block], counts[block])
                place = np.arange(len(one)) - np.repeat(np.cumsum(counts[block]) - counts[block], counts[block])
                self._join(order[one], order[np.repeat(first[block], counts[block]) + place])

    def _join(self, left: Whole, right: Whole) -> None:
        apart = self.groups[left] != self.groups[right]
        left, right = left[apart], right[apart]
        bits = np.bitwise_count(self.words[left] ^ self.words[right]).sum(axis=1)
        left, right = left[bits <= MAX_BITS], right[bits <= MAX_BITS]
        differences = self.colours[left].astype(np.int32) - self.colours[right]
        alike = np.square(differences).mean(axis=1) <= MAX_LEVELS**2
        if alike.any():
            from scipy.sparse import coo_array  # not at the top, because decoding processes do not search
            from scipy.sparse.csgraph import connected_components

            edges = (self.groups[left[alike]], self.groups[right[alike]])
            size = len(self.groups)
            graph = coo_array((np.ones(len(edges[0]), np.int8), edges), shape=(size, size))
            self.groups = connected_components(graph, directed=False)[1].astype(np.int64)[self.groups]
