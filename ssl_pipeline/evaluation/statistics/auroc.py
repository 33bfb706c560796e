"""Area under the ROC curve of energies (AUROC), with its confidence interval."""

import numpy as np
import numpy.typing as npt

from ssl_pipeline.evaluation.statistics.proportions import LEVEL

__all__ = ["auroc", "auroc_interval"]

Energies = npt.NDArray[np.float32]

_ROOT_MARGIN = 1e-9  # smallest distance of a root from 0 and 1


def auroc(positive: Energies, negative: Energies) -> float:
    """Return the probability that a positive pair has less energy than a random pair; ties count half.

    Args:
        positive: Energies (n,) of positive pairs.
        negative: Energies (m,) of random pairs.

    Returns:
        A probability in [0, 1], with chance at 0.5. It equals the area under the ROC curve (Hanley and McNeil 1982).
    """
    return float(_wins(positive, negative).mean())


def auroc_interval(area: float, positives: int, negatives: int) -> tuple[float, float]:
    """Return the 95% score interval of an AUROC; unlike a bootstrap interval, it has a width even at 0 and 1.

    Args:
        area: AUROC, in [0, 1].
        positives: Number of positive pairs, n.
        negatives: Number of random pairs, m. The interval ignores that they share views with positive pairs.

    Source: Newcombe 2006, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic" (part
    2), method 5: all areas from which this one is at most 1.96 standard errors away, by Hanley and McNeil's variance.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtri  # importing scipy.stats, which offers it too, takes half a second

    squared, more = float(ndtri((1 - LEVEL) / 2)) ** 2, (positives + negatives) / 2 - 1

    def excess(true: float) -> float:
        spread = true * (1 - true) * (1 + more * ((1 - true) / (2 - true) + true / (1 + true)))
        return (true - area) ** 2 - squared * spread / (positives * negatives)

    low = 0.0 if area == 0 else float(brentq(excess, 0.0, min(area, 1 - _ROOT_MARGIN)))
    high = 1.0 if area == 1 else float(brentq(excess, max(area, _ROOT_MARGIN), 1.0))
    return low, high


def _wins(positive: Energies, negative: Energies) -> npt.NDArray[np.float64]:
    """Return the wins (n, m): 1 where the positive pair has less energy than the random pair, 1/2 where they tie."""
    wins: npt.NDArray[np.float64] = (positive[:, None] < negative) + 0.5 * (positive[:, None] == negative)
    return wins
