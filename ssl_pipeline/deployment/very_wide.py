"""Low and very wide images, of whose few bytes a graph makes gigabytes: it resizes rows before columns.

It imports nothing, so that processes that only decode can ask it.
"""

__all__ = ["MAX_MEGAPIXELS", "too_wide"]

MAX_MEGAPIXELS = 100.0
"""Larger images are refused, unless a user says otherwise: as `ingest` does."""
_FLOATS, _ALWAYS_PIXELS = 4, 2**23
"""Pixels of an image of bytes that weigh as much as one that a graph resizes, in float32; and resized pixels that no
bound on megapixels refuses, some 350 MB."""


def too_wide(height: int, width: int, size: int, max_megapixels: float) -> str:
    """Say why an image is too wide for its height; "" where it is not.

    Args:
        height: The height of the image, px.
        width: The width of the image, px.
        size: The side of the square that the graph resizes images to, px.
        max_megapixels: Megapixels that the largest image may have.
    """
    widest = max(int(max_megapixels * 1e6) // _FLOATS, _ALWAYS_PIXELS) // size
    if height >= _FLOATS * size or width <= widest:
        return ""
    return (
        f"{width} x {height} px is too wide for its height: the model would enlarge it to {size} rows of {width} px, "
        f"and takes at most {widest} at max_megapixels ({max_megapixels:g}); crop or resize it"
    )
