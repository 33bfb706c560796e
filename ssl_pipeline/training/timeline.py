"""Times of a pool's images: neighbours in time, and sequences of frames of a clip, drawn by hashed numbers.

All clips lie on one time line, in microseconds, one after another and too far apart to be near each other. The
neighbours of a frame are therefore a range of the line, and drawing one of them takes one random number.
"""

import numpy as np
import numpy.typing as npt
import torch

from ssl_pipeline.data.moments import Moments
from ssl_pipeline.types import Near

__all__ = ["FramePaths", "Timeline", "microseconds"]

SLACK = 0.01
"""Share of a bound by which a time may exceed it. At one frame per second, the frames of a film of 29.97 or
23.976 frames per second are 1.001 s apart, and a bound of 1 s must include them."""

Positions = npt.NDArray[np.int64]
Uniforms = npt.NDArray[np.float32]


def microseconds(seconds: float) -> int:
    """Return a time as a whole number of microseconds; 64 bits suffice for more than a thousand years of film."""
    return round(seconds * 1e6)


def _longest(seconds: float) -> int:
    """Return the longest time in microseconds that counts as within a bound in seconds."""
    return microseconds((1 + SLACK) * seconds)


class Timeline:
    """Positions of a pool's images in time. An image without a time is near no other image.

    Args:
        moments: The moments of the images, in the order of the pool.
        reach: The longest time between frames that will be asked for, in s. Clips lie farther apart than this, SLACK
            included.

    Attributes:
        places: Positions (n,) int64 of the images on the line, in microseconds.
        sorted: The same positions (n,) int64, in temporal order.
        order: Positions in the pool (n,) int64 of the images, in temporal order.
        ranks: Index (n,) int64 of each image of the pool in the temporal order.

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
        """Draw a neighbour in time for each image, all neighbours being equally likely.

        Args:
            positions: Positions (m,) of the images in the pool.
            within: The largest distance in time, in s, up to SLACK.
            uniforms: Random numbers (m,) in [0, 1).

        Returns:
            Positions (m,) of the neighbours in the pool; an image without neighbours keeps its own position.
        """
        reach, places = _longest(within), self.places[positions]
        first = np.searchsorted(self.sorted, places - reach)
        others = np.searchsorted(self.sorted, places + reach, side="right") - first - 1
        drawn = first + _choice(uniforms, others)
        drawn += (drawn >= self.ranks[positions]) & (others > 0)  # skip the image itself
        found: Positions = self.order[drawn]
        return found

    def near(self, ids: npt.NDArray[np.uint64], within: float) -> Near:
        """Return a record of which images are near each other.

        Args:
            ids: Ids (n,) of the pool's images.
            within: The largest distance in time, in s, up to SLACK.
        """
        signed = ids.view(np.int64)
        order = np.argsort(signed)
        return Near(torch.from_numpy(signed[order]), torch.from_numpy(self.places[order]), _longest(within))


class FramePaths:
    """All sequences ("paths") of frames of a clip whose successive distances in time lie within bounds.

    A path has exactly V frames. Each next frame is drawn from those from which the path can still be completed.

    Args:
        line: The images in time.
        count: V, the number of frames of a path, at least 2.
        least: The least time between successive frames, in s, greater than 0, up to SLACK.
        most: The greatest time between successive frames, in s, up to SLACK.

    Attributes:
        usable: Positions (n',) in the pool of all images that are part of a path, in order.
    """

    def __init__(self, line: Timeline, count: int, least: float, most: float):
        self._line, self._count = line, count
        shortest, longest = microseconds((1 - SLACK) * least), _longest(most)
        later, latest = line.sorted + shortest, line.sorted + longest
        earlier, earliest = line.sorted - shortest, line.sorted - longest
        search = line.sorted.searchsorted
        self._next = search(later), search(latest, side="right")  # ranges of ranks, for each rank
        self._last = search(earliest), search(earlier, side="right")
        # entry k at rank r: the number of images before r from which k steps forward, or back, are possible
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
        """Draw a path through each image.

        Args:
            positions: Positions (m,) in the pool of `usable` images.
            uniforms: Random numbers (m, V) in [0, 1).

        Returns:
            Positions (m, V) of the frames in the pool, in temporal order; the image itself is one of them.
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
        """Draw the rank of the next frame among those from which the path can still be completed."""
        before, after = (ways[end[ranks]] for end in ranges)
        return np.searchsorted(ways, before + _choice(uniforms, after - before), side="right") - 1


def _choice(uniforms: Uniforms, counts: Positions) -> Positions:
    """Turn numbers in [0, 1) into equally likely integers from 0 to count - 1; 0 if the count is 0."""
    return (uniforms.astype(np.float64) * counts).astype(np.int64)
