"""Views of other frames of a clip: which frames they show, that nothing else depends on them, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.project import needs
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.data.moments import Moment, Moments
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.training.batch_encoder import BatchEncoder
from ssl_pipeline.training.batches import Place
from ssl_pipeline.training.other_frames import other_frames
from ssl_pipeline.training.precision import Precision
from ssl_pipeline.training.view_sizes import ViewSizes
from tests.training.conftest import stopping
from tests.training.test_pretraining import same_bits

TIME = {"positives": {"within": 1.0}}
NOISY = {"size": 8, "gaussian_noise": {"p": 1.0, "std": 0.1}}


@pytest.fixture
def made(build_small, configure, pool, cpu):
    """Return a function of values of `pretrain`, policies and positions that makes views as training does."""

    def go(values, positions, policies=None, data=pool, epoch=0, at_once=64):
        config = configure(**values)
        task = build_small(config)
        policies = policies or dict.fromkeys(("global", "plain", "local"), Policy(size=8))
        frames, sizes = other_frames(task, data, config), ViewSizes.of(task, policies, config, 10)
        encoder = BatchEncoder(task, data, sizes, 0, Precision("fp32", cpu), at_once, frames=frames)
        return encoder.make(Place(0, epoch, np.asarray(positions))), frames

    return go


def shown(batch, kind, pool):
    """Return the positions (N, V) in the pool of the images that unchanged views show."""
    images = torch.from_numpy(pool.images(np.arange(len(pool)))).permute(0, 3, 1, 2) / 255
    found = (batch.views[kind][:, :, None] - images).abs().amax(dim=(3, 4, 5))
    assert found.amin(dim=2).max() < 1e-6
    return found.argmin(dim=2).numpy()


def test_the_second_view_is_of_a_neighbour_and_the_step_knows_of_which(made, pool):
    batch, _ = made(TIME, range(48))
    found = shown(batch, "global", pool)
    assert (found[:, 0] == np.arange(48)).all()
    assert (found[:, 1] != np.arange(48)).all()
    clips, seconds = pool.moments
    assert (clips[found[:, 1]] == clips).all()
    assert (np.abs(seconds[found[:, 1]] - seconds) <= 1.0).all()
    assert (pool.ids[found].view(np.int64) == batch.shown.numpy()).all()
    later, _ = made(TIME, range(48), epoch=1)
    assert (shown(later, "global", pool) != found)[:, 1].any()


def test_local_views_stay_of_the_frame_itself(made, pool):
    batch, _ = made({**TIME, "pretext_task": {"local_views": 2}}, range(48))
    assert (shown(batch, "local", pool) == np.arange(48)[:, None]).all()


def test_without_time_no_bit_of_a_view_changes(made, pool):
    plain, frames = made({}, range(16), {"global": Policy(**NOISY), "local": Policy(**NOISY)})
    timed, _ = made(TIME, range(16), {"global": Policy(**NOISY), "local": Policy(**NOISY)})
    assert plain.shown is None
    assert frames.near is None
    assert torch.equal(plain.views["global"][:, 0], timed.views["global"][:, 0])
    assert not torch.equal(plain.views["global"][:, 1], timed.views["global"][:, 1])


@pytest.mark.parametrize("values", [TIME, {"recipe": "frame_order"}])
def test_what_is_shown_depends_on_the_image_and_not_on_the_batch(values, made):
    kind = "global" if values is TIME else "plain"
    whole, frames = made(values, range(48), {"global": Policy(**NOISY), "plain": Policy(**NOISY)})
    some = [40, 3, 17]
    part, _ = made(values, some, {"global": Policy(**NOISY), "plain": Policy(**NOISY)})
    assert torch.equal(part.views[kind], whole.views[kind][some])
    assert torch.equal(part.shown, whole.shown[some])
    assert frames.rows is None or len(frames.rows) == 48


def test_frames_are_in_the_order_of_time_and_all_made_with_the_same_numbers(made, pool):
    batch, _ = made({"recipe": "frame_order"}, range(48))
    found = shown(batch, "plain", pool)
    assert (found == np.arange(48)[:, None]).any(axis=1).all()
    steps = np.diff(pool.moments.seconds[found], axis=1)
    assert ((steps >= 0.2) & (steps <= 1.0)).all()
    noisy, _ = made({"recipe": "frame_order"}, range(48), {"plain": Policy(**NOISY)})
    grey = replace(pool, shards=(np.full_like(np.concatenate(pool.shards), 128),), files=())
    alike, _ = made({"recipe": "frame_order"}, range(48), {"plain": Policy(**NOISY)}, grey)
    assert torch.equal(alike.views["plain"][:, :1].expand(-1, 3, -1, -1, -1), alike.views["plain"])
    assert alike.views["plain"].std() > 0.05
    assert not torch.equal(noisy.views["plain"][:, 0], noisy.views["plain"][:, 1])


def test_an_image_without_a_time_has_views_of_its_own_and_is_left_out_where_frames_are_asked_for(made, pool):
    clips, seconds = (part.copy() for part in pool.moments)
    clips[5], seconds[5] = -1, np.nan
    odd = replace(pool, moments=Moments(clips, seconds))
    batch, _ = made(TIME, range(48), data=odd)
    assert (shown(batch, "global", pool)[5] == 5).all()
    _, frames = made({"recipe": "frame_order"}, [0], data=odd)
    assert 5 not in frames.rows
    assert len(frames.rows) == 47
    assert "1 of 48 images are left out" in frames.remark


@pytest.mark.parametrize("recipe", ["time_contrast", "frame_order", "missing_frame"])
def test_a_run_on_time_is_resumed_to_the_bit(recipe, run, configure):
    config = configure(recipe=recipe, on_collapse="warn", epochs=2, **needs("large").get(recipe, {}))
    whole, curves = run(config, name="whole")
    with pytest.raises(KeyboardInterrupt):
        run(config, change=lambda task: stopping(task, 3))
    pieced, pieced_curves = run(config)
    assert same_bits(whole, pieced)
    assert curves.rows == pieced_curves.rows


def test_near_frames_are_told_to_the_loss(run, configure):
    """In a pool that is a single clip of near frames, most pairs are not negatives."""
    _, history = run(configure(epochs=1, on_collapse="warn", positives={"within": 10.0}, batch_size=8))
    assert all(0 < row["negatives"] < 14 for row in history.rows)


@pytest.mark.parametrize("values", [TIME, {"recipe": "missing_frame"}])
def test_a_pool_without_moments_is_refused_in_words(values, run, configure, pool):
    with pytest.raises(ConfigError, match="the source does not state the times of its images"):
        run(configure(**values), replace(pool, moments=None))


def test_clips_that_are_too_short_for_all_are_refused(run, configure, pool):
    moments = Moments.of(Moment(f"{row // 2}", row % 2 / 2) for row in range(48))
    with pytest.raises(
        ConfigError, match=r"pretext_task\.least, raise pretrain\.pretext_task\.most, .* ingest\.source\.fps"
    ):
        run(configure(recipe="frame_order"), replace(pool, moments=moments))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"recipe": "rotation", **TIME}, "learns from one view '\\w+' per image"),
        ({"recipe": "slip", **TIME}, "learns from one view 'plain' per image"),
        ({"recipe": "frame_order", **TIME}, "chooses the frames of a clip itself"),
        ({"recipe": "frame_order", "pretext_task": {"least": 2.0}}, "0 < least <= most, got 2 and 1 s"),
        ({"recipe": "missing_frame", "pretext_task": {"frames": 4}}, "frames must be 3, 5, 7, ..., got 4"),
    ],
)
def test_what_makes_no_sense_is_refused(values, words, build_small, configure):
    with pytest.raises(ConfigError, match=words):
        build_small(configure(**values))


def test_a_policy_for_each_frame_would_give_it_away(build_small, configure, policies):
    policies["plain"] = Policy.model_validate([NOISY, NOISY, NOISY])
    with pytest.raises(ConfigError, match="different policies would give away which frame is which"):
        build_small(configure(recipe="frame_order"))
