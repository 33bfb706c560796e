"""Randomness as an input: random numbers that are a pure hash of their purpose.

There is no hidden state. The numbers for one view of one image depend only on (seed, epoch, sample, view, parameter),
not on workers, batch composition, device, or whether the run was resumed.

The mixing function is SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators").
"""

import zlib

import numpy as np
import numpy.typing as npt

__all__ = ["hash64", "normals", "permutation", "uniforms"]

U64 = npt.NDArray[np.uint64]
Key = int | str | npt.NDArray[np.integer]

_GOLDEN_RATIO = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: U64) -> U64:
    """Apply SplitMix64's finalizer: a bijection of 64-bit words in which every input bit affects every output bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _words(key: Key) -> U64:
    if isinstance(key, str):  # zlib.crc32 is the same in every process, unlike hash()
        return np.array(zlib.crc32(key.encode()), dtype=np.uint64)
    if isinstance(key, int):
        return np.array(key & 0xFFFF_FFFF_FFFF_FFFF, dtype=np.uint64)
    return key.astype(np.uint64)


def hash64(*keys: Key) -> U64:
    """Hash keys to 64-bit words; array keys broadcast against each other.

    Args:
        *keys: Integers, strings or integer arrays, whose order matters.

    Returns:
        uint64 array of the broadcast shape (0-d if all keys are scalars).
    """
    state = np.array(0x6A09E667F3BCC909, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for key in keys:
            state = np.asarray(_mix((state ^ _mix(_words(key) + _GOLDEN_RATIO)) + _GOLDEN_RATIO))
    return state


def uniforms(seed: int, epoch: int, samples: npt.NDArray[np.integer], view: str, count: int) -> npt.NDArray[np.float32]:
    """Draw uniform numbers in [0, 1) for one view of each sample.

    Args:
        seed: Seed of the run.
        epoch: Number of the epoch, from 0.
        samples: Ids (N,) of the samples (`Split.ids`), not positions.
        view: Name of the view, such as "global/0".
        count: Number P of parameters of a view.

    Returns:
        float32 array (N, P) in [0, 1); column p depends on p, not on P.
    """
    words = hash64(seed, epoch, samples[:, None], view, np.arange(count)[None, :])
    return ((words >> np.uint64(40)).astype(np.float64) * 2.0**-24).astype(np.float32)


def normals(
    seed: int, epoch: int, samples: npt.NDArray[np.integer], view: str, shape: tuple[int, ...]
) -> npt.NDArray[np.float32]:
    """Draw standard normal numbers for one view of each sample, by the Box-Muller transform.

    Args:
        seed: Seed of the run.
        epoch: Number of the epoch, from 0.
        samples: Ids (N,) of the samples.
        view: Name of the view.
        shape: Shape of one sample's numbers, such as (3, S, S).

    Returns:
        float32 array (N, *shape).
    """
    count = int(np.prod(shape))
    words = hash64(seed, epoch, samples[:, None], view, "normal", np.arange(count)[None, :])
    radius = np.sqrt(-2.0 * np.log(((words >> np.uint64(32)).astype(np.float64) + 1.0) * 2.0**-32))
    angle = (words & np.uint64(0xFFFFFFFF)).astype(np.float64) * (2.0 * np.pi * 2.0**-32)
    return (radius * np.cos(angle)).astype(np.float32).reshape(len(samples), *shape)


def permutation(seed: int, epoch: int, ids: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Return the order in which an epoch visits the samples, as positions into `ids`: (N,) int64."""
    return np.lexsort((ids, hash64(seed, epoch, ids, "order"))).astype(np.int64)
