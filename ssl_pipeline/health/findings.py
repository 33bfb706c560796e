"""Telling trouble from learning: what the curves of a run say, by name.

A fatal finding is looked for from a twentieth of the training on, and has to show in two rows of the curves in
succession: a run may pass through what would be an end if it stayed. The encoder is not looked at in every row; what
its embeddings say has to show in two looks in succession.
"""

from collections.abc import Mapping, Sequence

from ssl_pipeline.config import CollapseBounds
from ssl_pipeline.types import Diagnosed, Finding

__all__ = ["USUAL_UPDATE_RATIOS", "find", "looked_at"]

Row = Mapping[str, float]

_FATAL_FROM_SHARE = 0.05  # of the training, before which anything may pass
_FATAL_FROM_STEP = 8  # before which anything may pass in very short runs
_EARLY_SHARE = 0.1  # of the training, in which nothing worth learning is learned to the end
_SOLVED_ACCURACY = 0.98  # share of right answers
USUAL_UPDATE_RATIOS = (1e-4, 0.2)
"""The length of a step as a share of the length of the weights, where a run learns; at its end it falls to 0."""
_MIN_UPDATE_RATIO = 1e-6
_MAX_ZERO_LOSS = 1e-9


def find(task: Diagnosed, rows: Sequence[Row], total: int, warmup: float, bounds: CollapseBounds) -> list[Finding]:
    """Say all that is wrong, given the curves of a run.

    A fatal finding counts if the row before has one too, of whatever kind: embeddings that are the same in one row and
    not a number in the next, or projections that are narrow in one and embeddings in the next, have not recovered.

    Args:
        task: The pretext task, which knows its own signs of trouble, and those of its loss and its strategy.
        rows: The curves so far, at least one row; a first one of the start alone, before any step, is passed over.
        total: Number of steps of the run.
        warmup: Number of steps of warm-up, in which learning is slower than it will be.
        bounds: The bounds of `pretrain.collapse`.
    """
    rows = [row for row in rows if row["step"]]
    if not rows:
        return []
    now, progress = rows[-1], rows[-1]["step"] / total
    looks = [row for row in rows if looked_at(row)]
    own = task.diagnose({**now, "progress": progress})
    found = _large_update(now) + ([] if own else _solved(now, progress))  # the task knows better why
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
    """Say whether a row of the curves has the figures of the encoder's embeddings."""
    return "embedding_std" in row


def _large_update(row: Row) -> list[Finding]:
    """Say whether a step moved the weights too far.

    Behind a norm, weights may have any length, and too large steps make them longer until they are small steps for
    them: the loss does not show it, but what the weights had before is lost. On the bundled digits the largest
    `update_ratio` is 0.01 at the learning rate of params.yaml, 0.16 at 30 times that, which still learns, and 0.37 at
    100 times.
    """
    ratio = row["update_ratio"]
    if not ratio > USUAL_UPDATE_RATIOS[1]:  # NaN where the step was skipped
        return []
    return [
        Finding(
            "learning rate too high",
            f"the learning rate is too high: a step moves the weights by {ratio:.0%} of their length, and 1 to 10% is "
            "usual. Lower pretrain.optimizer.learning_rate, or lengthen pretrain.warmup.",
        )
    ]


def _solved(row: Row, progress: float) -> list[Finding]:
    """Report a pretext task too easy to teach anything; the run goes on, as pretrained weights may know it already."""
    share = row.get("pretext_accuracy", 0.0)
    if progress > _EARLY_SHARE or not share >= _SOLVED_ACCURACY:
        return []
    return [
        Finding(
            "trivial pretext solution",
            f"trivial pretext solution: {share:.1%} of the answers are right after {progress:.0%} of the training. "
            "Something in the views gives them away, such as a border, a tint or a trace of resampling: look at "
            "data/augmented/preview.png, and change augment.views, or ask for more by pretrain.pretext_task.",
        )
    ]


def _stuck(row: Row, progress: float) -> list[Finding]:
    """Say whether nothing moves, while the learning rate is still far from its end, where nothing should."""
    if progress <= _EARLY_SHARE and abs(row["loss"]) < _MAX_ZERO_LOSS:
        return [
            Finding(
                "loss stuck at 0",
                "loss stuck at 0: whatever is compared satisfies it, so there is nothing to learn from. Make it "
                "harder: change pretrain.loss: {margin: ...} or pretrain.negatives where the loss has a margin, and "
                "pretrain.pretext_task where it belongs to a pretext task.",
                fatal=True,
            )
        ]
    if progress <= 0.5 and row["update_ratio"] < _MIN_UPDATE_RATIO:
        return [
            Finding(
                "loss stuck",
                f"loss stuck: a step moves the weights by {row['update_ratio']:.1g} of their length, and 1e-4 or more "
                "is usual. Raise pretrain.optimizer.learning_rate.",
                fatal=True,
            )
        ]
    return []


def _collapsed_encoder(row: Row, bounds: CollapseBounds) -> list[Finding]:
    """Say whether the embeddings of a fixed batch of images are nearly the same, or vary along one direction."""
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
            "causes: too high a learning rate (lower pretrain.optimizer.learning_rate), too little precision "
            "(pretrain.precision: fp32), images that hardly differ (look at data/augmented/preview.png); with a "
            "contrastive loss too few negatives (raise pretrain.batch_size) or a temperature that does not suit "
            "(pretrain.loss: {temperature: ...}; 0.1 to 0.5 is usual). If these embeddings are what you want, lower "
            "the bounds in pretrain.collapse, which lets it go on from its checkpoint.",
            fatal=True,
        )
    ]
