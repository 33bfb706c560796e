"""The pretraining loop.

A run is a pure function of its parameters, its data and its code: views and order come from hashes of the seed, and
torch's generators are seeded again at every step. A checkpoint therefore holds no generator state, and a run that was
killed and resumed ends with the same bits as an uninterrupted one.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import nn, optim

from ssl_pipeline import progress
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.config import PretrainConfig
from ssl_pipeline.data.store import Split
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.guard import stop_requests
from ssl_pipeline.health.findings import find
from ssl_pipeline.randomness import permutation
from ssl_pipeline.training.average import WeightAverage
from ssl_pipeline.training.batch_encoder import BatchEncoder
from ssl_pipeline.training.batches import Place, made_ahead
from ssl_pipeline.training.captions import TokenizedCaptions
from ssl_pipeline.training.checkpoint import Checkpoints
from ssl_pipeline.training.collapse import warn_or_end
from ssl_pipeline.training.curves import CurveFiles, History, read_scalars
from ssl_pipeline.training.embedding_watch import WATCHED_IMAGES, EmbeddingWatch
from ssl_pipeline.training.freezing import FrozenBackbones
from ssl_pipeline.training.held_out_watch import HELD_OUT_IMAGES, HeldOutWatch
from ssl_pipeline.training.memory_format import memory_format
from ssl_pipeline.training.optimization import learning_rate
from ssl_pipeline.training.other_frames import other_frames
from ssl_pipeline.training.precision import Precision
from ssl_pipeline.training.run import Run, deterministic, metered
from ssl_pipeline.training.settling import settle, settles, settling_batches
from ssl_pipeline.training.targets import TeacherTargets
from ssl_pipeline.training.together import ALONE, Ranks
from ssl_pipeline.training.view_sizes import ViewSizes
from ssl_pipeline.types import PretextTask, Step

__all__ = ["Plan", "train"]

LOGGED_ROWS = 50
_LEAST_LOOKS, _LEAST_HELD_OUT_LOOKS = 12, 4
LOOKING_SHARE = 0.05
"""Number of measured images as a share of the training images. Training on an image costs about three times as much as
measuring it, so this takes about 2% of the time."""


@dataclass(frozen=True)
class Plan:
    """The number of steps of a run, and their size.

    Attributes:
        batch_size: Number of images per step.
        steps: Number of steps per epoch; images that do not fill the last batch are dropped.
        epochs: Number of passes over the images; 0: none, so the initial weights ship unchanged.
        warmup: Number of warm-up steps once the whole network learns, during which the learning rate rises linearly.
        frozen: Number of steps before that during which the backbone is frozen.
        frozen_warmup: Number of warm-up steps with a frozen backbone.
    """

    batch_size: int
    steps: int
    epochs: int
    warmup: int
    frozen: int = 0
    frozen_warmup: int = 0

    @classmethod
    def of(cls, images: int, config: PretrainConfig, which: str = "") -> "Plan":
        """Plan a run.

        Args:
            images: Number of images to learn from.
            config: The section `pretrain`.
            which: Words that describe these images in messages, such as " with captions"; "" for all of the pool.

        Raises:
            PipelineError: There are fewer than two images, so there is nothing to compare.
        """
        if images < 2:
            raise PipelineError(
                f"pretraining needs at least 2 images{which}, but the pool has {images}. Add images to ingest.source, "
                "or lower ingest.val_fraction. data/ingested/rejects.csv lists files that could not be used."
            )
        batch_size = min(config.batch_size, images)
        if batch_size < config.batch_size:
            progress.say(
                f"pretrain.batch_size is {config.batch_size}, but the pool has only {images} images{which}: all of "
                "them form the batch."
            )
        steps, frozen = images // batch_size, config.freeze_epochs
        warmups = [round(config.warmup * steps * epochs) for epochs in (config.epochs - frozen, frozen)]
        return cls(batch_size, steps, config.epochs, warmups[0], steps * frozen, warmups[1])

    @property
    def total(self) -> int:
        """Number of steps of the run."""
        return self.steps * self.epochs

    def rate(self, step: int, peak: float) -> float:
        """Return the learning rate of a step; warm-up and decay to 0 are repeated after the backbone is unfrozen."""
        if step < self.frozen:
            return learning_rate(step, self.frozen, self.frozen_warmup, peak)
        return learning_rate(step - self.frozen, self.total - self.frozen, self.warmup, peak)

    def logs(self, done: int) -> bool:
        """Return whether a row of the curves ends after `done` steps: about 50 times per run, and at its end."""
        return done % self._steps_per_row == 0 or done == self.total

    def looks(self, done: int, images: int = WATCHED_IMAGES, least: int = _LEAST_LOOKS) -> bool:
        """Return whether the encoder is measured for a row: for every row in long runs, less often in short ones.

        Args:
            done: Number of completed steps, at the end of a row.
            images: Number of images that are measured.
            least: Approximate number of measurements in the shortest run.
        """
        looks = max(least, int(LOOKING_SHARE * self.total * self.batch_size / images))
        rows = -(-self.total // self._steps_per_row)
        every = -(-rows // looks) * self._steps_per_row
        return done % every == 0 or done == self.total

    @property
    def _steps_per_row(self) -> int:
        return max(1, self.total // LOGGED_ROWS)

    def batches(
        self, seed: int, ids: npt.NDArray[np.uint64], start: int, rows: npt.NDArray[np.int64] | None = None
    ) -> Iterator[Place]:
        """Yield the places of batches from step `start` on.

        Args:
            seed: The seed of the run.
            ids: Ids (n,) of the images to learn from.
            start: The number of the first step.
            rows: Positions (n,) of these images in the pool; None: they are the whole pool.
        """
        for epoch in range(start // self.steps, self.epochs):
            order = permutation(seed, epoch, ids)
            order = order if rows is None else rows[order]
            for step in range(max(start, epoch * self.steps), (epoch + 1) * self.steps):
                place = (step - epoch * self.steps) * self.batch_size
                yield Place(step, epoch, order[place : place + self.batch_size])


def train(
    task: PretextTask,
    pool: Split,
    policies: Mapping[str, Policy],
    config: PretrainConfig,
    make_optimizer: Callable[[nn.Module], optim.Optimizer],
    precision: Precision,
    checkpoints: Checkpoints,
    curves: Path | None = None,
    ranks: Ranks = ALONE,
    texts: TokenizedCaptions | None = None,
    targets: TeacherTargets | None = None,
    held_out: Split | None = None,
) -> History:
    """Train a task in place, resuming from its checkpoint if there is one, and return the curves.

    Args:
        task: The task, with its encoder.
        pool: The training images.
        policies: Kind of view -> policy.
        config: The section `pretrain`.
        make_optimizer: A function that returns an optimizer for a module's parameters.
        precision: The device and the precision of the forward pass.
        checkpoints: The checkpoints of the run.
        curves: The folder for tables of the curves, which grow during the run; None: no tables are written.
        ranks: The processes that train together; each of them calls this function with the same values.
        texts: The captions of the pool, for a task that learns from them; images without captions are left out.
        targets: The teacher's embeddings, for a task that has a teacher.
        held_out: The held-out images on which the encoder is compared with its initial weights, and on which the best
            step is chosen if `pretrain.ship` is `best`; None: neither is done.

    Raises:
        ConfigError: The task learns from time, but the images have no times, or no clip has suitable frames.
        PipelineError: There are too few images, or too few per rank.
        DivergedError: The loss or the gradient is not finite.
        CollapsedError: The run has collapsed, and `pretrain.on_collapse` is `stop`; a checkpoint is saved.
        KeyboardInterrupt: A stop was requested; a checkpoint is saved.
    """
    frames = other_frames(task, pool, config)
    rows, near = frames.rows if texts is None else texts.rows, frames.near_on(precision.device)
    ids = pool.ids if rows is None else pool.ids[rows]
    if frames.remark and ranks.leads:
        progress.say(frames.remark)
    plan = Plan.of(len(ids), config, " with captions" if texts is not None else "")
    if plan.batch_size < 2 * ranks.count:
        raise PipelineError(
            f"pretrain.devices: {ranks.count} processes share a batch of {plan.batch_size} images, but each needs at "
            "least 2. Use fewer processes, or raise pretrain.batch_size."
        )
    sizes = ViewSizes.of(task, policies, config, plan.total)
    order = memory_format(task, precision.device)
    task.to(precision.device, memory_format=order).train()  # type: ignore[call-overload]
    optimizer = make_optimizer(task)
    average = WeightAverage(task, config.ema, plan.frozen) if config.ema else None
    at_once = config.micro_batch or plan.batch_size
    looked_at = min(at_once, max(ranks.rows(plan.batch_size)))
    unseen = HeldOutWatch(held_out if plan.total else None, task, policies, config, precision, looked_at)
    run = Run(task, optimizer, precision.scaler(), checkpoints, 60 * config.checkpoint_minutes, ranks, average, unseen)
    encoder = BatchEncoder(task, pool, sizes, config.seed, precision, at_once, ranks, texts, frames, targets)
    watch = EmbeddingWatch(pool, task.views.main, config.seed, precision, looked_at)
    start = run.resume()
    tables = CurveFiles(curves, run.history.rows)

    def judge(done: int) -> None:
        findings = find(task, run.history.rows, plan.total, plan.frozen + plan.warmup, config.collapse)
        warn_or_end(run, done, findings + unseen.findings, config)

    backbones = FrozenBackbones(task, config.freeze_norms and config.init != "random")
    if run.history.rows:
        judge(start)  # a collapsed run ends again unless on_collapse or the bounds have changed
    with (
        deterministic(),
        stop_requests() as stop_requested,
        metered(start, plan.total, plan.batch_size) as advance,
        run.history.divergence_comes_first(),
        made_ahead(encoder.make, plan.batches(config.seed, ids, start, rows), precision.device) as batches,
    ):
        first_row = unseen.look_at_start(task)
        run.history.rows += first_row
        tables.add(first_row)
        if not start and plan.total and settles(config):
            settle(task, encoder, islice(plan.batches(config.seed, ids, 0, rows), settling_batches(plan.batch_size)))
        for place, batch in batches:
            number = place.step
            if backbones.set(number < plan.frozen):
                encoder.learn_anew()
            ends_row = plan.logs(number + 1) or sizes.end(number + 1)  # no row mixes views of two sizes
            step = Step(number, plan.total, place.epoch, config.seed, batch.ids, ends_row, batch.shown, near)
            encoded = encoder.encode(place, batch, step)  # name -> (N, ...), still one row per image
            # only here are images compared with each other; loss and metrics are scalars
            loss, metrics, kept = task.compare(encoded, step)
            with encoder.backward(place):
                norm = run.backward(loss, config.clip_norm)
            run.history.note(number, loss, norm)  # read at the end of a row only, as reading waits for the device
            rate = plan.rate(number, config.optimizer.learning_rate)
            update = run.step(rate, measured=ends_row)
            task.after_step(step, kept)  # update teachers and queues
            run.follow(number)
            if ends_row:
                run.history.read()  # first, as it detects divergence
                figures = read_scalars(metrics) | {"learning_rate": rate, **update}
                size = sizes.at(number)[task.views.main]
                with run.shipping():
                    spread = watch.measure(task.encoder, size) if plan.looks(number + 1) else {}  # on 256 fixed images
                    apart = plan.looks(number + 1, HELD_OUT_IMAGES, _LEAST_HELD_OUT_LOOKS)
                    spread |= unseen.look(task, number + 1) if apart else {}
                run.history.close_row(number + 1, {**figures, **spread, **sizes.figures(number)})
                tables.add(run.history.rows[-1:])
                judge(number + 1)
            advance(run.history.loss)
            run.save_if_due(number + 1, plan.total, stop_requested())
    run.ship()
    run.history.shipped_step = unseen.ship(task)
    if not plan.total:  # without training, the initial weights are measured once and ship
        run.history.close_row(0, watch.measure(task.encoder, sizes.at(0)[task.views.main]))
    task.finish()  # after the last checkpoint, from which the run can still resume
    return run.history
