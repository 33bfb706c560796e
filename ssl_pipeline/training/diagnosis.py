"""Telling trouble from learning: what the curves of a run say, by name, and whether it ends.

Collapse is looked for from a twentieth of the training on, and has to show in two rows of the curves in succession: a
run may pass through what would be an end if it stayed.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from ssl_pipeline.config import CollapseBounds
from ssl_pipeline.training.curves import History, kind_of
from ssl_pipeline.training.monitors import DivergedError
from ssl_pipeline.types import Collapse, PretextTask

__all__ = ["diagnose", "report"]

Row = Mapping[str, float]

_FROM = 0.05  # share of the training, before which anything may pass
_FROM_STEPS = 8  # likewise, of very short runs
_FIRST = 0.1  # share of the training in which nothing worth learning is learned to the end
_SOLVED = 0.98  # share of right answers, or of what there is to explain
_LARGE_UPDATE = 0.2
_NO_UPDATE = 1e-6
_NO_LOSS = 1e-9


def diagnose(task: PretextTask, rows: Sequence[Row], total: int, warmup: float, bounds: CollapseBounds) -> list[str]:
    """All that is wrong, in sentences; those that are a `Collapse` make no sense to go on from.

    Args:
        task: Knows its own signs of trouble, and those of its loss.
        rows: The curves so far.
        total: Steps of the run.
        warmup: Steps of warm-up, in which learning is slower than it will be.
        bounds: `pretrain.collapse`.
    """
    now = rows[-1]
    found = _large_update(now)
    if now["step"] > warmup:
        found += _collapsed_encoder(now, bounds)
        found += [trouble for trouble in task.diagnose(now) if not isinstance(trouble, Collapse)]
    judged = [row for row in rows[-2:] if row["step"] >= max(_FROM * total, _FROM_STEPS)]
    if len(judged) == 2:
        before, after = (_collapsed(task, row, row["step"] / total) for row in judged)
        known = {kind_of(trouble) for trouble in before}
        found += [trouble for trouble in after if kind_of(trouble) in known]
    return found


def report(history: History, step: int, troubles: Sequence[str], on_collapse: Literal["stop", "warn"]) -> None:
    """Say what was found and keep it, or end the run.

    Raises:
        DivergedError: There is a `Collapse` among the troubles, and `on_collapse` is "stop".
    """
    for trouble in troubles:
        if isinstance(trouble, Collapse) and on_collapse == "stop":
            raise DivergedError(
                f"step {step}: {trouble}\n"
                "To see such a run to its end, set pretrain.on_collapse: warn.\n"
                "The run's checkpoints are removed: going on from them would lead here again."
            )
    history.warn(step, troubles)


def _collapsed(task: PretextTask, row: Row, progress: float) -> list[str]:
    """What makes no sense to go on from, once it lasts."""
    own = [trouble for trouble in task.diagnose(row) if isinstance(trouble, Collapse)]
    return own + _stuck(row, progress) + _solved(row, progress)


def _large_update(row: Row) -> list[str]:
    """Whether a step moved the weights too far.

    Behind a norm, weights may have any length, and too large steps make them longer until they are small steps for
    them: the loss does not show it, but what the weights had before is lost. On the embedded digits the largest
    `update_ratio` is 0.01 at the learning rate of params.yaml, 0.16 at 30 times that, which still learns, and 0.37 at
    100 times.
    """
    ratio = row["update_ratio"]
    if ratio <= _LARGE_UPDATE:
        return []
    return [
        f"the learning rate is too high: a step moves the weights by {ratio:.0%} of their length, and 1 to 10% is "
        "usual. Lower pretrain.optimizer.learning_rate, or lengthen pretrain.warmup_epochs."
    ]


def _collapsed_encoder(row: Row, bounds: CollapseBounds) -> list[str]:
    """Whether the encoder maps a fixed batch of images to nearly the same embedding, or along one direction."""
    std, rank = row["embedding_std"], row["effective_rank"]
    if std >= bounds.min_embedding_std and rank >= bounds.min_effective_rank:  # False for NaN
        return []
    name = "dimensional" if std >= bounds.min_embedding_std else "complete"
    return [
        Collapse(
            f"{name} collapse: the encoder maps different images to nearly the same embedding (embedding std "
            f"{std:.3g}, bound {bounds.min_embedding_std:g}; effective rank {rank:.3g}, bound "
            f"{bounds.min_effective_rank:g}). Likely causes: too high a learning rate (lower "
            "pretrain.optimizer.learning_rate), too few negatives (raise pretrain.batch_size), a temperature that does "
            "not suit (pretrain.loss: {temperature: ...}; 0.1 to 0.5 is usual), too little precision "
            "(pretrain.precision: fp32), or images that hardly differ (look at data/augmented/preview.png). If these "
            "embeddings are what you want, lower the bounds in pretrain.collapse."
        )
    ]


def _stuck(row: Row, progress: float) -> list[str]:
    """Whether nothing moves, while the learning rate is still far from its end, where nothing should."""
    ratio, loss = row["update_ratio"], row["loss"]
    if progress > 0.5:
        return []
    if abs(loss) < _NO_LOSS:
        return [
            Collapse(
                "loss stuck at 0: it is satisfied with whatever is compared, and there is nothing to learn from. Ask "
                "for more: pretrain.loss: {margin: ...}, or harder pretrain.negatives."
            )
        ]
    if ratio < _NO_UPDATE:
        return [
            Collapse(
                f"loss stuck: a step moves the weights by {ratio:.1g} of their length, and 1e-4 or more is usual. "
                "Raise pretrain.optimizer.learning_rate."
            )
        ]
    return []


def _solved(row: Row, progress: float) -> list[str]:
    """Whether a pretext task was too easy to teach anything, by what `PretextTask.compare` may tell."""
    share = max(row.get(name, 0.0) for name in ("pretext_accuracy", "explained"))
    if progress > _FIRST or share < _SOLVED:
        return []
    return [
        Collapse(
            f"trivial pretext solution: {share:.1%} of the answers are right after {progress:.0%} of the training. "
            "Something in the views gives them away, such as a border, a tint or a trace of resampling: look at "
            "data/augmented/preview.png, and change augment.views, or ask for more by pretrain.pretext_task."
        )
    ]
