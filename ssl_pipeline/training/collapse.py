"""Reaction to a collapse: end the run with a checkpoint and a picture of its curves, or only warn."""

from collections.abc import Sequence

from ssl_pipeline.config import PretrainConfig
from ssl_pipeline.training.curve_picture import draw_curves
from ssl_pipeline.training.endings import CollapsedError
from ssl_pipeline.training.run import Run
from ssl_pipeline.types import Finding

__all__ = ["warn_or_end"]


def warn_or_end(run: Run, done: int, findings: Sequence[Finding], config: PretrainConfig) -> None:
    """Print and store the findings of the last row of the curves; end the run if one of them is fatal.

    A run that is ended leaves a checkpoint and a picture of its curves next to it.

    Args:
        run: The run, with its curves.
        done: Number of completed steps; greater than that of the last row if the run resumed from a later checkpoint.
        findings: The findings of the last row.
        config: The section `pretrain`.

    Raises:
        CollapsedError: One of the findings is fatal, and `pretrain.on_collapse` is "stop".
    """
    ends = [finding for finding in findings if finding.fatal and config.on_collapse == "stop"]
    step = int(run.history.rows[-1]["step"])
    run.history.warn(step, [finding for finding in findings if finding not in ends])
    if ends:
        run.save(done)
        picture = run.folder / "curves.png"
        if run.leads:
            draw_curves(run.history.rows, picture, config.collapse)
        found = "\n".join(finding.message for finding in ends)
        raise CollapsedError(
            f"step {step}: {found}\n"
            f"The run ends here; {picture} shows its curves. With pretrain.on_collapse: warn, it resumes from its "
            "checkpoint; any other change starts a new run."
        )
