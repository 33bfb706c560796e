"""The linear evaluation of an exported backbone, from the file to its report."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ssl_pipeline.artifacts.assembly import cut
from ssl_pipeline.artifacts.card import ModelCard, read_card
from ssl_pipeline.artifacts.files import load_encoder
from ssl_pipeline.augment.policy import Policies
from ssl_pipeline.config import LinearEvalConfig
from ssl_pipeline.data.labelled import Labelled, read_labelled
from ssl_pipeline.data.store import Split
from ssl_pipeline.data.tables import write_table
from ssl_pipeline.deployment.classifier_graph import append_classifier, prove_probe
from ssl_pipeline.deployment.runtime import layer_of, open_session, read_metadata, run
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.evaluation.clusters.study import TABLE, ClusterReport, study_clusters
from ssl_pipeline.evaluation.features import Embed, extract, sample
from ssl_pipeline.evaluation.linear.baselines import colour_histogram, random_encoder, raw_pixels, starting_encoders
from ssl_pipeline.evaluation.linear.comparison import BACKBONE, START, Contestant, Settled, figures, predict, settle
from ssl_pipeline.evaluation.linear.layers import study_layers
from ssl_pipeline.evaluation.linear.rivals import cost, open_rivals
from ssl_pipeline.evaluation.linear.sentences import gained, nested, percent, rival_lines, start_line
from ssl_pipeline.evaluation.pictures import confusion
from ssl_pipeline.evaluation.replayed_negatives import false_negatives
from ssl_pipeline.evaluation.seen_images import choose
from ssl_pipeline.health.embeddings import effective_rank, embedding_std, uniformity
from ssl_pipeline.products import atomic_folder, sha256, verified, write_json
from ssl_pipeline.progress import say
from ssl_pipeline.registry import Registry

__all__ = ["linear_evaluation"]

Labels = npt.NDArray[np.int64]

_TIMED = 32  # images of the pool on which encoders are timed
_SPREAD = 2048  # images of the pool for the figures that need no label
_DRAWS = 3  # of random weights: one is luck (8 on digits: 83.8 % to 89.8 %), the best of them on validation is fair


def linear_evaluation(
    settings: LinearEvalConfig,
    registry: Registry,
    policies: Policies,
    *,
    store: Path,
    pretrain: Path,
    backbone: Path,
    models: Path,
    reports: Path,
) -> None:
    """Evaluate an exported backbone through onnxruntime, and write what was found.

    Args:
        settings: The stage's section of params.yaml.
        registry: Where the random encoder's architecture is found.
        policies: What the views are in which images should stay in their clusters.
        store: The images.
        pretrain: The pretrained model's folder.
        backbone: The exported file.
        models: Folder that receives linear_probe.onnx, or no_probe.json if there are no labels to learn from.
        reports: Folder that receives metrics.json, clusters.csv, confusion.csv, recalls.csv and
            pictures/.

    Raises:
        ConfigError: There is no such kind of view.
        PipelineError: A product is missing, the file changed while it was evaluated, or the probe's graph disagrees
            with the probe.
    """
    evaluated = sha256(verified(backbone, "export"))
    session = open_session(backbone)
    embed: Embed = partial(run, session)
    train, val, test, classes = read_labelled(store)
    facts: dict[str, Any] = {
        "labels": {"classes": len(classes), "train": len(train), "val": len(val)},
        "spread": _spread(embed, train.split),
        "backbone_sha256": evaluated,
    }
    card, learnable = read_card(pretrain), len(np.unique(train.labels)) > 1
    rivals, own = {}, {}
    if settings.rivals and learnable:  # opened before anything takes long: a misspelt name is told at once
        some = train.images(sample(train, _TIMED))
        rivals, own = open_rivals(settings.rivals, registry, card, some), cost(backbone, some)
    elif settings.rivals:
        say("linear_eval: rivals are not judged, because there are no labels to judge by")
    pool = choose(store, settings.clusters.images)
    clusters = study_clusters(settings.clusters, embed, pool, classes, policies, settings.seed)
    facts["clusters"] = clusters.figures
    facts["negatives"] = false_negatives(registry, pretrain, pool, policies)
    if not learnable:
        _without_probe(train, classes, facts, clusters, models, reports)
        return
    metadata = read_metadata(session)
    layer, l2_normalize = layer_of(metadata["layer"]), json.loads(metadata["l2_normalized"])
    whole = load_encoder(registry, pretrain)
    layers = study_layers(*whole, layer, l2_normalize, train, val, settings.strengths, len(classes))
    draw = partial(random_encoder, registry, cut(*whole, layer)[1], l2_normalize)
    seeds = range(settings.seed, settings.seed + _DRAWS)
    candidates: dict[str, list[Embed]] = {
        BACKBONE: [embed],
        START: starting_encoders(registry, pretrain, layer, l2_normalize, train.split),
        "random_encoder": [draw(seed, train.split) for seed in seeds],
        "random_encoder_uncalibrated": [draw(seed, None) for seed in seeds],
        "raw_pixels": [partial(raw_pixels, spec=train.split.spec)],
        "colour_histogram": [partial(colour_histogram, spec=train.split.spec)],
        **{name: [rival.embed] for name, rival in rivals.items()},
    }
    entered = {name: embeds for name, embeds in candidates.items() if embeds}
    settled = settle(entered, train, val, settings.strengths, len(classes), {START, *rivals})
    _write_probe(models, settled.contestants[BACKBONE], backbone, classes, val if len(val) else train)
    predictions = predict(settled, test, settings.knn)  # the first look at a test image
    facts["labels"] |= {"test": len(test), "test_groups": len(np.unique(test.groups))}
    if sha256(backbone) != evaluated:
        raise PipelineError(f"{backbone} changed while it was evaluated: run `dvc repro linear_eval` again.")
    metrics = nested(figures(settled, predictions, test, settings), rivals, own) | facts | layers.figures
    _write_report(reports, metrics, clusters, test.labels, predictions[BACKBONE], classes)
    for line in [*_summary(metrics, settled, card), *clusters.lines, *layers.lines]:
        say(line)


def _spread(embed: Embed, pool: Split) -> dict[str, Any]:
    """What can be said without labels, of images spread evenly over the pool."""
    features = extract(embed, pool, sample(pool, _SPREAD))
    return {
        "embedding_std": embedding_std(features),
        "effective_rank": effective_rank(features),
        "uniformity": uniformity(features),
        "images": len(features),
    }


def _without_probe(
    train: Labelled, classes: Sequence[str], facts: dict[str, Any], clusters: ClusterReport, models: Path, reports: Path
) -> None:
    """Report what needs no label, and say why there is no more."""
    named = f"only '{classes[train.labels[0]]}'" if len(train) else "no class"
    reason = f"the labels of the training images name {named}, so there is nothing to tell apart"
    with atomic_folder(models) as folder:
        write_json(folder / "no_probe.json", {"linear_probe": None, "reason": reason})
    nothing = np.empty(0, np.int64)
    _write_report(reports, facts | {"no_probe": reason}, clusters, nothing, nothing, classes)
    spread = facts["spread"]
    say(
        f"linear_eval: no probe, because {reason}. Without labels: effective rank {spread['effective_rank']:.1f}, "
        f"uniformity {spread['uniformity']:.2f}, embedding std {spread['embedding_std']:.2f}."
    )
    for line in clusters.lines:
        say(line)


def _write_probe(
    models: Path, contestant: Contestant, backbone: Path, classes: Sequence[str], checked: Labelled
) -> None:
    """Write linear_probe.onnx, and make sure that it says what the probe says."""
    probe = contestant.probe
    with atomic_folder(models) as folder:
        path = folder / "linear_probe.onnx"
        metadata = {"backbone_sha256": sha256(backbone), "strength": json.dumps(probe.strength)}
        append_classifier(backbone, probe.weight, probe.bias, classes, path, metadata)
        some = checked.images(np.arange(min(len(checked), 256)))
        prove_probe(path, lambda images: probe.predict_proba(contestant.embed(images)), some)


def _write_report(
    reports: Path,
    metrics: Mapping[str, Any],
    clusters: ClusterReport,
    actual: Labels,
    predicted: Labels,
    classes: Sequence[str],
) -> None:
    """Write metrics, tables and pictures; those of the probe are empty where there was nothing to predict."""
    counts = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(counts, (actual, predicted), 1)
    write_table(
        reports / "confusion.csv",
        ("actual", "predicted"),
        ((classes[a], classes[p]) for a, p in zip(actual, predicted, strict=True)),
    )
    write_table(
        reports / "recalls.csv",
        ("class", "images", "recall"),
        (
            (name, row.sum(), row[n] / row.sum())
            for n, (name, row) in enumerate(zip(classes, counts, strict=True))
            if row.any()
        ),
    )
    write_table(reports / "clusters.csv", TABLE, clusters.rows)
    with atomic_folder(reports / "pictures") as folder:
        clusters.draw(folder)
        if len(actual):
            title = f"Linear probe on {len(actual)} test images: {metrics['accuracy']:.1%}"
            confusion(counts, classes, title, folder / "confusion.png")
    write_json(reports / "metrics.json", metrics)


def _summary(metrics: Mapping[str, Any], settled: Settled, card: ModelCard) -> list[str]:
    """The findings in a few lines."""
    lines = []
    for name, contestant in settled.contestants.items():
        if not contestant.probe.converged:
            lines.append(
                f"linear_eval: the solver stopped before the optimum for {name}; take weaker strengths out of the path."
            )
    if "accuracy" not in metrics:
        return [*lines, "linear_eval: no test image has a label, so accuracy was not measured."]
    images, groups = metrics["labels"]["test"], metrics["labels"]["test_groups"]
    grouped = f" in {groups} groups" if groups < images else ""
    lines.append(f"linear_eval: linear probe {percent(metrics)} on {images} test images{grouped} (95 % intervals)")
    for name in [name for name in settled.contestants if f"gain_over_{name}" in metrics]:
        told = "the weights it started from" if name == START else name.replace("_", " ")
        points = gained(metrics[f"gain_over_{name}"])
        lines.append(f"  {told} {percent(metrics[name])}: the backbone gains {points} points")
    lines.append(f"  kNN on the backbone's embeddings {percent(metrics['knn'])}")
    negatives = metrics["negatives"]
    if negatives.get("rate") is not None:
        lines.append(
            f"  false negatives: {negatives['rate']:.1%} of the weight of '{negatives['strategy']}' is on images of "
            f"the anchor's own class; {negatives['chance']:.1%} by chance"
        )
    if START in metrics:
        lines.append(start_line(metrics, card.init))
    return [*lines, *rival_lines(metrics)]
