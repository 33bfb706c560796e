"""Small films, written with PyAV: four coloured quarters, the last of which grows brighter from frame to frame."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from ssl_pipeline.data.image_spec import Pixels

MILLISECOND = Fraction(1, 1000)


def picture(number: int, size: tuple[int, int] = (64, 48)) -> Pixels:
    """Return frame `number` (height, width, 3): red and green above, blue and a grey of 8 * number (mod 256) below."""
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (255, 0, 0)
    pixels[: height // 2, width // 2 :] = (0, 255, 0)
    pixels[height // 2 :, : width // 2] = (0, 0, 255)
    pixels[height // 2 :, width // 2 :] = 8 * number % 256
    return pixels


def write_film(
    path: Path,
    codec: str = "libx264",
    *,
    times: Sequence[float] | None = None,
    frames: int = 20,
    size: tuple[int, int] = (64, 48),
    pixels: str = "yuv420p",
    turned: tuple[int, bool] | None = None,
    colours: str | None = None,
    comb: bool = False,
    options: dict[str, str] | None = None,
    **settings: Any,
) -> Path:
    """Write a film with 10 frames per second, or with frames at the given times.

    Args:
        path: Path of the film; its suffix determines the container.
        codec: Name of the encoder in FFmpeg.
        times: Times of the frames, s; None: 10 frames per second.
        frames: Number of frames if there are no `times`.
        size: Width and height, px.
        pixels: Pixel format in FFmpeg.
        turned: Rotation for display, degrees anticlockwise, and whether the display is mirrored.
        colours: Colour matrix; None: the default of the codec.
        comb: Whether every second line is white, as in an interlaced film.
        options: Options of the encoder.
        settings: Attributes of the codec context.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as film:
        stream = film.add_stream(codec, rate=10, options={"threads": "1", **(options or {})})
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.time_base = stream.codec_context.time_base = Fraction(1, 25) if codec == "mpeg2video" else MILLISECOND
        if turned is not None:
            stream.set_display_rotation(turned[0], hflip=turned[1])
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        for number, time in enumerate(times or [number / 10 for number in range(frames)]):
            pixels_now = picture(number, size)
            if comb:
                pixels_now[1::2] = 255
            frame = av.VideoFrame.from_ndarray(pixels_now, format="rgb24")
            frame = frame.reformat(format=pixels, dst_colorspace=colours)
            frame.pts, frame.time_base = round(time / stream.codec_context.time_base), stream.codec_context.time_base
            film.mux(stream.encode(frame))  # type: ignore[arg-type]
        film.mux(stream.encode(None))
    return path


def write_sound(path: Path) -> Path:
    """Write a tenth of a second of silence."""
    with av.open(str(path), "w") as film:
        stream = film.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
    return path
