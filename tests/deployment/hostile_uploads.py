"""Uploads that are not images or claim to be larger ones: what is sent, and the status of the answer."""

import struct
import zlib

__all__ = ["HOSTILE", "MOST_BYTES"]

MOST_BYTES = 2**20
"""Size of the largest request body that the tested service accepts, in bytes."""


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")


def field(record: int, number: int, content: bytes) -> bytes:
    return bytes([0x1C, record, number]) + struct.pack(">H", len(content)) + content


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\nshowpage\n%%EOF\n"
IPTC = b"".join(
    field(*entry)
    for entry in (
        (3, 60, b"\1\0"),
        (3, 65, b"\1"),
        (3, 20, b"\0\x20"),
        (3, 30, b"\0\x20"),
        (3, 120, b"\5"),
        (8, 10, POSTSCRIPT),
    )
)
HOSTILE = {
    "nothing": (b"", 400),
    "text": (b"no image" * 100, 415),
    "a program": (POSTSCRIPT, 415),
    "a program in IPTC": (IPTC, 415),
    "an archive": (b"PK\x03\x04" + bytes(100), 415),
    "half a head": (b"\x89PNG\r\n\x1a\n", 415),
    "a bomb by its head": (png(60_000, 60_000), 413),
    "no pixels": (png(0, 8), 415),
    "pixels that are not there": (png(900, 900), 422),
    "a TIFF that leads to itself": (b"II*\0\x08\0\0\0\0\0\x08\0\0\0", 415),
    "too many bytes": (bytes(MOST_BYTES + 1), 413),
}
