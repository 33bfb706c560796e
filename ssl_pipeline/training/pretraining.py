"""Learning without labels: the loop.

A run is a pure function of its parameters, its data and its code: views and order are hashed from the seed, and torch's
own generator is seeded anew at every step. So a checkpoint needs to hold no state of any generator, and a run that was
killed and resumed ends with the same bits as one that was not.
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
from ssl_pipeline.training.curves import CurveFiles, History
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
"""Watched images as a share of those trained on, each of which costs some three times as much: 2% of the time."""


@dataclass(frozen=True)
class Plan:
    """How many steps of which size.

    Attributes:
        batch_size: Number of images per step.
        steps: Number of steps per epoch; the images that do not fill a last batch are dropped.
        epochs: Number of passes over the images; 0: none, and the start ships as it is.
        warmup: Number of steps in which the learning rate rises linearly, once the whole network learns.
        frozen: Number of steps before that, in which the backbone is frozen.
        frozen_warmup: Number of steps of these in which the learning rate rises linearly.
    """

    batch_size: int
    steps: int
    epochs: int
    warmup: int
    frozen: int = 0
    frozen_warmup: int = 0

    @classmethod
    def of(cls, images: int, config: PretrainConfig, which: str = "") -> "Plan":
        """Plan a run over that many images, which are those of the pool that messages name by `which`.

        Raises:
            PipelineError: Fewer than two images: there is nothing to compare.
        """
        if images < 2:
            raise PipelineError(
                f"pretraining needs at least 2 images{which}, and the pool has {images}: add images to ingest.source, "
                "or lower ingest.val_fraction. data/ingested/rejects.csv lists files that could not be used."
            )
        batch_size = min(config.batch_size, images)
        if batch_size < config.batch_size:
            progress.say(
                f"pretrain.batch_size is {config.batch_size}, but the pool has {images} images{which}: that is the "
                "batch."
            )
        steps, frozen = images // batch_size, config.freeze_epochs
        warmups = [round(config.warmup * steps * epochs) for epochs in (config.epochs - frozen, frozen)]
        return cls(batch_size, steps, config.epochs, warmups[0], steps * frozen, warmups[1])

    @property
    def total(self) -> int:
        """Steps in all."""
        return self.steps * self.epochs

    def rate(self, step: int, peak: float) -> float:
        """Return the learning rate of a step: with a frozen backbone and without, it warms up and falls to 0 anew."""
        if step < self.frozen:
            return learning_rate(step, self.frozen, self.frozen_warmup, peak)
        return learning_rate(step - self.frozen, self.total - self.frozen, self.warmup, peak)

    def logs(self, done: int) -> bool:
        """Say whether a row of the curves ends after that many steps: about 50 times per run, and at its end."""
        return done % self._steps_per_row == 0 or done == self.total

    def looks(self, done: int, images: int = WATCHED_IMAGES, least: int = _LEAST_LOOKS) -> bool:
        """Say whether the encoder is looked at for that row: always in long runs, less often in short ones.

        Args:
            done: Number of steps behind the run, where a row ends.
            images: Number of images that are looked at.
            least: Number of looks that the shortest run takes, or about so many.
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
            seed: The run's seed.
            ids: (n,) identities of the images that are learned from.
            start: The number of the first step.
            rows: (n,) their places in the pool; None: the pool has no others.
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
    """Train a task in place, going on from its checkpoint if there is one, and return the curves.

    Args:
        task: The task, with its encoder.
        pool: The training images.
        policies: Kind of view -> policy.
        config: The section `pretrain`.
        make_optimizer: A function that returns the optimizer of a module's parameters.
        precision: The device and the precision of the forward pass.
        checkpoints: The place where the state is kept.
        curves: The folder of tables that show the curves while they grow; None: they are not shown.
        ranks: The processes that train together; each of them calls this with the same values.
        texts: The captions of the pool, for a task that learns from them; images without any are left out.
        targets: The embeddings of a teacher, for a task that has one.
        held_out: Images that are not learned from, on which the encoder is compared with what it was at the start, and
            the best step is chosen where `pretrain.ship` says so; None: neither.

    Raises:
        ConfigError: The task learns from time, and the images have none.
        PipelineError: Too few images, or too few per rank.
        DivergedError: The loss is not finite.
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
            f"pretrain.devices: {ranks.count} processes share a batch of {plan.batch_size} images, and each needs 2 at "
            "least. Take fewer processes, or raise pretrain.batch_size."
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
        judge(start)  # what ended a run ends it again, unless on_collapse or the bounds were changed
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
            ends_row = plan.logs(number + 1) or sizes.end(number + 1)  # no row is of views of two sizes
            step = Step(number, plan.total, place.epoch, config.seed, batch.ids, ends_row, batch.shown, near)
            encoded = encoder.encode(place, batch, step)  # name -> (N, ...), still one row per image
            # only here do images meet each other; the loss and metrics are scalars
            loss, metrics, kept = task.compare(encoded, step)
            with encoder.backward(place):
                norm = run.backward(loss, config.clip_norm)
            run.history.note(number, loss, norm)  # which nobody waits for but where a row ends
            rate = plan.rate(number, config.optimizer.learning_rate)
            update = run.step(rate, measured=ends_row)
            task.after_step(step, kept)  # teachers and queues follow
            run.follow(number)
            if ends_row:
                run.history.read()  # first of all, whether the run has diverged
                figures = {name: value.item() for name, value in metrics.items()} | {"learning_rate": rate, **update}
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
    if not plan.total:  # nothing is learned: what starts is looked at once, and ships
        run.history.close_row(0, watch.measure(task.encoder, sizes.at(0)[task.views.main]))
    task.finish()  # after the last checkpoint, which a run that goes on starts from
    return run.history
