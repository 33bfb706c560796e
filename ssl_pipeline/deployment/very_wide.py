"""Limit on very wide images: a graph resizes rows before columns, and so turns their few bytes into gigabytes.

This module imports nothing, so that processes that only decode can use it.
"""

__all__ = ["MAX_MEGAPIXELS", "too_wide"]

MAX_MEGAPIXELS = 100.0
"""Default limit on the size of images in megapixels, the same as in `ingest`."""
_FLOATS, _ALWAYS_PIXELS = 4, 2**23
"""Number of pixels in bytes that take as much memory as one resized pixel in float32, and number of resized pixels that
are always accepted, whatever the limit on megapixels; they take some 350 MB."""


def too_wide(height: int, width: int, size: int, max_megapixels: float) -> str:
    """Return the reason why an image is too wide for its height, or "" if it is not.

    Args:
        height: Height of the image in px.
        width: Width of the image in px.
        size: Side in px of the square that the graph resizes images to.
        max_megapixels: Largest size of an image in megapixels.
    """
    widest = max(int(max_megapixels * 1e6) // _FLOATS, _ALWAYS_PIXELS) // size
    if height >= _FLOATS * size or width <= widest:
        return ""
    return (
        f"{width} x {height} px is too wide for its height: the model would enlarge it to {size} rows of {width} px, "
        f"but takes at most {widest} at max_megapixels ({max_megapixels:g}); crop or resize it"
    )
