"""Detect training failures from the curves of a run and name them.

Fatal findings are reported only after 5% of the training, and only if two consecutive rows of the curves show one: a
healthy run may pass through states that would be a failure if they lasted. Not every row has figures of the embeddings.
A collapse of the encoder must show in two consecutive rows that do.
"""

from collections.abc import Mapping, Sequence

from ssl_pipeline.config import CollapseBounds
from ssl_pipeline.types import Diagnosed, Finding

__all__ = ["USUAL_UPDATE_RATIOS", "find", "looked_at"]

Row = Mapping[str, float]

_FATAL_FROM_SHARE = 0.05  # share of the training before which no finding is fatal
_FATAL_FROM_STEP = 8  # the same as a number of steps, for very short runs
_EARLY_SHARE = 0.1  # share of the training within which no worthwhile task can be solved
_SOLVED_ACCURACY = 0.98  # share of right answers from which a task counts as solved
USUAL_UPDATE_RATIOS = (1e-4, 0.2)
"""Usual range of the update ratio, the norm of a step over the norm of the weights; it falls to 0 as a run ends."""
_MIN_UPDATE_RATIO = 1e-6
_MAX_ZERO_LOSS = 1e-9


def find(task: Diagnosed, rows: Sequence[Row], total: int, warmup: float, bounds: CollapseBounds) -> list[Finding]:
    """Return everything that the curves of a run show to be wrong.

    A fatal finding is reported if the previous row has a fatal finding of any kind. A run has not recovered if its
    embeddings are identical in one row and NaN in the next, or if first its projections collapse and then its
    embeddings do.

    Args:
        task: The pretext task, which diagnoses its own failures and those of its loss and its strategy.
        rows: The curves so far, at least one row; a row from before the first step is ignored.
        total: Number of steps of the run.
        warmup: Number of warm-up steps, during which learning is still slow.
        bounds: The bounds of `pretrain.collapse`.
    """
    rows = [row for row in rows if row["step"]]
    if not rows:
        return []
    now, progress = rows[-1], rows[-1]["step"] / total
    looks = [row for row in rows if looked_at(row)]
    own = task.diagnose({**now, "progress": progress})
    found = _large_update(now) + ([] if own else _solved(now, progress))  # the task's own diagnosis is more specific
    if now["step"] > warmup:
        found += [finding for finding in own if not finding.fatal]

    def fatal(row: Row) -> list[Finding]:
        return [finding for finding in task.diagnose({**row, "progress": progress}) if finding.fatal] + _stuck(
            row, progress
        )

    def collapsed(row: Row) -> list[Finding]:
        return _collapsed_encoder(row, bounds) if looked_at(row) and row["step"] > warmup else []

    first = max(_FATAL_FROM_SHARE * total, _FATAL_FROM_STEP)
    for said, judged in ((fatal, rows), (collapsed, looks)):
        if len(judged) > 1 and (before := judged[-2])["step"] >= first and fatal(before) + collapsed(before):
            found += said(judged[-1])
    return found


def looked_at(row: Row) -> bool:
    """Return whether a row of the curves has figures of the encoder's embeddings."""
    return "embedding_std" in row


def _large_update(row: Row) -> list[Finding]:
    """Report a step that moved the weights too far.

    Weights that are followed by a normalisation may have any norm. Steps that are too large increase this norm until
    they are small in relation to it. The loss does not show this, but what the weights had learned is lost. On the
    bundled digits, the largest `update_ratio` is 0.01 at the learning rate of params.yaml, 0.16 at 30 times that rate,
    which still learns, and 0.37 at 100 times.
    """
    ratio = row["update_ratio"]
    if not ratio > USUAL_UPDATE_RATIOS[1]:  # True for NaN: the step was skipped
        return []
    return [
        Finding(
            "learning rate too high",
            f"the learning rate is too high: a step changes the weights by {ratio:.0%} of their norm (usual: 1 to "
            "10%). Lower pretrain.optimizer.learning_rate, or lengthen pretrain.warmup.",
        )
    ]


def _solved(row: Row, progress: float) -> list[Finding]:
    """Report a pretext task that is too easy; this ends no run, as pretrained weights may solve a task early on."""
    share = row.get("pretext_accuracy", 0.0)
    if progress > _EARLY_SHARE or not share >= _SOLVED_ACCURACY:
        return []
    return [
        Finding(
            "trivial pretext solution",
            f"trivial pretext solution: {share:.1%} of the answers are right after {progress:.0%} of the training. "
            "Something in the views gives the answers away, such as a border, a tint or a trace of resampling. Look at "
            "data/augmented/preview.png, and change augment.views, or make the task harder with pretrain.pretext_task.",
        )
    ]


def _stuck(row: Row, progress: float) -> list[Finding]:
    """Report a run that no longer changes although its learning rate is still far from the end of the schedule."""
    if progress <= _EARLY_SHARE and abs(row["loss"]) < _MAX_ZERO_LOSS:
        return [
            Finding(
                "loss stuck at 0",
                "loss stuck at 0: every pair satisfies the loss, so there is nothing left to learn. Make it harder: "
                "change pretrain.loss: {margin: ...} or pretrain.negatives if the loss has a margin, or "
                "pretrain.pretext_task if it belongs to a pretext task.",
                fatal=True,
            )
        ]
    if progress <= 0.5 and row["update_ratio"] < _MIN_UPDATE_RATIO:
        return [
            Finding(
                "loss stuck",
                f"loss stuck: a step changes the weights by {row['update_ratio']:.1g} of their norm (usual: 1e-4 or "
                "more). Raise pretrain.optimizer.learning_rate.",
                fatal=True,
            )
        ]
    return []


def _collapsed_encoder(row: Row, bounds: CollapseBounds) -> list[Finding]:
    """Report embeddings of a fixed batch of images that are nearly identical, or that vary along one direction only."""
    std, rank = row["embedding_std"], row["effective_rank"]
    if std >= bounds.min_embedding_std and rank >= bounds.min_effective_rank:  # False for NaN
        return []
    narrow = std >= bounds.min_embedding_std
    name, how = ("dimensional", "vary along nearly one direction") if narrow else ("complete", "are nearly the same")
    return [
        Finding(
            f"{name} collapse",
            f"{name} collapse: embeddings of different images {how} (embedding std {std:.3g}, bound "
            f"{bounds.min_embedding_std:g}; effective rank {rank:.3g}, bound {bounds.min_effective_rank:g}). Likely "
            "causes: a learning rate that is too high (lower pretrain.optimizer.learning_rate), too little precision "
            "(pretrain.precision: fp32), or images that hardly differ (look at data/augmented/preview.png); with a "
            "contrastive loss also too few negatives (raise pretrain.batch_size) or an unsuitable temperature "
            "(pretrain.loss: {temperature: ...}; 0.1 to 0.5 is usual). If these embeddings are what you want, lower "
            "the bounds in pretrain.collapse; the run then resumes from its checkpoint.",
            fatal=True,
        )
    ]
