"""Tiles: where they are cut, that they never touch, how their values are standardised, and what is refused."""

import itertools

import pytest
import torch
from torch import Tensor

from ssl_pipeline.parts.tiles import Tiling, choice, standardised
from ssl_pipeline.testing.material import SmallBackbone
from ssl_pipeline.types import Encoder


def numbers_of(tiling: Tiling, images: int, value: float | None = None) -> Tensor:
    """Return random numbers for every choice, or the same number for all."""
    shape = (images, tiling.uniforms)
    return (
        torch.full(shape, value) if value is not None else torch.rand(shape, generator=torch.Generator().manual_seed(0))
    )


def places(tiling: Tiling, uniforms: Tensor | None, images: int = 1) -> Tensor:
    """Return row and column (N, n², T, T, 2) of each pixel of each tile, by cutting an image of pixel numbers."""
    numbers = torch.arange(tiling.size**2, dtype=torch.float32).reshape(tiling.size, tiling.size)
    found = tiling.cut(numbers.expand(images, 3, -1, -1), uniforms)[:, :, 0].long()
    return torch.stack([found // tiling.size, found % tiling.size], dim=-1)


def test_tiles_are_cut_where_their_numbers_say():
    """A 3 x 3 grid on 26 px has cells of 6 px, 2 px apart, which begin at 2, 10 and 18 and hold tiles of 4 px."""
    tiling = Tiling(26, count=3, gap=0.25, jitter=0.25, channels="one")
    assert (tiling.side, tiling.slack, tiling.uniforms) == (4, 2, 19)
    images = torch.rand(2, 3, 26, 26)
    uniforms = torch.zeros(2, 19)
    uniforms[0, 0], uniforms[1, 0] = 0.3, 0.7  # red for the first image, blue for the second
    uniforms[1, 1:3] = torch.tensor([0.99, 0.4])  # first tile of the second image: 2 px down, 1 px to the right
    uniforms[1, 13:15] = torch.tensor([0.34, 0.67])  # its seventh tile, bottom left: 1 px down, 2 px to the right
    tiles = tiling.cut(images, uniforms)
    assert tiles.shape == (2, 9, 3, 4, 4)
    for number, (row, column) in enumerate(itertools.product(range(3), repeat=2)):
        top, left = 2 + 8 * row, 2 + 8 * column
        wanted = images[0, :1, top : top + 4, left : left + 4].expand(3, -1, -1)
        assert torch.equal(tiles[0, number], wanted)
    assert torch.equal(tiles[1, 0], images[1, 2:, 4:8, 3:7].expand(3, -1, -1))
    assert torch.equal(tiles[1, 6], images[1, 2:, 19:23, 4:8].expand(3, -1, -1))
    middle = tiling.cut(images)  # without numbers: the middle of each cell, in green
    assert torch.equal(middle[1, 4], images[1, 1:2, 11:15, 11:15].expand(3, -1, -1))
    coloured = Tiling(26, count=3, gap=0.25, jitter=0.25, channels="all").cut(images, uniforms)
    assert torch.equal(coloured[1, 6], images[1, :, 19:23, 4:8])


SHARES = [(0.25, 0.125), (0.01, 0.05), (0.3, 0.2), (0.0, 0.2)]  # gap and jitter


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize(
    ("size", "gap", "jitter"), [(16, *SHARES[0]), *((size, *both) for size in (22, 23, 24, 31, 64) for both in SHARES)]
)
def test_no_two_tiles_come_nearer_than_the_gap_and_none_has_a_pixel_of_the_border(
    size: int, gap: float, jitter: float, count: int
):
    tiling = Tiling(size, count=count, gap=gap, jitter=jitter, channels="one")
    apart = max(1, round(gap * (size // count))) if gap else 0  # pixels between two tiles
    drawn = torch.cat([numbers_of(tiling, 1, 0.0), numbers_of(tiling, 1, 0.999), numbers_of(tiling, 60)])
    found = places(tiling, drawn, len(drawn))  # (N, n², T, T, 2)
    assert found.min() >= 1
    assert found.max() <= size - 2
    starts = found[:, :, 0, 0]
    for first, second in itertools.combinations(range(count**2), 2):  # T x T px, as the test above shows
        between = (starts[:, first] - starts[:, second]).abs().amax(-1) - tiling.side  # negative if they overlap
        assert between.min() >= apart
    assert (starts.amax(0) - starts.amin(0) == tiling.slack).all()  # each tile moves within its whole slack


def test_a_choice_is_below_its_count_for_the_largest_number_too():
    largest = torch.tensor(1 - 2**-24)
    assert [choice(largest, count).item() for count in (1, 3, 24, 1000)] == [0, 2, 23, 999]
    shares = choice(torch.rand(60_000, generator=torch.Generator().manual_seed(0)), 6).bincount() / 60_000
    assert (shares - 1 / 6).abs().max() < 4 * (5 / 36 / 60_000) ** 0.5  # 4 standard deviations of a binomial


def test_the_backbone_sees_tiles_of_mean_0_and_deviation_1_and_less_of_those_that_hardly_vary():
    """The factor is Wiener's filter for noise of 4 grey levels, which removes the rounding noise of constant tiles."""
    encoder = Encoder(SmallBackbone(), (0.2, 0.5, 0.7), (0.1, 0.2, 0.3))
    tiles = torch.rand(2, 4, 3, 5, 5) * torch.tensor([0.1, 0.9, 0.5, 0.0])[:, None, None, None] + 0.1
    seen = (standardised(tiles, encoder).flatten(0, 1) - encoder.mean) / encoder.std  # as the encoder normalises them
    seen = seen.unflatten(0, (2, 4))
    torch.testing.assert_close(seen[:, :3].mean(dim=(3, 4)), torch.zeros(2, 3, 3), atol=1e-5, rtol=0)
    variance = tiles[:, :3].var(dim=(3, 4), correction=0).double()
    wanted = variance / (variance + (4 / 255) ** 2)
    torch.testing.assert_close(seen[:, :3].std(dim=(3, 4), correction=0).double(), wanted, atol=1e-4, rtol=1e-4)
    assert wanted[:, 1].min() > 0.99
    assert wanted[:, 0].min() > 0.5
    torch.testing.assert_close(seen[:, 3], torch.zeros(2, 3, 5, 5), atol=1e-5, rtol=0)


def test_rounding_of_a_flat_tile_is_not_stretched():
    encoder = Encoder(SmallBackbone(), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    flat = torch.full((1, 1, 3, 8, 8), 0.7) + 1e-7 * torch.randn(1, 1, 3, 8, 8)
    assert (standardised(flat, encoder) - 0.5).abs().max() < 1e-7


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gap": -0.1}, r"gap must lie in \[0, 0.5\], got -0.1"),
        ({"jitter": 0.6}, r"jitter must lie in \[0, 0.5\], got 0.6"),
        (
            {"size": 15},
            r"views of 15 px are too small for 3 x 3 tiles of at least 4 px: with gaps of 1 px .* 3 px are left",
        ),
        ({"size": 4}, r"views of 4 px are too small .* 0 px are left"),
        ({"size": 16, "jitter": 0.2}, r"shifts of up to 1 px, 3 px are left"),
    ],
)
def test_tiles_that_cannot_be_cut_are_refused(options: dict[str, float], words: str):
    with pytest.raises(ValueError, match=words):
        Tiling(**{"size": 32, "count": 3, "gap": 0.25, "jitter": 0.125, "channels": "one", **options})
