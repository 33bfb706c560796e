"""When the images of a pool are seen: neighbours in time, and several frames of a clip, drawn by hashed numbers.

All clips lie on one line, in microseconds, one after another and too far apart to be near each other. So what is near a
frame is a range of the line, and a draw of one is a draw of a number.
"""

import numpy as np
import numpy.typing as npt
import torch

from ssl_pipeline.data.moments import Moments
from ssl_pipeline.types import Near

__all__ = ["FramePaths", "Timeline", "microseconds"]

SLACK = 0.01
"""Share of a bound by which a time may miss it. One frame a second of a film of 29.97 or 23.976 per second is 1.001 s
from the next, and a bound of 1 s means these."""

Positions = npt.NDArray[np.int64]
Uniforms = npt.NDArray[np.float32]


def microseconds(seconds: float) -> int:
    """Return a time as a whole number of microseconds, of which there are enough for a thousand years of film."""
    return round(seconds * 1e6)


def _longest(seconds: float) -> int:
    """Return the longest time in microseconds that still counts as so many seconds."""
    return microseconds((1 + SLACK) * seconds)


class Timeline:
    """Where the images of a pool lie in time; one that has no time lies on its own, near nobody.

    Args:
        moments: The moments of the images, in the order of the pool.
        reach: The longest time that is asked for, s; clips lie farther apart than this, and than what SLACK adds.

    Attributes:
        places: (n,) int64, the places of the images on the line, in microseconds.
        sorted: (n,) int64, the same in the order of time.
        order: (n,) int64, the positions in the pool of the images in the order of time.
        ranks: (n,) int64, the place of each image in this order.

    Examples:
        >>> from ssl_pipeline.data.moments import Moment
        >>> frames = [Moment("film", 0.5 * number) for number in range(4)]
        >>> line = Timeline(Moments.of([*frames, None]), reach=0.5)
        >>> line.neighbours(np.arange(5), 0.5, np.zeros(5, np.float32)).tolist()  # the last one has none
        [1, 0, 1, 2, 4]
    """

    def __init__(self, moments: Moments, reach: float):
        timed = moments.clips >= 0
        alone = np.arange(len(timed)) + int(moments.clips.max(initial=-1)) + 1
        clips, times = np.where(timed, moments.clips, alone), np.where(timed, moments.seconds, 0.0)
        ticks = np.rint(times * 1e6).astype(np.int64)
        self.order = np.lexsort((np.arange(len(timed)), ticks, clips)).astype(np.int64)
        ticks, begins = ticks[self.order], np.diff(clips[self.order], prepend=-1) != 0
        steps = np.diff(ticks, prepend=0)
        steps[begins] = _longest(reach) + 1
        self.sorted = np.cumsum(steps)
        self.ranks = np.empty_like(self.order)
        self.ranks[self.order] = np.arange(len(timed))
        self.places = self.sorted[self.ranks]

    def neighbours(self, positions: Positions, within: float, uniforms: Uniforms) -> Positions:
        """Return the position (m,) of another frame near each of some images, any of them alike; its own if none is.

        Args:
            positions: (m,) positions of the images in the pool.
            within: The largest distance in time, s, up to SLACK.
            uniforms: (m,) numbers in [0, 1).
        """
        reach, places = _longest(within), self.places[positions]
        first = np.searchsorted(self.sorted, places - reach)
        others = np.searchsorted(self.sorted, places + reach, side="right") - first - 1
        drawn = first + _choice(uniforms, others)
        drawn += (drawn >= self.ranks[positions]) & (others > 0)  # an image is not among its others
        found: Positions = self.order[drawn]
        return found

    def near(self, ids: npt.NDArray[np.uint64], within: float) -> Near:
        """Return which images are near each other, up to SLACK, given the ids (n,) of the pool."""
        signed = ids.view(np.int64)
        order = np.argsort(signed)
        return Near(torch.from_numpy(signed[order]), torch.from_numpy(self.places[order]), _longest(within))


class FramePaths:
    """All ways to choose frames of a clip, one after another, with so much time from each to the next.

    Every frame of a path is there. Of those that can follow, one from which the path can be finished is drawn.

    Args:
        line: The images in time.
        count: The number of frames of a path, V, at least 2.
        least: The least time from one frame to the next, s, greater than 0, up to SLACK.
        most: The most, s, up to SLACK.

    Attributes:
        usable: (n',) the positions, in their order, of images that are on some path.
    """

    def __init__(self, line: Timeline, count: int, least: float, most: float):
        self._line, self._count = line, count
        shortest, longest = microseconds((1 - SLACK) * least), _longest(most)
        later, latest = line.sorted + shortest, line.sorted + longest
        earlier, earliest = line.sorted - shortest, line.sorted - longest
        search = line.sorted.searchsorted
        self._next = search(later), search(latest, side="right")  # ranges of ranks, for each rank
        self._last = search(earliest), search(earlier, side="right")
        # entry k, at a rank: how many images before it can go k steps on, or back
        self._on, self._back = self._ways(self._next), self._ways(self._last)
        can_go_on, can_go_back = ([np.diff(ways) > 0 for ways in each] for each in (self._on, self._back))
        views = range(count)
        self._can_be = np.stack([can_go_back[view] & can_go_on[count - 1 - view] for view in views], axis=1)  # (n, V)
        self.usable: Positions = np.sort(line.order[self._can_be.any(axis=1)])

    def _ways(self, ranges: tuple[Positions, Positions]) -> list[Positions]:
        ways = [np.arange(len(self._line.sorted) + 1)]
        for _ in range(self._count - 1):
            can = ways[-1][ranges[1]] > ways[-1][ranges[0]]
            ways.append(np.concatenate([[0], can.cumsum()]))
        return ways

    def drawn(self, positions: Positions, uniforms: Uniforms) -> Positions:
        """Return the positions (m, V) of frames in the order of time, of which each image is one.

        Args:
            positions: (m,) positions in the pool of images that are `usable`.
            uniforms: (m, V) numbers in [0, 1).
        """
        ranks = self._line.ranks[positions]
        can_be = self._can_be[ranks]
        own = (can_be.cumsum(axis=1) > _choice(uniforms[:, 0], can_be.sum(axis=1))[:, None]).argmax(axis=1)
        path = np.repeat(ranks[:, None], self._count, axis=1)
        for view in range(1, self._count):
            rows = own < view
            left = self._on[self._count - 1 - view]
            path[rows, view] = self._step(path[rows, view - 1], self._next, left, uniforms[rows, view])
        for view in reversed(range(self._count - 1)):
            rows = own > view
            left = self._back[view]
            path[rows, view] = self._step(path[rows, view + 1], self._last, left, uniforms[rows, view + 1])
        return self._line.order[path]

    @staticmethod
    def _step(ranks: Positions, ranges: tuple[Positions, Positions], ways: Positions, uniforms: Uniforms) -> Positions:
        """Return the rank of one of those that come next, among those from which the path can be finished."""
        before, after = (ways[end[ranks]] for end in ranges)
        return np.searchsorted(ways, before + _choice(uniforms, after - before), side="right") - 1


def _choice(uniforms: Uniforms, counts: Positions) -> Positions:
    """Turn numbers in [0, 1) into integers from 0 to a count - 1, equally likely; 0 where the count is 0."""
    return (uniforms.astype(np.float64) * counts).astype(np.int64)
