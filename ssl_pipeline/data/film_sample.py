"""Choose the frames of a film from its packets; only the first frame is decoded for this."""

import itertools
import math
from array import array
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from ssl_pipeline.data.film import film_errors_told, open_film, time_of
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.terminal import shown

if TYPE_CHECKING:
    from av import Packet, VideoStream
    from av.container import InputContainer

__all__ = ["FilmSample", "sample_film"]

_MOST_PACKETS = 2**22
"""Largest number of packets of a film that are read: 46 hours at 25 frames per second."""
_MOST_TO_DECODE = 10_000
"""Largest distance of a frame from the keyframe before it, in packets, which must all be decoded to reach the frame."""
_MOST_IN_ORDER = 50_000
"""Largest number of frames of a film that can only be read from its beginning: 33 minutes at 25 frames per second."""
_TRIED_PLACES = 64
_REORDERED = 64
"""Number of packets by which a frame may be stored before frames that are shown earlier; codecs allow 16."""
_UNEXPECTED = 0.1
"""Share of the length in a film's header that may be missing at its end without a warning."""


class FilmSample(NamedTuple):
    """Frames that are used of a film.

    Attributes:
        seconds: Times of the frames since the beginning of the film, s, ascending.
        more: Whether the film continues after the last of these frames.
        missing: Length that the header states, s, if the film ends well before it; otherwise 0.
        far: Whether later frames take too long to reach, because keyframes are missing.
        in_order: Whether the film can only be read from its beginning, because seeking in it is unreliable.
    """

    seconds: tuple[float, ...]
    more: bool = False
    missing: float = 0.0
    far: bool = False
    in_order: bool = False


def sample_film(path: Path, fps: float, most: int) -> FilmSample:
    """Choose the frames that are shown at the times 0, 1 / fps, 2 / fps ... of a film, each of them once.

    With a variable frame rate, a frame may be shown for longer than 1 / fps, or at none of these times.

    Args:
        path: Path of the film.
        fps: Largest number of frames per second.
        most: Largest number of frames, counted from the beginning.

    Raises:
        RejectedError: The file is not a film, has no frames, none of its first frames can be decoded, or even the first
            chosen frame takes too long to reach.
    """
    with film_errors_told():
        container, stream = open_film(path)
        with closing(container):
            _decode_one(container, stream)
        container, stream = open_film(path)  # opened again, because not every container can be rewound
        with closing(container):
            looked = _look(container, stream, fps, most)
            if not len(looked.seconds):
                raise RejectedError("not a film", "it has no frames")
            stated = _stated_length(container, stream)
            chosen = _shown(looked.seconds, looked.spacing, fps)
            in_order = not _can_seek(container, stream, looked, looked.seconds[chosen[:most]])
    far = looked.since_key[chosen] > _MOST_TO_DECODE
    if in_order:
        far |= looked.places[chosen] > _MOST_IN_ORDER
    near = chosen[: int(np.argmax(far))] if far.any() else chosen
    if not len(near):
        raise RejectedError("too slow", "even its first frame is too far from a keyframe; re-encode the film")
    kept = looked.seconds[near[:most]]
    end = float(looked.seconds[-1]) + looked.spacing
    return FilmSample(
        seconds=tuple(_apart(kept)),
        more=len(near) > most or (looked.more and not far.any()),
        missing=stated if not looked.more and end < (1 - _UNEXPECTED) * stated - looked.spacing else 0.0,
        far=len(near) < min(len(chosen), most),
        in_order=in_order,
    )


def _decode_one(container: "InputContainer", stream: "VideoStream") -> None:
    """Make sure that frames of a film can be decoded, so that otherwise the film, not each frame, is rejected."""
    import av

    trouble: Exception | None = None
    for number, packet in enumerate(container.demux(stream)):
        try:
            if packet.decode() or number > _REORDERED:
                return
        except av.error.FFmpegError as error:
            trouble = error
    if trouble is not None:
        raise RejectedError("broken", f"none of its frames can be decoded ({shown(str(trouble), 100)})") from trouble
    raise RejectedError("not a film", "it has no frames")


class _Looked(NamedTuple):
    """The packets of a film in the order in which their frames are shown.

    Attributes:
        seconds: Times of the frames, s, (n,).
        since_key: Distance of each packet from the keyframe before it in the file, in packets, (n,); 0 for keyframes.
        places: Positions of the packets in the file, from 0, (n,).
        marks: Hashes that identify the packets, (n,).
        spacing: Median time from one frame to the next, s.
        more: Whether the film has further packets.
        sound: Whether the times and the file show no irregularity.
    """

    seconds: npt.NDArray[np.float64]
    since_key: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    marks: npt.NDArray[np.int64]
    spacing: float
    more: bool
    sound: bool


def _look(container: "InputContainer", stream: "VideoStream", fps: float, most: int) -> _Looked:
    """Read packets until enough frames are known; the film ends where it is broken."""
    import av

    times, since_key, marks, keyless = array("d"), array("q"), array("q"), 0
    ticks: set[int] = set()
    more, sound = False, True
    try:
        for packet in container.demux(stream):
            time = time_of(packet.pts, packet.dts, stream)
            if packet.is_corrupt or (packet.size and time is None):
                sound = False
            if not packet.size or packet.is_discard or packet.is_corrupt or time is None:
                continue
            keyless = 0 if packet.is_keyframe else keyless + 1
            times.append(time)
            since_key.append(keyless)
            marks.append(_mark(packet))
            ticks.add(_tick(time, fps))
            if more := len(ticks) > most + _REORDERED or len(times) >= _MOST_PACKETS:
                break
    except av.error.MemoryError:
        raise
    except av.error.FFmpegError:
        sound = False  # the film is cut off here, which a comparison with its stated length reveals
    seconds = np.array(times)
    order = np.argsort(seconds, kind="stable")
    steps = np.diff(seconds[order])
    spacing = float(np.median(steps[steps > 0])) if (steps > 0).any() else 1 / fps
    keyed = np.array(since_key, np.int64)
    sound = sound and bool((np.diff(seconds[keyed == 0]) > 0).all())
    return _Looked(seconds[order], keyed[order], order, np.array(marks, np.int64), spacing, more, sound)


def _mark(packet: "Packet[VideoStream]") -> int:
    return hash((packet.dts if packet.pts is None else packet.pts, packet.size, packet.is_keyframe))


def _can_seek(
    container: "InputContainer", stream: "VideoStream", looked: _Looked, wanted: npt.NDArray[np.float64]
) -> bool:
    """Return whether seeking in a film works: the packets found there must be among those read from its beginning."""
    import av

    if not looked.sound or stream.time_base is None:
        return False
    known = set(looked.marks.tolist())
    for time in wanted[np.linspace(0, len(wanted) - 1, min(len(wanted), _TRIED_PLACES)).astype(int)].tolist():
        try:
            container.seek((stream.start_time or 0) + int(time / stream.time_base), stream=stream, backward=True)
            found = [packet for packet in itertools.islice(container.demux(stream), 3) if packet.size]
        except av.error.FFmpegError:
            return False
        if not found or not known.issuperset(map(_mark, found[: 1 if looked.more else 3])):
            return False
    return True


def _tick(time: float, fps: float) -> int:
    """Return the smallest k for which a frame can be shown at the time k / fps."""
    return math.ceil(time * fps - 1e-6)


def _shown(seconds: npt.NDArray[np.float64], spacing: float, fps: float) -> npt.NDArray[np.int64]:
    """Return the indices of frames that are shown at one of the times k / fps."""
    until = np.append(seconds[1:], seconds[-1] + spacing)
    first = np.ceil(seconds * fps - 1e-6)
    shown_at = first < until * fps - 1e-6
    shown_at[0] = True
    return np.flatnonzero(shown_at)


def _apart(seconds: npt.NDArray[np.float64]) -> Iterator[float]:
    """Yield times rounded to milliseconds, by which frames are named, without those that would give a name twice."""
    last = -math.inf
    for time in seconds.tolist():
        rounded = round(time, 3) + 0.0  # no -0.0
        if rounded > last:
            yield rounded
            last = rounded


def _stated_length(container: "InputContainer", stream: "VideoStream") -> float:
    """Return the length that the header of a film states, s; 0 if it states none."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / 1e6
