"""Films that contain only a shortcut: `frame_order` stays at chance with its guard against it, and not without.

Frames are chosen and made into views as in training; each step and the evaluation use new films.
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

SIDE, LENGTH, RHYTHM = 8, 64, 8  # px; frames per film; frames from one keyframe to the next
FILMS, STEPS, CHANCE = 600, 120, 1 / 3
FOUR_SIGMA = 4 * math.sqrt(2) / 3 / math.sqrt(FILMS)  # counts the three questions about a film as one
Film = Callable[[Tensor, torch.Generator], Tensor]
"""Function of positions (N, 3) in films of 64 frames and a generator that returns frames (N, 3, 3, 8, 8) in [0, 1]."""


def grain(places: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(*places.shape, 1, SIDE, SIDE, generator=generator).expand(-1, -1, 3, -1, -1)


def fading(places: Tensor, generator: torch.Generator) -> Tensor:
    """Grain under a light that grows or fades, whatever the film shows."""
    dies = torch.rand(len(places), 1, generator=generator) < 0.5
    light = 0.2 + 0.8 * torch.where(dies, LENGTH - 1 - places, places) / LENGTH
    return grain(places, generator) * light[..., None, None, None]


def in_rhythm(places: Tensor, generator: torch.Generator) -> Tensor:
    """Grain under blocks that grow stronger from one keyframe to the next; the time of the first keyframe is random."""
    start = torch.randint(RHYTHM, (len(places), 1), generator=generator)
    age = ((places + start) % RHYTHM)[..., None, None, None] / (RHYTHM - 1)
    blocks = (torch.arange(SIDE)[:, None] + torch.arange(SIDE)) // 4 % 2
    return 0.3 * grain(places, generator) + 0.7 * age * blocks


def focusing(places: Tensor, generator: torch.Generator) -> Tensor:
    """Large blocks over small ones that go into focus or out of it throughout the film."""
    leaves = torch.rand(len(places), 1, generator=generator) < 0.5
    focus = torch.where(leaves, LENGTH - 1 - places, places)[..., None, None, None] / LENGTH
    large, small = ((torch.arange(SIDE)[:, None] + torch.arange(SIDE)) // side % 2 for side in (4, 1))
    return 0.1 * grain(places, generator) + 0.45 * large + 0.45 * focus * small


def moving(places: Tensor, generator: torch.Generator) -> Tensor:
    """A bar that moves from left to right throughout the film, which is content that can be learned."""
    middle = places[..., None, None, None] / LENGTH * SIDE
    bar = (-(torch.arange(SIDE) - middle).square()).exp().expand(-1, -1, 3, SIDE, -1)
    return 0.5 * bar + 0.1 * grain(places, generator)


def accuracy(film: Film, **options: Any) -> float:
    """Train a head on the pixels of films; return its share of correct answers on new films."""
    torch.manual_seed(0)
    task = FrameOrder(encoder_on(Pixels(SIDE)), asks="permutation", **options).train()
    optimizer = torch.optim.AdamW(task.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(1)
    moments = Moments.of(Moment(str(number), frame / 10) for number in range(FILMS) for frame in range(LENGTH))
    assert task.views.frames is not None
    paths = FramePaths(Timeline(moments, task.views.frames.most), 3, *task.views.frames)

    def batch(films: int, epoch: int) -> dict[str, Tensor]:
        """Return three frames of each film, chosen as in training."""
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


WIDE = {"least": 0.8, "most": 2.3}  # from 8 to 23 frames, two whole rhythms, so that all phases are equally likely
EVEN = {"least": 0.3, "most": 0.3}


def test_a_fade_says_nothing_of_frames_of_even_brightness(monkeypatch: pytest.MonkeyPatch):
    assert accuracy(fading, **WIDE) == pytest.approx(CHANCE, abs=FOUR_SIGMA)
    monkeypatch.setattr(frame_order, "standardised", lambda frames, encoder: frames)
    assert accuracy(fading, **WIDE) > CHANCE + 2 * FOUR_SIGMA


def test_a_rhythm_of_keyframes_says_nothing_where_times_are_drawn_over_it():
    assert accuracy(in_rhythm, **WIDE) == pytest.approx(CHANCE, abs=FOUR_SIGMA)
    assert accuracy(in_rhythm, **EVEN) > CHANCE + 2 * FOUR_SIGMA


def test_focus_that_changes_one_way_tells_the_order_and_is_not_guarded_against():
    """A known limit; docs/film.md states it."""
    assert accuracy(focusing, **WIDE) > CHANCE + 2 * FOUR_SIGMA


def test_what_moves_is_learned():
    assert accuracy(moving, **WIDE) > 0.9
