"""What is left of a picture when it is re-encoded or resized, and which pictures are alike by that.

A sketch of a picture is a perceptual hash of 256 bits (imagehash's `phash`: whether each of the lowest 16 x 16
frequencies of its grey values is above their median), and 8 x 8 colours, since a hash of grey values knows no colour.
Two pictures are alike where their hashes differ in at most 30 bits and their colours by at most 5 grey levels, root
mean square. `benchmarks/near_copies.py` measures what that finds; pictures that are blurred all over are often missed,
because most of their frequencies are noise.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = ["MIN_SIDE", "alike", "sketch"]

MIN_SIDE = 32
"""Pixels: the hash of a smaller picture is made of what interpolation invents."""
HASH_SIDE = 16
COLOUR_SIDE = 8
REDUCED_SIDE = 64
"""Pixels: a large picture is first reduced by a whole number to about this side, which takes a fraction of the time."""

MAX_BITS = 30
MAX_LEVELS = 5.0
BANDS = 16
"""Pieces of 16 bits: of two hashes that differ in at most 31 bits, one piece differs in at most one bit."""
CROWD = 64
"""Where more hashes share a piece, each is compared with the first so many of them: they make up one group anyway."""
BLOCK = 2**12

Whole = npt.NDArray[np.int64]


def sketch(image: Image.Image) -> bytes:
    """Return the sketch of an RGB picture: 32 bytes of hash, 192 of colours; b"" where it is too small."""
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

    By Norouzi, Punjani and Fleet (2012), "Fast search in Hamming space with multi-index hashing": candidates are looked
    up by each of 16 pieces of the hash, with none or one of its bits turned, and by their brightness. So a picture is
    compared with few others, and none that is near enough is missed.

    Args:
        sketches: The sketches, as `sketch` returns them.

    Returns:
        Groups of at least two positions, each sorted, in the order of their first.
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
    """Pictures and the groups that they have been joined to so far."""

    def __init__(self, hashes: npt.NDArray[np.uint8], colours: npt.NDArray[np.uint8]):
        self.pieces = hashes.view(np.uint16)  # (n, 16)
        self.words = hashes.view(np.uint64)  # (n, 4)
        self.colours = colours  # (n, 192)
        self.brightness = colours.sum(axis=1, dtype=np.int64)  # (n,), up to 192 x 255 < 2**16
        self.groups: Whole = np.arange(len(hashes))

    def join_by(self, band: int) -> None:
        """Join pictures that are alike and whose hashes differ in at most one bit of a piece.

        Pictures with a piece in common lie in the order of their brightness. It differs by no more than colours may,
        root mean square, so that a picture is compared with a short stretch of them.
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
            from scipy.sparse import coo_array  # not at the top: a process that decodes searches nothing
            from scipy.sparse.csgraph import connected_components

            edges = (self.groups[left[alike]], self.groups[right[alike]])
            size = len(self.groups)
            graph = coo_array((np.ones(len(edges[0]), np.int8), edges), shape=(size, size))
            self.groups = connected_components(graph, directed=False)[1].astype(np.int64)[self.groups]
