"""The linear evaluation of an exported backbone, from inputs to a report; it writes no files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ssl_pipeline.artifacts.assembly import cut
from ssl_pipeline.config import LinearEvalConfig
from ssl_pipeline.data.store import Split
from ssl_pipeline.deployment.from_pixels import FromPixels, embedding
from ssl_pipeline.deployment.latency import BATCHES, time_files
from ssl_pipeline.evaluation.clusters.study import TABLE, ClusterReport, study_clusters
from ssl_pipeline.evaluation.features import Embed, extract, sample
from ssl_pipeline.evaluation.linear.baselines import colour_histogram, random_encoder, raw_pixels, starting_encoders
from ssl_pipeline.evaluation.linear.by_clip import clip_lines, study_clips
from ssl_pipeline.evaluation.linear.comparison import BACKBONE, START, Contestant, figures, predict, settle
from ssl_pipeline.evaluation.linear.inputs import LinearInputs
from ssl_pipeline.evaluation.linear.layers import study_layers
from ssl_pipeline.evaluation.linear.sentences import nested, no_probe_line, summary
from ssl_pipeline.evaluation.linear.variants import draw_variants, set_apart, study_variants, variant_lines
from ssl_pipeline.evaluation.pictures import confusion
from ssl_pipeline.evaluation.replayed_negatives import false_negatives
from ssl_pipeline.evaluation.report import Report, Table
from ssl_pipeline.evaluation.retrieval.study import study_texts
from ssl_pipeline.health.embeddings import effective_rank, embedding_std, uniformity

__all__ = ["LinearFindings", "study_embeddings"]

Labels = npt.NDArray[np.int64]

RANDOM_DRAWS = 3
"""Number of draws of random weights. The best of them on validation is used, because a single draw depends on luck
(8 draws on digits: 83.8% to 89.8%)."""

_HEADLINE = ("knn", "random_encoder")
"""Figures in metrics.json beside the accuracy of the probe."""

_SPREAD_IMAGES = 2048  # training images for the figures that need no labels


@dataclass(frozen=True, kw_only=True)
class LinearFindings(Report):
    """The report, and the backbone with its probe, which ships; None if there are no labels to learn from."""

    backbone: Contestant | None


def study_embeddings(settings: LinearEvalConfig, inputs: LinearInputs) -> LinearFindings:
    """Evaluate an exported backbone.

    Args:
        settings: Section `linear_eval` of params.yaml.
        inputs: Models to evaluate, and the images to evaluate them on.

    Raises:
        ConfigError: `linear_eval.clusters.view` is not a known kind of view.
    """
    found = _study_images(settings, inputs)
    told = study_texts(settings, inputs.embed, inputs.texts, inputs.data.test, inputs.data.classes)
    return replace(
        found,
        figures={**found.figures, **told.figures},
        headline={**found.headline, **told.headline},
        pictures=[*found.pictures, *told.pictures],
        lines=[*found.lines, *told.lines],
    )


def _study_images(settings: LinearEvalConfig, inputs: LinearInputs) -> LinearFindings:
    """Evaluate everything that needs no texts: clusters, probes, neighbours, layers, variants."""
    train, val, test, classes = inputs.data
    clusters = study_clusters(settings.clusters, inputs.embed, inputs.seen, classes, inputs.policies, settings.seed)
    facts: dict[str, Any] = {
        "labels": {"classes": len(classes), "train": len(train), "val": len(val)},
        "spread": _spread(inputs.embed, train.split),
        "backbone_sha256": inputs.backbone_sha256,
        "clusters": clusters.figures,
        "negatives": false_negatives(inputs.registry, inputs.task, inputs.card, inputs.seen, inputs.policies),
    }
    if not inputs.learnable:
        return _without_probe(settings, inputs, facts, clusters)
    entered = _contestants(settings, inputs)
    voting = {START, *inputs.rivals, *inputs.variants.embeds}
    settled = settle(entered, train, val, settings.strengths, len(classes), voting)
    layers = study_layers(
        inputs.encoder,
        inputs.card,
        inputs.embed,
        inputs.layer,
        inputs.l2_normalize,
        train,
        val,
        settings.strengths,
        len(classes),
        settled.fitted,
    )
    predictions = predict(settled, test, settings.knn)  # the first look at a test image
    facts["labels"] |= {"test": len(test), "test_groups": len(np.unique(test.groups))}
    measured, judged = set_apart(figures(settled, predictions, test, settings), inputs.variants)
    facts |= _variants(settings, inputs, judged) | study_clips(settled, inputs.data, settings)
    metrics = nested(measured, inputs.rivals, inputs.cost) | facts | layers.figures
    judgements = [*summary(metrics, settled, inputs.card), *clip_lines(metrics), *variant_lines(metrics)]
    counts = _confusions(test.labels, predictions[BACKBONE], len(classes))
    return LinearFindings(
        figures=metrics,
        headline=_headline(metrics),
        tables=_tables(test.labels, predictions[BACKBONE], counts, classes, clusters),
        pictures=[
            clusters.draw,
            partial(_draw_confusions, counts, classes, metrics),
            partial(draw_variants, metrics),
        ],
        lines=[*judgements, *clusters.lines, *layers.lines],
        backbone=settled.contestants[BACKBONE],
    )


def _headline(metrics: dict[str, Any]) -> dict[str, float]:
    """Return the figures that are worth comparing between runs; empty if no test image has a label."""
    accuracies = {"accuracy": metrics} | {name: metrics[name] for name in _HEADLINE}
    return {name: figures["accuracy"] for name, figures in accuracies.items() if "accuracy" in figures}


def _contestants(settings: LinearEvalConfig, inputs: LinearInputs) -> dict[str, Sequence[Embed]]:
    """Return the backbone and everything that it is compared with, by name."""
    split, l2_normalize = inputs.data.train.split, inputs.l2_normalize
    shipped = cut(inputs.encoder, inputs.card, inputs.layer)[1]
    draw = partial(random_encoder, inputs.registry, shipped, l2_normalize)
    seeds = range(settings.seed, settings.seed + RANDOM_DRAWS)
    candidates: dict[str, Sequence[Embed]] = {
        BACKBONE: [inputs.embed],
        START: starting_encoders(inputs.start, inputs.card, inputs.layer, l2_normalize, split),
        "random_encoder": [draw(seed, split) for seed in seeds],
        "random_encoder_uncalibrated": [draw(seed, None) for seed in seeds],
        "raw_pixels": [partial(raw_pixels, spec=split.spec)],
        "colour_histogram": [partial(colour_histogram, spec=split.spec)],
        **{name: [rival.embed] for name, rival in inputs.rivals.items()},
        **{name: [embed] for name, embed in inputs.variants.embeds.items()},
    }
    return {name: embeds for name, embeds in candidates.items() if embeds}


def _variants(settings: LinearEvalConfig, inputs: LinearInputs, judged: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of the variants under the key `variants`; empty if backbone.onnx ships alone."""
    shipped, card = cut(inputs.encoder, inputs.card, inputs.layer)
    split = inputs.data.train.split
    some = split.images(sample(split, max(BATCHES)))
    time = partial(time_files, network=FromPixels(card, embedding(shipped, inputs.l2_normalize)), images=some)
    found = study_variants(settings, inputs.embed, inputs.variants, inputs.data, judged, time)
    return {"variants": found} if found else {}


def _spread(embed: Embed, pool: Split) -> dict[str, Any]:
    """Return figures that need no labels, for images spread evenly over the pool."""
    features = extract(embed, pool, sample(pool, _SPREAD_IMAGES))
    return {
        "embedding_std": embedding_std(features),
        "effective_rank": effective_rank(features),
        "uniformity": uniformity(features),
        "images": len(features),
    }


def _without_probe(
    settings: LinearEvalConfig, inputs: LinearInputs, facts: dict[str, Any], clusters: ClusterReport
) -> LinearFindings:
    """Return the findings that need no labels, and the reason why there are no others."""
    train, classes, nothing = inputs.data.train, inputs.data.classes, np.empty(0, np.int64)
    reason = "no training image has a label"
    if len(train):
        only = classes[train.labels[0]]
        reason = f"the labels of the training images name only '{only}', so there is nothing to distinguish"
    facts |= _variants(settings, inputs, {})
    return LinearFindings(
        figures=facts | {"no_probe": reason},
        headline={},
        tables=_tables(nothing, nothing, _confusions(nothing, nothing, len(classes)), classes, clusters),
        pictures=[clusters.draw],
        lines=[no_probe_line(reason, facts["spread"]), *variant_lines(facts), *clusters.lines],
        backbone=None,
    )


def _confusions(actual: Labels, predicted: Labels, classes: int) -> Labels:
    """Return the numbers of test images by actual and predicted class, (C, C)."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (actual, predicted), 1)
    return counts


def _tables(
    actual: Labels, predicted: Labels, counts: Labels, classes: Sequence[str], clusters: ClusterReport
) -> dict[str, Table]:
    """Return the tables by file name; those of the probe are empty if there was nothing to predict."""
    pairs = [(classes[a], classes[p]) for a, p in zip(actual, predicted, strict=True)]
    recalls = [
        (name, row.sum(), row[number] / row.sum())
        for number, (name, row) in enumerate(zip(classes, counts, strict=True))
        if row.any()
    ]
    return {
        "confusion.csv": Table(("actual", "predicted"), pairs),
        "recalls.csv": Table(("class", "images", "recall"), recalls),
        "clusters.csv": Table(TABLE, clusters.rows),
    }


def _draw_confusions(counts: Labels, classes: Sequence[str], metrics: dict[str, Any], folder: Path) -> None:
    """Draw confusion.png, unless no test image has a label."""
    if counts.any():
        title = f"Linear probe on {counts.sum()} test images: {metrics['accuracy']:.1%}"
        confusion(counts, classes, title, folder / "confusion.png")
