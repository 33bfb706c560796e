"""Pictures of clusters: curves over k, and the images of merged pairs and split classes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from ssl_pipeline.evaluation.clusters.cluster_verdict import Judgement
from ssl_pipeline.evaluation.clusters.clustering import Clusterings, LabelAgreement
from ssl_pipeline.evaluation.pictures import save_picture
from ssl_pipeline.palette import BLUE, GREEN, ORANGE, PINK

__all__ = ["curves", "grid_of_images", "images_of_class", "images_of_pair"]

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

_MAX_DRAWN_SIDE = 64  # px; larger images are subsampled to about this size, smaller ones are drawn unchanged
_COLOUR_OF_MEASURE = {"homogeneity": BLUE, "completeness": ORANGE, "v_measure": GREEN}
_SAID = {
    "stability": "stability: 1 if every run finds the same clusters; a peak marks a number that suits the images",
    "homogeneity": "homogeneity: below 1 if clusters contain several classes",
    "completeness": "completeness: below 1 if classes are spread over several clusters",
    "v_measure": "V-measure: harmonic mean of homogeneity and completeness",
}
"""Legends of the curves, which say how to read them."""


def curves(
    found: Clusterings, agreements: Mapping[int, LabelAgreement], classes: int, judgement: Judgement, path: Path
) -> None:
    """Draw stability and, with labels, homogeneity, completeness and V-measure over k.

    Args:
        found: Clusterings at several k.
        agreements: k -> agreement with the classes; empty without labels.
        classes: Number of classes, which is marked if there are labels.
        judgement: Judgement, with k* and whether it is a preferred number.
        path: Path of the PNG to write.
    """
    figure = Figure(figsize=(7.2, 5.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(
        list(found.stability), list(found.stability.values()), color="black", marker="o", label=_SAID["stability"]
    )
    for measure, colour in _COLOUR_OF_MEASURE.items():
        if agreements:
            values = [getattr(one, measure) for one in agreements.values()]
            axes.plot(list(agreements), values, color=colour, label=_SAID[measure])
    label = f"k* = {judgement.k}, " + ("no preferred number" if judgement.doubt else "the most stable")
    axes.axvline(judgement.k, color="black", linestyle=":", label=label)
    if agreements:
        axes.axvline(classes, color=PINK, linestyle="--", label=f"{classes} classes")
    axes.set_xscale("log")
    ticks = [k for k in (2, 3, 5, 10, 20, 40, 100, 200, 400, 1000) if k <= max(found.stability)]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel="k, the number of clusters", ylabel="mean over runs")
    verdict = "" if judgement.word == "unknown" else f": {judgement.word}"
    axes.set_title(f"Clusters of the exported embeddings{verdict}", loc="left")
    axes.set_ylim(min(0.0, *found.stability.values()), 1.02)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower left", frameon=False, fontsize="small")
    save_picture(figure, path)


def images_of_pair(clusters: Labels, labels: Labels, one: int, other: int, count: int) -> list[Labels]:
    """Return the positions of up to `count` images of each of two classes, from the clusters that they share the most.

    Args:
        clusters: Clusters of the images in one run, (n,).
        labels: Class numbers (n,).
        one: Number of a class that occurs in `labels`.
        other: Number of another class that occurs in `labels`.
        count: Largest number of images of each class.
    """
    members = [np.flatnonzero(labels == name) for name in (one, other)]
    shares = [np.bincount(clusters[part], minlength=clusters.max() + 1) / len(part) for part in members]
    shared = np.minimum(*shares)
    return [part[np.argsort(-shared[clusters[part]], kind="stable")[:count]] for part in members]


def images_of_class(clusters: Labels, labels: Labels, name: int, parts: int, count: int) -> list[Labels]:
    """Return the positions of up to `count` images of a class from each of its largest clusters.

    Args:
        clusters: Clusters of the images in one run, (n,).
        labels: Class numbers (n,).
        name: Number of a class that occurs in `labels`.
        parts: Largest number of clusters to take images from.
        count: Largest number of images from each cluster.
    """
    members = np.flatnonzero(labels == name)
    sizes = np.bincount(clusters[members])
    largest = np.argsort(-sizes, kind="stable")[:parts]
    return [members[clusters[members] == part][:count] for part in largest if sizes[part]]


def grid_of_images(rows: Sequence[tuple[str, Sequence[Images]]], path: Path) -> None:
    """Draw rows of images, each row under a title, in groups with a gap between them.

    Args:
        rows: Title and groups of images of each row; a group has the shape (m, S, S, 3), uint8, with m >= 1. There is
            at least one row.
        path: Path of the PNG to write.
    """
    strips = [_strip(groups) for _, groups in rows]
    width = max(strip.shape[1] for strip in strips)
    figure = Figure(
        figsize=(9.0, 0.3 + sum(0.3 + 9.0 * strip.shape[0] / width for strip in strips)), layout="constrained"
    )
    for axes, strip, (title, _) in zip(figure.subplots(len(rows), squeeze=False)[:, 0], strips, rows, strict=True):
        padded = np.pad(strip, ((0, 0), (0, width - strip.shape[1]), (0, 0)), constant_values=255)
        axes.imshow(padded, interpolation="nearest")
        axes.set_title(title, fontsize="medium", loc="left")
        axes.set_axis_off()
    save_picture(figure, path)


def _strip(groups: Sequence[Images]) -> Images:
    """Return one row of images, with a white line after each image and a wide gap after each group."""
    thin = max(1, groups[0].shape[1] // _MAX_DRAWN_SIDE)
    pieces = []
    for group in groups:
        for image in group[:, ::thin, ::thin]:
            pieces += [image, np.full((len(image), max(1, len(image) // 16), 3), 255, np.uint8)]
        pieces.append(np.full((len(pieces[0]), len(pieces[0]) // 2, 3), 255, np.uint8))
    return np.concatenate(pieces[:-1], axis=1)
