"""Read frames of films, upright and with square pixels, by a path that contains the time: film.mp4#t=12.500.

Source of the notation: Media Fragments URI 1.0 (W3C), section 4.2.1.
"""

import functools
import heapq
import math
import os.path
import re
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

from ssl_pipeline.data.film import film_errors_told, open_film, time_of
from ssl_pipeline.data.film_pixels import upright_image
from ssl_pipeline.data.remarks import RejectedError

if TYPE_CHECKING:
    from av import Packet, VideoFrame, VideoStream

__all__ = ["frame_path", "read_frame", "split_frame_path"]

_PATH = re.compile(r"(.+)#t=(-?\d+\.\d{3})", re.DOTALL)
_SAME = 0.00055
"""Seconds by which the time in a path, which is rounded to milliseconds, may differ from the time of its frame."""
_SEEK = 10.0
"""Seconds beyond which it is faster to seek to a keyframe than to decode all frames up to the one that is wanted."""
_BACK = (0.0, 1.0, 10.0, 100.0)
"""Seconds before a frame to seek to, one after the other, because some containers return a keyframe after the frame."""
_TIMED = ("mov,mp4", "matroska", "flv", "nut")
"""Prefixes of the names of containers that store the time of each frame; in others, such as AVI, it is guessed."""
_MOST_WAITING = 512
"""Largest number of packets that are held back to see whether a later keyframe follows."""
_MOST_DECODED = 50_000
"""Largest number of frames that are decoded to reach one."""
_LATE = 4
"""Number of frame durations by which the last frame of a film may precede the requested time."""


def frame_path(film: str, seconds: float) -> str:
    """Return the path of a frame.

    Examples:
        >>> frame_path("kites/film.mp4", 12.5)
        'kites/film.mp4#t=12.500'
    """
    return f"{film}#t={seconds:.3f}"


def split_frame_path(path: str) -> tuple[str, float] | None:
    """Return the film and the time in s that the path of a frame names; None if the path is not that of a frame."""
    found = _PATH.fullmatch(path)
    return (found[1], float(found[2])) if found else None


def read_frame(root: Path, path: str, limit: int, in_order: bool = False) -> Image.Image:
    """Read a frame. Each process keeps its last film open, so that frames in ascending order are decoded in one pass.

    Args:
        root: Folder that the path is relative to.
        path: Path of the frame.
        limit: Largest size of its pixels, in bytes.
        in_order: Whether the film can only be read from its beginning; see `FilmSample`.

    Raises:
        RejectedError: The film or the frame cannot be read, or the frame is too large.
    """
    named = split_frame_path(path)
    if named is None:
        raise RejectedError("unreadable", "its path contains no time")
    with film_errors_told():
        try:
            return _opened(os.path.join(root, named[0]), in_order).image(named[1], limit)
        except RejectedError:
            raise
        except Exception:
            _opened.cache_clear()  # after an error, its position in the film is unknown
            raise


@functools.lru_cache(maxsize=1)
def _opened(film: str, in_order: bool) -> "_Film":
    return _Film(Path(film), in_order)


class _Shown(NamedTuple):
    """A decoded frame, its time in s, and whether everything since the preceding keyframe was undamaged."""

    frame: "VideoFrame"
    seconds: float
    whole: bool


class _Film:
    """A film whose frames do not depend on what was read before: decoding starts at the last keyframe before each.

    Args:
        path: Path of the file.
        in_order: Whether the film must be read from its beginning, because seeking in it is unreliable.
    """

    def __init__(self, path: Path, in_order: bool):
        self._path, self._in_order = path, in_order
        self._open()

    def _open(self) -> None:
        self._container, self._stream = open_film(self._path)
        self._decoder = self._stream.codec_context
        self._timed = self._container.format.name.startswith(_TIMED)
        self._from(begun=True)

    def _from(self, begun: bool) -> None:
        """Continue with the next packets. Decoding starts at the first packet of a film even if it is no keyframe."""
        self._packets: Iterator[Packet[VideoStream]] = self._container.demux(self._stream)
        self._next: Packet[VideoStream] | None = None
        self._begin([])
        self._begun = begun
        self._asked = -math.inf

    def _begin(self, packets: "Iterable[Packet[VideoStream]]") -> None:
        """Restart decoding with these packets and those that follow."""
        if self._in_order:  # on a damaged film, flushing does not clear all of a decoder's state
            self._spare, stream = open_film(self._path)
            self._decoder = stream.codec_context
        else:
            self._decoder.flush_buffers()
        self._waiting = deque(packets)
        self._start = self._waiting[0] if self._waiting else None
        self._again: list[Packet[VideoStream]] = []  # packets already decoded, from a later keyframe on
        self._due: list[float] = []  # times of packets whose frames are still expected, a heap
        self._lost: list[float] = []  # times of frames that were expected and did not appear
        self._frames: deque[_Shown] = deque()
        self._last: _Shown | None = None
        self._whole = self._begun = True

    def image(self, seconds: float, limit: int) -> Image.Image:
        """Return the frame that is shown at a time.

        Args:
            seconds: Time since the beginning of the film, s.
            limit: Largest size of the pixels, in bytes.

        Raises:
            RejectedError: The frame is damaged, too large, or cannot be reached.
        """
        shown = self._shown(seconds)
        if shown is None or not shown.whole or self._is_missing(seconds, shown):
            raise RejectedError("broken", f"the film is damaged at {seconds:.3f} s, or shortly before")
        if 4 * shown.frame.width * shown.frame.height > limit:
            raise RejectedError("too large", f"frames of {shown.frame.width} x {shown.frame.height} px")
        return upright_image(shown.frame, self._stream)

    def _is_missing(self, seconds: float, shown: _Shown) -> bool:
        """Return whether a later frame than this one should be shown at a time, but is lost."""
        lost = [*self._lost, *self._due[:1]]
        return not shown.frame.interlaced_frame and any(
            shown.seconds + _SAME < time <= seconds + _SAME for time in lost
        )

    def _shown(self, seconds: float) -> _Shown | None:
        back = seconds < self._asked
        if back or (not self._in_order and seconds - self._asked > _SEEK):
            self._wind(seconds)
        self._asked = seconds
        self._read_to(seconds)
        return self._decoded_to(seconds)

    def _wind(self, seconds: float) -> None:
        """Seek to a keyframe at or before a time."""
        import av

        stream = self._stream
        assert stream.time_base is not None
        for earlier in () if self._in_order else _BACK:
            if seconds - earlier <= 0:
                break
            try:
                place = (stream.start_time or 0) + int((seconds - earlier) / stream.time_base)
                self._container.seek(place, stream=stream, backward=True)
            except av.error.FFmpegError:
                break
            self._from(begun=False)
            self._read_to(seconds)
            if self._begun:
                return
        self._container.close()
        self._open()

    def _read_to(self, seconds: float) -> None:
        """Read packets up to a time, and restart decoding at the last keyframe that is shown by then."""
        while (packet := self._peek()) is not None and _stored(packet, self._stream) <= seconds + _SAME:
            self._waiting.append(packet)
            self._next = None
            if len(self._waiting) > _MOST_WAITING:
                self._begin_at_keyframe(seconds)
                while self._begun and len(self._waiting) > _MOST_WAITING // 2:
                    self._decode_one(seconds)
        self._begin_at_keyframe(seconds)

    def _begin_at_keyframe(self, seconds: float) -> None:
        read = [*self._again, *self._waiting]
        for place in reversed(range(len(read))):
            time = time_of(read[place].pts, read[place].dts, self._stream)
            if read[place].is_keyframe and time is not None and time <= seconds + _SAME:
                if read[place] is not self._start:
                    self._begin(read[place:])
                return

    def _peek(self) -> "Packet[VideoStream] | None":
        import av

        if self._next is None:
            try:
                self._next = next(self._packets, None)
            except av.error.MemoryError:
                raise
            except av.error.FFmpegError:
                self._packets = iter(())  # the film is cut off here
        return self._next

    def _decoded_to(self, seconds: float) -> _Shown | None:
        """Decode up to the frame that is shown at a time."""
        for _ in range(_MOST_DECODED):
            self._pass_by(seconds)
            if self._frames or (self._last is not None and seconds - self._last.seconds <= _SAME):
                return self._last
            if not self._decode_one(seconds):
                return self._last if self._last is not None and self._is_near(seconds, self._last.seconds) else None
        raise RejectedError("too slow", f"more than {_MOST_DECODED:,} frames have to be decoded to reach it")

    def _pass_by(self, seconds: float) -> None:
        """Drop all frames before the one that is shown at a time."""
        while self._frames and self._frames[0].seconds <= seconds + _SAME:
            self._last = self._frames.popleft()

    def _is_near(self, seconds: float, time: float) -> bool:
        rate = self._stream.average_rate
        return bool(rate) and seconds - time <= _LATE / float(rate or 1)

    def _decode_one(self, seconds: float) -> bool:
        """Decode the next packet; return False if there is none."""
        import av

        packet = self._waiting.popleft() if self._waiting else self._peek()
        if packet is None:
            return False
        if packet is self._next:
            self._next = None
        if packet.is_keyframe and packet is not self._start:
            self._again = []
        if self._again or (packet.is_keyframe and packet is not self._start):
            self._again.append(packet)
        if self._timed and packet.size and packet.pts is not None and not packet.is_discard:
            heapq.heappush(self._due, time_of(packet.pts, None, self._stream) or 0.0)
        try:
            frames = self._decoder.decode(packet)
        except av.error.MemoryError:
            raise
        except av.error.EOFError:
            return False
        except av.error.FFmpegError:
            self._whole = False
            return True
        for frame in frames:
            self._take(frame)
        self._pass_by(seconds)
        return True

    def _note_lost(self, seconds: float) -> None:
        """Record as lost the frames that should have been decoded before the frame of a time."""
        while self._due and self._due[0] <= seconds + _SAME:
            if (time := heapq.heappop(self._due)) < seconds - _SAME:
                self._lost.append(time)

    def _take(self, frame: "VideoFrame") -> None:
        """Add a decoded frame to those that wait to be shown."""
        time = time_of(frame.pts, frame.dts, self._stream)
        if time is None:
            return
        self._note_lost(time)
        lost = bool(self._lost) and not frame.interlaced_frame  # its two fields may come as two packets
        self._whole = self._whole and not frame.is_corrupt and not lost
        self._frames.append(_Shown(frame, time, self._whole))


def _stored(packet: "Packet[VideoStream]", stream: "VideoStream") -> float:
    """Return the time at which a packet is to be decoded, s; infinity for the empty packet that marks the end."""
    time = time_of(packet.dts, packet.pts, stream)
    if time is None:
        return -math.inf if packet.size else math.inf
    return time
