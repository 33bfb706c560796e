"""How the projections that a loss compares spread out in a step's own batch: what collapses first shows here.

Embeddings of an encoder in eval mode say little early on, while running statistics settle; these do.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline.contrast.similarity import widened
from ssl_pipeline.types import Finding

__all__ = ["CENTRED_STD", "outweighed", "spread_figures", "spread_troubles"]

CENTRED_STD = 0.85
"""Least `projection_std` of a healthy run whose projector ends in a batch normalisation, which centres projections; not
with local views, with which it centres all kinds together, so that one of them may lie to one side."""

_MAX_ROWS = 256  # that are looked at, so that a large batch costs no more than a small one
_MIN_IMAGES = 16  # images, of which a mean and a direction say nothing
MIN_PROJECTION_RANK = 1.2  # rank of what lies along a line, nearly: healthy runs in batches of 16 pass through 1.4
_MIN_TERM_SHARE = 0.01  # of a loss: what has less of it does not shape projections
_MIN_STD_UNOPPOSED = 0.35  # std under which projections are drawn together, unless something is at work against it
_MIN_RANK_UNOPPOSED = 10.0  # rank under which projections vary together, unless something is at work against it
_MIN_RANK_SHARE_UNOPPOSED = 0.4  # of all dimensions: the same for short projections


@torch.no_grad()
def spread_figures(projections: Tensor) -> dict[str, Tensor]:
    """Return how far unit projections spread, and over how many directions.

    Args:
        projections: (N, P) projections of any length, each of another image.

    Returns:
        `projection_std`: the standard deviation in a dimension, averaged over all, times sqrt(P): 0 if all point the
        same way, 1 if they spread evenly about the origin (Chen and He 2021, 2011.10566, section 4.1).
        `projection_rank`: (Σ λ)² / Σ λ² of the covariance's eigenvalues λ, the participation ratio: from 1, all on a
        line, to min(N - 1, P); 0 if all are the same (Gao et al. 2017, 10.1101/214262).
        Nothing if there are fewer than 16 of them.
    """
    if len(projections) < _MIN_IMAGES:
        return {}
    unit = F.normalize(widened(projections[:_MAX_ROWS]), dim=1)
    centred = unit - unit.mean(dim=0)
    std = centred.square().mean(dim=0).sqrt().mean() * unit.shape[1] ** 0.5
    gram = centred @ centred.T  # (N, N), with the eigenvalues of the covariance, times N
    rank = gram.trace().square() / gram.square().sum().clamp(min=torch.finfo(gram.dtype).tiny)
    return {"projection_std": std, "projection_rank": rank}


def spread_troubles(
    figures: Mapping[str, float],
    least_std: float,
    remedy: str,
    of: str = "images",
    least_rank: float = MIN_PROJECTION_RANK,
) -> list[Finding]:
    """Say what the figures of `spread_figures` say, as findings; empty if all is well.

    Args:
        figures: The figures of a row of the curves.
        least_std: The least `projection_std` of a healthy run.
        remedy: What to change, as a sentence.
        of: What is projected, in the plural.
        least_rank: The least `projection_rank` of a healthy run; 0: any will do.
    """
    return _narrow(figures, least_std, least_rank, "", remedy, of)


def outweighed(figures: Mapping[str, float], part: float, whole: float, dim: int, remedy: str) -> list[Finding]:
    """Say whether projections come together, and the part of a loss that should keep them apart is too small to.

    A healthy run may have near projections, or few directions, for a while, but then pays for it in this part.

    Args:
        figures: The figures of a row of the curves, with those of `spread_figures`.
        part: The part of the loss, or of what else it is weighed against.
        whole: The whole that it is weighed against; only sizes count.
        dim: P, of projections, which have no more directions than that.
        remedy: What to change, as a sentence.
    """
    if abs(part) >= _MIN_TERM_SHARE * abs(whole):
        return []
    why = f", and what should prevent it weighs less than {_MIN_TERM_SHARE:.0%}"
    return _narrow(figures, _MIN_STD_UNOPPOSED, min(_MIN_RANK_UNOPPOSED, _MIN_RANK_SHARE_UNOPPOSED * dim), why, remedy)


def _narrow(
    figures: Mapping[str, float], least_std: float, least_rank: float, why: str, remedy: str, of: str = "images"
) -> list[Finding]:
    if "projection_std" not in figures:
        return []
    std, rank = figures["projection_std"], figures["projection_rank"]
    if std < least_std:
        found = f"complete collapse: different {of} are projected to nearly the same point (projection_std "
        return [Finding("complete collapse", f"{found}{std:.3g}, bound {least_std:g}){why}. {remedy}", fatal=True)]
    if rank < least_rank:
        found = "dimensional collapse: the dimensions of projections vary together (projection_rank "
        return [Finding("dimensional collapse", f"{found}{rank:.3g}, bound {least_rank:g}){why}. {remedy}", fatal=True)]
    return []
