"""Open films with FFmpeg, through PyAV, and reject files that are not films.

Only listed containers are opened, and only from their own file, so that a playlist with the name .mp4 reaches no other
file and no network. The process that reads an untrusted film bounds its time and memory (`ssl_pipeline.data.workers`).
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.terminal import shown

if TYPE_CHECKING:
    from av import CodecContext, VideoStream
    from av.container import InputContainer

__all__ = ["FILM_EXTRA", "film_errors_told", "open_film", "require_reader", "time_of"]

FILM_EXTRA = "reading films requires PyAV: pip install 'ssl-pipeline[video]'"

_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,mxf,dv,ivf,nut,rm,wtv,gxf"
"""Containers that store times with the frames and refer to no other file; FFmpeg also opens playlists and scripts."""


def require_reader(key: str = "ingest.source") -> None:
    """Make sure that films can be read.

    Args:
        key: Option or key that names the films, for messages.

    Raises:
        PipelineError: PyAV is not installed.
    """
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise PipelineError(f"{key}: {FILM_EXTRA}. Without PyAV, name folders of frames instead.") from error


@contextmanager
def film_errors_told() -> Iterator[None]:
    """Turn any error that reading a hostile film raises into a rejection."""
    try:
        yield
    except RejectedError:
        raise
    except MemoryError as error:  # must come before Exception, because PyAV's MemoryError is also an FFmpegError
        raise RejectedError("too large", "it does not fit in memory") from error
    except Exception as error:  # a parser may raise anything on a broken film: InvalidDataError, OverflowError ...
        said = " ".join(str(error).split())
        raise RejectedError("broken", f"{type(error).__name__}: {shown(said, 200)}") from error


def open_film(path: Path) -> "tuple[InputContainer, VideoStream]":
    """Open a film and choose its video stream, which is decoded in one thread.

    Raises:
        RejectedError: The file is not a film, or has no video stream.
    """
    import av
    from av import VideoStream
    from av.stream import Disposition

    _check_file(path)
    options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
    try:
        container = av.open(os.path.abspath(path), container_options=options, metadata_errors="replace")
    except av.error.MemoryError as error:
        raise RejectedError("too large", "it does not fit in memory") from error
    except (av.error.FFmpegError, ValueError) as error:
        reason = "it has no frame index, as if it had been truncated" if _is_cut_off(path) else "unknown container"
        raise RejectedError("not a film", f"{reason}, or its header is damaged") from error
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream) or stream.disposition & Disposition.attached_pic:
        kinds = sorted({other.type for other in container.streams if other is not stream})
        container.close()
        raise RejectedError("not a film", f"it has no video stream ({', '.join(kinds) or 'no stream at all'})")
    context: CodecContext | None = stream.codec_context
    if context is None:
        container.close()
        raise RejectedError("not supported", "FFmpeg has no decoder for its video")
    context.thread_count = 1  # processes share the cores
    return container, stream


def _check_file(path: Path) -> None:
    """Refuse anything but a regular file with content: the path may have become a pipe since it was listed."""
    try:
        status = path.stat()
    except OSError as error:
        raise RejectedError("unreadable", error.strerror or str(error)) from error
    if not stat.S_ISREG(status.st_mode):
        raise RejectedError("unreadable", "not a regular file")
    if not status.st_size:
        raise RejectedError("empty file")


def _is_cut_off(path: Path) -> bool:
    """Return whether a file begins like MP4 or QuickTime, which often store the index of all frames at the end."""
    with path.open("rb") as file:
        return file.read(12)[4:8] in (b"ftyp", b"mdat", b"wide", b"free", b"moov")


def time_of(pts: int | None, dts: int | None, stream: "VideoStream") -> float | None:
    """Return the time of a packet or frame since the beginning of its stream, s; None if it is unknown."""
    stamp = dts if pts is None else pts
    if stamp is None or stream.time_base is None:
        return None
    return float((stamp - (stream.start_time or 0)) * stream.time_base)
