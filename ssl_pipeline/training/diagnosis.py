"""Telling trouble from learning: what the curves of a run say, by name, and whether it ends.

Collapse is looked for from a twentieth of the training on, and has to show in two rows of the curves in succession: a
run may pass through what would be an end if it stayed.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from ssl_pipeline.config import CollapseBounds
from ssl_pipeline.training.curves import kind_of, write_picture
from ssl_pipeline.training.monitors import CollapsedError
from ssl_pipeline.training.run import Run
from ssl_pipeline.types import Collapse, PretextTask

__all__ = ["diagnose", "report"]

Row = Mapping[str, float]

_FROM = 0.05  # share of the training, before which anything may pass
_FROM_STEPS = 8  # likewise, of very short runs
_FIRST = 0.1  # share of the training in which nothing worth learning is learned to the end
_SOLVED = 0.98  # share of right answers
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
    now, progress = rows[-1], rows[-1]["step"] / total
    own = task.diagnose(now)
    found = _large_update(now) + ([] if own else _solved(now, progress))  # the task knows better why
    if now["step"] > warmup:
        found += [trouble for trouble in own if not isinstance(trouble, Collapse)]
    judged = [row for row in rows[-2:] if row["step"] >= max(_FROM * total, _FROM_STEPS)]
    if len(judged) == 2:
        before = _collapsed(task.diagnose(judged[0]), judged[0], progress, warmup, bounds)
        known = {kind_of(collapse) for collapse in before}
        found += [each for each in _collapsed(own, now, progress, warmup, bounds) if kind_of(each) in known]
    return found


def report(run: Run, done: int, troubles: Sequence[str], on_collapse: Literal["stop", "warn"]) -> None:
    """Say what the last row of the curves shows, and keep it.

    A collapse that ends the run leaves a checkpoint, and beside it a picture of the curves.

    Args:
        run: With its curves.
        done: Steps behind it; more than the last row's, where it was taken up from a later checkpoint.
        troubles: What `diagnose` found.
        on_collapse: `pretrain.on_collapse`.

    Raises:
        CollapsedError: There is a `Collapse` among the troubles, and `on_collapse` is "stop".
    """
    ends = [trouble for trouble in troubles if isinstance(trouble, Collapse) and on_collapse == "stop"]
    step = int(run.history.rows[-1]["step"])
    run.history.warn(step, [trouble for trouble in troubles if trouble not in ends])
    if ends:
        run.save(done)
        picture = run.folder / "curves.png"
        write_picture(run.history, picture)
        found = "\n".join(ends)
        raise CollapsedError(
            f"step {step}: {found}\n"
            f"The run ends here; {picture} shows its curves. With pretrain.on_collapse: warn it goes on from its "
            "checkpoint; another remedy starts it anew."
        )


def _collapsed(own: Sequence[str], row: Row, progress: float, warmup: float, bounds: CollapseBounds) -> list[Collapse]:
    """What makes no sense to go on from, once it lasts; `own` is what the task finds."""
    found = [trouble for trouble in own if isinstance(trouble, Collapse)] + _stuck(row, progress)
    return found + (_collapsed_encoder(row, bounds) if row["step"] > warmup else [])


def _large_update(row: Row) -> list[str]:
    """Whether a step moved the weights too far.

    Behind a norm, weights may have any length, and too large steps make them longer until they are small steps for
    them: the loss does not show it, but what the weights had before is lost. On the bundled digits the largest
    `update_ratio` is 0.01 at the learning rate of params.yaml, 0.16 at 30 times that, which still learns, and 0.37 at
    100 times.
    """
    ratio = row["update_ratio"]
    if not ratio > _LARGE_UPDATE:  # NaN where the step was skipped
        return []
    return [
        f"the learning rate is too high: a step moves the weights by {ratio:.0%} of their length, and 1 to 10% is "
        "usual. Lower pretrain.optimizer.learning_rate, or lengthen pretrain.warmup_epochs."
    ]


def _solved(row: Row, progress: float) -> list[str]:
    """Whether a pretext task was too easy to teach anything; a warning, as pretrained weights may know it already."""
    share = row.get("pretext_accuracy", 0.0)
    if progress > _FIRST or not share >= _SOLVED:
        return []
    return [
        f"trivial pretext solution: {share:.1%} of the answers are right after {progress:.0%} of the training. "
        "Something in the views gives them away, such as a border, a tint or a trace of resampling: look at "
        "data/augmented/preview.png, and change augment.views, or ask for more by pretrain.pretext_task."
    ]


def _stuck(row: Row, progress: float) -> list[Collapse]:
    """Whether nothing moves, while the learning rate is still far from its end, where nothing should."""
    if progress <= _FIRST and abs(row["loss"]) < _NO_LOSS:
        return [
            Collapse(
                "loss stuck at 0: it is satisfied with whatever is compared, and there is nothing to learn from. Ask "
                "for more: of a loss with a margin by pretrain.loss: {margin: ...} or harder pretrain.negatives, of a "
                "pretext task by pretrain.pretext_task."
            )
        ]
    if progress <= 0.5 and row["update_ratio"] < _NO_UPDATE:
        return [
            Collapse(
                f"loss stuck: a step moves the weights by {row['update_ratio']:.1g} of their length, and 1e-4 or more "
                "is usual. Raise pretrain.optimizer.learning_rate."
            )
        ]
    return []


def _collapsed_encoder(row: Row, bounds: CollapseBounds) -> list[Collapse]:
    """Whether the embeddings of a fixed batch of images are nearly the same, or vary along one direction."""
    std, rank = row["embedding_std"], row["effective_rank"]
    if std >= bounds.min_embedding_std and rank >= bounds.min_effective_rank:  # False for NaN
        return []
    narrow = std >= bounds.min_embedding_std
    name, how = ("dimensional", "vary along nearly one direction") if narrow else ("complete", "are nearly the same")
    return [
        Collapse(
            f"{name} collapse: embeddings of different images {how} (embedding std {std:.3g}, bound "
            f"{bounds.min_embedding_std:g}; effective rank {rank:.3g}, bound {bounds.min_effective_rank:g}). Likely "
            "causes: too high a learning rate (lower pretrain.optimizer.learning_rate), too little precision "
            "(pretrain.precision: fp32), images that hardly differ (look at data/augmented/preview.png); with a "
            "contrastive loss too few negatives (raise pretrain.batch_size) or a temperature that does not suit "
            "(pretrain.loss: {temperature: ...}; 0.1 to 0.5 is usual). If these embeddings are what you want, lower "
            "the bounds in pretrain.collapse, which lets it go on from its checkpoint."
        )
    ]
