"""Films whose frames hold nothing but a shortcut: with its guard `frame_order` stays at chance, and without it does not.

Frames are chosen and made into views as in training; films are drawn anew for each step and for the evaluation.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ssl_pipeline.data.moments import Moment, Moments
from ssl_pipeline.randomness import hash64, uniforms
from ssl_pipeline.testing.material import encoder_on, make_step
from ssl_pipeline.training.timeline import FramePaths, Timeline
from ssl_pipeline.types import UNIFORMS
from ssl_pipeline_plugins.pretext import frame_order
from ssl_pipeline_plugins.pretext.frame_order import FrameOrder
from tests.plugins.shortcuts import Pixels

SIDE, LENGTH, RHYTHM = 8, 64, 8  # px; frames of a film, and from a keyframe to the next
FILMS, STEPS, CHANCE = 600, 120, 1 / 3
FOUR_SIGMA = 4 * math.sqrt(2) / 3 / math.sqrt(FILMS)  # three questions a film are at most as good as one
Film = Callable[[Tensor, torch.Generator], Tensor]
"""From places (N, 3) in films of 64 frames and a generator to these frames (N, 3, 3, 8, 8) in [0, 1]."""


def grain(places: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(*places.shape, 1, SIDE, SIDE, generator=generator).expand(-1, -1, 3, -1, -1)


def fading(places: Tensor, generator: torch.Generator) -> Tensor:
    """Grain in a light that grows or dies, whatever the film shows."""
    dies = torch.rand(len(places), 1, generator=generator) < 0.5
    light = 0.2 + 0.8 * torch.where(dies, LENGTH - 1 - places, places) / LENGTH
    return grain(places, generator) * light[..., None, None, None]


def in_rhythm(places: Tensor, generator: torch.Generator) -> Tensor:
    """Grain under blocks that show the more the longer ago the last keyframe is, of which the first comes at any time."""
    start = torch.randint(RHYTHM, (len(places), 1), generator=generator)
    age = ((places + start) % RHYTHM)[..., None, None, None] / (RHYTHM - 1)
    blocks = (torch.arange(SIDE)[:, None] + torch.arange(SIDE)) // 4 % 2
    return 0.3 * grain(places, generator) + 0.7 * age * blocks


def focusing(places: Tensor, generator: torch.Generator) -> Tensor:
    """Large blocks, with small ones in them that come into focus or leave it, as long as the film lasts."""
    leaves = torch.rand(len(places), 1, generator=generator) < 0.5
    focus = torch.where(leaves, LENGTH - 1 - places, places)[..., None, None, None] / LENGTH
    large, small = ((torch.arange(SIDE)[:, None] + torch.arange(SIDE)) // side % 2 for side in (4, 1))
    return 0.1 * grain(places, generator) + 0.45 * large + 0.45 * focus * small


def moving(places: Tensor, generator: torch.Generator) -> Tensor:
    """A bar that goes from left to right, as long as the film lasts: here there is something to learn."""
    middle = places[..., None, None, None] / LENGTH * SIDE
    bar = (-(torch.arange(SIDE) - middle).square()).exp().expand(-1, -1, 3, SIDE, -1)
    return 0.5 * bar + 0.1 * grain(places, generator)


def accuracy(film: Film, **options: Any) -> float:
    """The share of questions that are answered rightly of fresh films, a network of pixels having learned from others."""
    torch.manual_seed(0)
    task = FrameOrder(encoder_on(Pixels(SIDE)), asks="permutation", **options).train()
    optimizer = torch.optim.AdamW(task.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(1)
    moments = Moments.of(Moment(str(number), frame / 10) for number in range(FILMS) for frame in range(LENGTH))
    assert task.views.frames is not None
    paths = FramePaths(Timeline(moments, task.views.frames.most), 3, *task.views.frames)

    def batch(films: int, epoch: int) -> dict[str, Tensor]:
        """Three frames of each film, chosen as in training."""
        anchors = np.arange(films) * LENGTH + LENGTH // 2
        numbers = uniforms(0, epoch, hash64(anchors), "frames", 3)
        shown = film(torch.from_numpy(paths.drawn(anchors, numbers) % LENGTH), generator)
        return {"plain": shown, UNIFORMS: torch.rand(films, task.uniforms, generator=generator)}

    for number in range(STEPS):
        loss = task.compare(task(batch(128, number)), make_step()).loss
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    task.eval()
    with torch.no_grad():
        return task.compare(task(batch(FILMS, STEPS)), make_step()).metrics["pretext_accuracy"].item()


WIDE = {"least": 0.8, "most": 2.3}  # two rhythms, from the end of one on: all places in it are as likely
EVEN = {"least": 0.3, "most": 0.3}


def test_a_fade_says_nothing_of_frames_of_even_brightness(monkeypatch: pytest.MonkeyPatch):
    assert accuracy(fading, **WIDE) == pytest.approx(CHANCE, abs=FOUR_SIGMA)
    monkeypatch.setattr(frame_order, "standardised", lambda frames, encoder: frames)
    assert accuracy(fading, **WIDE) > CHANCE + 2 * FOUR_SIGMA


def test_a_rhythm_of_keyframes_says_nothing_where_times_are_drawn_over_it():
    assert accuracy(in_rhythm, **WIDE) == pytest.approx(CHANCE, abs=FOUR_SIGMA)
    assert accuracy(in_rhythm, **EVEN) > CHANCE + 2 * FOUR_SIGMA


def test_focus_that_changes_one_way_tells_the_order_and_is_not_guarded_against():
    """As docs/film.md says."""
    assert accuracy(focusing, **WIDE) > CHANCE + 2 * FOUR_SIGMA


def test_what_moves_is_learned():
    assert accuracy(moving, **WIDE) > 0.9
