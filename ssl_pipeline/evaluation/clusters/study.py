"""Study the clusters of the exported embeddings: figures, lines, a table and pictures."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ssl_pipeline.augment.display import displayed, shown_bands
from ssl_pipeline.augment.policy import Policies
from ssl_pipeline.config import Clusters
from ssl_pipeline.evaluation.clusters.cluster_pictures import curves, grid_of_images, images_of_class, images_of_pair
from ssl_pipeline.evaluation.clusters.cluster_verdict import MERGED, SPLIT, Judgement, judge_clusters, sentences
from ssl_pipeline.evaluation.clusters.clustering import (
    PER_CLUSTER,
    ROOM,
    Clusterings,
    LabelAgreement,
    agreement,
    cluster,
    distinct,
    energies,
    grid,
)
from ssl_pipeline.evaluation.features import Embed, extract, sample, unit
from ssl_pipeline.evaluation.pictures import short
from ssl_pipeline.evaluation.seen_images import SeenImages, SeenViews

__all__ = ["TABLE", "ClusterReport", "study_clusters"]

TABLE = ("k", "stability", "homogeneity", "completeness", "v_measure", "nmi")

_ENERGY_IMAGES = 512  # images, which form 130,000 pairs
_SHOWN_IMAGES_PER_CLASS = 8  # images shown of each class of a merged pair
_PARTS, _OF_PART = 3, 6  # clusters shown of a split class, and images of each cluster


@dataclass(frozen=True)
class ClusterReport:
    """Results of clustering.

    Attributes:
        figures: Figures for details.json.
        lines: Results as sentences.
        rows: Rows of a table with the columns `TABLE`.
        picture: Content that `draw` draws; None if there was nothing to cluster.
    """

    figures: dict[str, Any]
    lines: list[str]
    rows: Sequence[Sequence[Any]]
    picture: "_Study | None" = None

    def draw(self, folder: Path) -> None:
        """Write clusters.png and, if there is anything to show, merged_pairs.png and split_classes.png."""
        if self.picture is not None:
            self.picture.draw(folder)


@dataclass(frozen=True)
class _Study:
    seen: SeenImages
    names: Sequence[str]
    found: Clusterings
    agreements: dict[int, LabelAgreement]
    judgement: Judgement

    def draw(self, folder: Path) -> None:
        curves(self.found, self.agreements, self.seen.classes, self.judgement, folder / "clusters.png")
        labels, pairs, classes = self.seen.labels, [], []
        for (first, second), overlap in self.judgement.merged.items():
            if overlap >= MERGED:
                clusters = self.found.assignments[ROOM * self.seen.classes][0]
                title = f"{short(self.names[first])} + {short(self.names[second])}: {overlap:.0%} share clusters"
                pairs.append((title, images_of_pair(clusters, labels, first, second, _SHOWN_IMAGES_PER_CLASS)))
        for name, parts in self.judgement.split.items():
            if parts >= SPLIT:
                clusters = self.found.assignments[self.judgement.k][0]
                title = f"{short(self.names[name])}: split into {parts:.1f} clusters"
                classes.append((title, images_of_class(clusters, labels, name, _PARTS, _OF_PART)))
        spec = self.seen.spec
        bands = f" ({shown_bands(spec)})" if shown_bands(spec) else ""
        for rows, file in ((pairs, "merged_pairs.png"), (classes, "split_classes.png")):
            if rows:
                drawn = [
                    (f"{title}{bands}", [displayed(self.seen.images(group), spec) for group in groups])
                    for title, groups in rows
                ]
                grid_of_images(drawn, folder / file)


def study_clusters(
    settings: Clusters, embed: Embed, seen: SeenImages, names: Sequence[str], policies: Policies, seed: int
) -> ClusterReport:
    """Cluster the embeddings of images, judge the clusters by the images' labels, and say what to change.

    Args:
        settings: Section `linear_eval.clusters` of params.yaml.
        embed: Embedder that runs the exported backbone.
        seen: Images of train and validation, never of the test split.
        names: Names of the classes, by number.
        policies: Policies of the views.
        seed: Seed of k-means.

    Raises:
        ConfigError: `linear_eval.clusters.view` is not a known kind of view.
    """
    views = SeenViews(seen, policies, settings.view)
    embeddings = unit(extract(embed, seen))
    different, known = distinct(embeddings), seen.labels >= 0
    ks = grid(different, seen.classes)
    facts: dict[str, Any] = {"images": len(seen), "labelled": int(known.sum()), "view": settings.view}
    if not ks:
        reason = (
            f"clustering needs {2 * PER_CLUSTER} different embeddings, but the {len(seen)} images have only {different}"
        )
        return ClusterReport(
            facts | {"verdict": "unknown", "reason": reason}, [f"linear_eval: no clusters: {reason}."], []
        )
    found = cluster(embeddings, unit(extract(embed, views)), seen.groups, ks, settings.runs, seed)
    labels = seen.labels[known]
    agreements = {k: agreement(of_k[:, known], labels) for k, of_k in found.assignments.items() if seen.classes > 1}
    judgement = judge_clusters(found, seen.labels, seed)
    sampled = sample(labels, _ENERGY_IMAGES)
    energy = energies(embeddings[known][sampled], labels[sampled], seen.groups[known][sampled])
    rows = [(k, stability, *_values(agreements.get(k))) for k, stability in found.stability.items()]
    return ClusterReport(
        facts | _figures(found, agreements, judgement, names, energy),
        sentences(judgement, found, agreements.get(judgement.k), names),
        rows,
        _Study(seen, names, found, agreements, judgement),
    )


def _figures(
    found: Clusterings,
    agreements: dict[int, LabelAgreement],
    judgement: Judgement,
    names: Sequence[str],
    energy: dict[str, Any],
) -> dict[str, Any]:
    """Return the findings as nested figures."""
    figures: dict[str, Any] = {
        "verdict": judgement.word,
        "k_star": judgement.k,
        "stability": found.stability[judgement.k],
        "preferred": not judgement.doubt,
    }
    if judgement.k in agreements:
        figures |= {"at_k_star": asdict(agreements[judgement.k]), "energy": energy}
    if judgement.reason:
        return figures | {"reason": judgement.reason}
    return figures | {
        "homogeneity_above_chance": judgement.homogeneity,
        "merged_pairs": {
            f"{names[first]} + {names[second]}": value for (first, second), value in judgement.merged.items()
        },
        "split_classes": {names[name]: value for name, value in judgement.split.items()},
    }


def _values(found: LabelAgreement | None) -> tuple[Any, ...]:
    return tuple(asdict(found).values()) if found else ("",) * (len(TABLE) - 2)
