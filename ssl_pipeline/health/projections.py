"""Spread of the projections that a loss compares, within the batch of a step: a collapse shows here first.

Embeddings of an encoder in eval mode say little early on, until running statistics have settled. Projections do not
depend on running statistics.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline.contrast.similarity import widened
from ssl_pipeline.types import Finding

__all__ = ["CENTRED_STD", "outweighed", "spread_figures", "spread_troubles"]

CENTRED_STD = 0.85
"""Least `projection_std` of a healthy run whose projector ends in batch normalisation, which centres projections. It
does not apply with local views: all kinds of views are centred together then, and one kind may lie off-centre."""

_MAX_ROWS = 256  # projections to measure, so that a large batch costs no more than a small one
_MIN_IMAGES = 16  # images: with fewer, means and directions say nothing
MIN_PROJECTION_RANK = 1.2  # below this, projections lie nearly on a line; healthy runs in batches of 16 fall to 1.4
_MIN_TERM_SHARE = 0.01  # share of the loss below which a term does not shape projections
_MIN_STD_UNOPPOSED = 0.35  # std below which projections contract, unless something opposes it
_MIN_RANK_UNOPPOSED = 10.0  # rank below which dimensions vary together, unless something opposes it
_MIN_RANK_SHARE_UNOPPOSED = 0.4  # the same as a share of all dimensions, for short projections


@torch.no_grad()
def spread_figures(projections: Tensor) -> dict[str, Tensor]:
    """Measure how far unit projections spread, and over how many directions.

    Args:
        projections: Projections (N, P) of any norm, each of a different image.

    Returns:
        `projection_std`: the standard deviation per dimension, averaged over all dimensions, times sqrt(P): 0 if all
        projections point the same way, 1 if they spread evenly about the origin (Chen and He 2021, 2011.10566,
        section 4.1).
        `projection_rank`: the participation ratio (Σ λ)² / Σ λ² of the covariance's eigenvalues λ: from 1, if all
        projections lie on a line, to min(N - 1, P); 0 if all are equal (Gao et al. 2017, 10.1101/214262).
        An empty mapping if there are fewer than 16 projections.
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
    """Return the findings that the figures of `spread_figures` lead to; the list is empty if all is well.

    Args:
        figures: The figures of a row of the curves.
        least_std: The least `projection_std` of a healthy run.
        remedy: A sentence that says what to change.
        of: Plural noun for what is projected, such as "images".
        least_rank: The least `projection_rank` of a healthy run; 0: any rank is healthy.
    """
    return _narrow(figures, least_std, least_rank, "", remedy, of)


def outweighed(figures: Mapping[str, float], part: float, whole: float, dim: int, remedy: str) -> list[Finding]:
    """Report projections that contract while the counterforce, such as a term of the loss, is too weak to prevent it.

    In a healthy run, projections may be close together or vary along few directions for a while, but the counterforce
    is then large.

    Args:
        figures: The figures of a row of the curves, including those of `spread_figures`.
        part: Size of the counterforce.
        whole: Size that it is compared with, such as the whole loss; signs are ignored.
        dim: P, the length of projections, which bounds their rank.
        remedy: A sentence that says what to change.
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
