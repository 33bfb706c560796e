"""Plot of the label-budget curve."""

from collections.abc import Sequence
from pathlib import Path

from ssl_pipeline.evaluation.budgets.budget_verdicts import Verdict
from ssl_pipeline.evaluation.budgets.outcome import Arm
from ssl_pipeline.palette import BLUE, GREEN, PINK, SKY, VERMILION

__all__ = ["draw_budgets"]

_STYLE_OF_ARM: dict[Arm, tuple[str, str, str]] = {
    "finetune": ("pretrained, fine-tuned", BLUE, "o"),
    "probe": ("pretrained, frozen probe", GREEN, "s"),
    "random": ("random weights, same fine-tuning", PINK, "v"),
    "scratch": ("same network, trained from scratch", VERMILION, "^"),
    "start": ("starting weights, same fine-tuning", SKY, "D"),
}


def draw_budgets(verdicts: Sequence[Verdict], classes: int, path: Path) -> None:
    """Draw accuracy against labels per class, with one line per arm and 95% intervals.

    Args:
        verdicts: Verdicts of one or more budgets.
        classes: Number of classes; the budget `all` is drawn at the mean number of labelled images per class.
        path: Path of the PNG to write.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    counts = [verdict.images / classes for verdict in verdicts]
    shown = [(arm, style) for arm, style in _STYLE_OF_ARM.items() if arm in verdicts[0].accuracy]
    for number, (arm, (label, colour, marker)) in enumerate(shown):
        estimates = [verdict.accuracy[arm] for verdict in verdicts]
        aside = 1.04 ** (number - (len(shown) - 1) / 2)  # shifted, or intervals would hide each other
        axes.errorbar(
            [count * aside for count in counts],
            [100 * found.value for found in estimates],
            [
                [100 * (found.value - found.low) for found in estimates],
                [100 * (found.high - found.value) for found in estimates],
            ],
            label=label,
            color=colour,
            marker=marker,
            capsize=3,
        )
    axes.set_xscale("log")
    axes.set_xticks(counts, [_tick(verdict, count) for verdict, count in zip(verdicts, counts, strict=True)])
    axes.minorticks_off()
    axes.set_xlabel("labels per class")
    axes.set_ylabel("test accuracy, %")
    axes.set_title(f"Mean of {verdicts[0].draws} draws of labels, 95% intervals", fontsize="medium")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside lower center", ncols=2)  # below the axes, where it hides no interval
    figure.savefig(path, metadata={"Software": None})  # so that the bytes depend on the figures alone


def _tick(verdict: Verdict, count: float) -> str:
    return f"all\n({count:.0f})" if verdict.budget == "all" else str(verdict.budget)
