"""Random numbers are a pure hash of what they are used for."""

import numpy as np

from ssl_pipeline.randomness import hash64, normals, permutation, uniforms

IDS = np.arange(1000, dtype=np.uint64) * np.uint64(0x123456789ABCDEF1)


def splitmix64(state: int) -> int:
    """Compute the output function of the published generator with Python's integers."""
    mask = (1 << 64) - 1
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
    return state ^ (state >> 31)


def test_the_hash_is_that_of_an_independent_implementation():
    mask, golden = (1 << 64) - 1, 0x9E3779B97F4A7C15
    state = 0x6A09E667F3BCC909
    for key in (7, 11, 13):
        state = splitmix64(((state ^ splitmix64((key + golden) & mask)) + golden) & mask)
    assert int(hash64(7, 11, 13)) == state


def test_a_sample_s_numbers_do_not_depend_on_the_others_nor_on_how_many_there_are():
    whole = uniforms(3, 5, IDS, "global/0", 12)
    assert np.array_equal(uniforms(3, 5, IDS[::-1][:7], "global/0", 12), whole[::-1][:7])
    assert np.array_equal(uniforms(3, 5, IDS, "global/0", 4), whole[:, :4])


def test_every_key_matters():
    base = uniforms(0, 0, IDS, "global/0", 2)
    others = [
        uniforms(1, 0, IDS, "global/0", 2),
        uniforms(0, 1, IDS, "global/0", 2),
        uniforms(0, 0, IDS, "global/1", 2),
        uniforms(0, 0, IDS + np.uint64(1), "global/0", 2),
    ]
    for other in others:
        correlation = np.corrcoef(base[:, 0], other[:, 0])[0, 1]
        assert abs(correlation) < 0.15
        assert np.mean(base == other) < 0.01


def test_uniforms_are_uniform_and_normals_normal():
    numbers = uniforms(0, 0, IDS, "x", 50)
    assert numbers.dtype == np.float32
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = np.histogram(numbers, bins=20, range=(0, 1))[0]
    expected = numbers.size / 20
    assert ((counts - expected) ** 2 / expected).sum() < 43.8  # chi-squared, 19 degrees of freedom, p = 0.001
    gauss = normals(0, 0, IDS, "x", (3, 10))
    assert gauss.shape == (1000, 3, 10)
    assert abs(gauss.mean()) < 0.03
    assert abs(gauss.std() - 1) < 0.02
    assert abs((gauss**4).mean() - 3) < 0.3


def test_a_permutation_is_one_and_differs_by_epoch():
    first, second = permutation(0, 0, IDS), permutation(0, 1, IDS)
    assert np.array_equal(np.sort(first), np.arange(1000))
    assert np.mean(first == second) < 0.02


def test_an_order_depends_on_identities_not_on_positions():
    shuffled = np.random.default_rng(0).permutation(1000)
    assert np.array_equal(IDS[permutation(0, 0, IDS)], IDS[shuffled][permutation(0, 0, IDS[shuffled])])
