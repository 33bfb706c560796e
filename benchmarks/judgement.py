"""Figures by which benchmarks compare encoders: accuracies on test images, clusters, and spread of embeddings."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from benchmarks.project import ROOT
from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.config import LinearEvalConfig
from ssl_pipeline.data.labelled import Labelled, read_labelled
from ssl_pipeline.deployment.from_pixels import FromPixels
from ssl_pipeline.evaluation.budgets.label_draws import draw_labels
from ssl_pipeline.evaluation.clusters.clustering import ROOM, agreement
from ssl_pipeline.evaluation.features import Embed, embedder, extract, sample, unit
from ssl_pipeline.evaluation.linear import knn
from ssl_pipeline.evaluation.linear.layers import EveryLayer
from ssl_pipeline.evaluation.linear_probe import fit, fit_at
from ssl_pipeline.evaluation.statistics.intervals import score
from ssl_pipeline.health.embeddings import effective_rank, uniformity
from ssl_pipeline.types import Encoder

__all__ = ["FEW", "Row", "judge", "judge_layers", "judge_neighbours"]

FEW, DRAWS = 10, 5
"""Labels per class for the few-label probe, and number of draws of these labels."""
CLUSTERED = 2000  # test images
NEIGHBOURS = 2000
Row = dict[str, Any]


def judge(embed: Embed, store: Path) -> Row:
    """Return kNN, linear and few-label accuracy on the test images, and clusters and spread of their embeddings."""
    settings = _settings()
    train, val, test, names = read_labelled(store)
    learned, held_out, asked = (extract(embed, part) for part in (train, val, test))
    classes = len(names)
    probe = fit(learned, train.labels, settings.strengths, held_out, val.labels, class_count=classes)
    predictions = {
        "knn": knn.predict(learned, train.labels, asked, settings.knn.k, settings.knn.temperature),
        "linear": probe.predict(asked),
    }
    few = []
    for draw in range(DRAWS):
        chosen = draw_labels(train.ids, train.labels, FEW, 0, draw)
        shown = fit_at(learned[chosen], train.labels[chosen], probe.strength, class_count=classes)
        few.append(float((shown.predict(asked) == test.labels).mean()))
    return {
        **_intervals(test, predictions),
        "few_labels": float(np.mean(few)),
        **_clusters(unit(asked[sample(test, CLUSTERED)]), test.labels[sample(test, CLUSTERED)], classes),
        "effective_rank": effective_rank(asked),
        "uniformity": uniformity(asked[sample(test, CLUSTERED)]),
    }


def judge_neighbours(embed: Embed, store: Path) -> Row:
    """Return kNN accuracy on up to NEIGHBOURS test images, with up to NEIGHBOURS labelled images: a quick check."""
    settings = _settings()
    train, _, test, _ = read_labelled(store)
    known, asked = (part.subset(sample(part, NEIGHBOURS)) for part in (train, test))
    nearest = knn.predict(
        extract(embed, known), known.labels, extract(embed, asked), settings.knn.k, settings.knn.temperature
    )
    return _intervals(asked, {"knn": nearest})


def judge_layers(
    encoder: Encoder, card: ModelCard, store: Path, prepare: Callable[[FromPixels], None] = lambda _: None
) -> Row:
    """Return the layer whose linear probe is best on validation images, and its accuracy on the test images.

    Args:
        encoder: Encoder to judge; if its backbone offers no feature maps, the result is empty.
        card: Model card of the encoder, which states how images are resized.
        store: Path of the store with the images.
        prepare: Function that is applied to the network before it is judged.
    """
    if not encoder.backbone.has("maps"):
        return {}
    every = EveryLayer(encoder, l2_normalize=True)
    network = FromPixels(card, every).eval()
    prepare(network)
    train, val, test, names = read_labelled(store)
    cuts = np.cumsum(every.dims)[:-1]
    learned, held_out, asked = (np.split(extract(embedder(network), part), cuts, axis=1) for part in (train, val, test))
    classes = len(names)
    learn = partial(fit, strengths=_settings().strengths, val_labels=val.labels, class_count=classes)
    probes = [learn(a, train.labels, val_features=b) for a, b in zip(learned, held_out, strict=True)]
    best = int(np.argmax([probe.validation[probe.strength] for probe in probes]))
    found = _intervals(test, {"layer": probes[best].predict(asked[best])})
    return {"best_layer": every.layers[best] or "last", **found}


def _settings() -> LinearEvalConfig:
    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    return LinearEvalConfig.model_validate(content["linear_eval"])


def _intervals(test: Labelled, predictions: dict[str, npt.NDArray[np.int64]]) -> Row:
    scores = score(test.labels, predictions, test.groups, resamples=1, seed=0)  # single figures need no resampling
    found: Row = {}
    for name in predictions:
        value, low, high = scores.interval(name, "accuracy")
        found |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return found


def _clusters(embeddings: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], classes: int) -> Row:
    from sklearn.cluster import KMeans

    def clustered(k: int) -> Any:
        assigned = KMeans(k, n_init=3, random_state=0).fit_predict(embeddings).astype(np.int64)
        return agreement(assigned[None], labels)

    return {"homogeneity": clustered(ROOM * classes).homogeneity, "completeness": clustered(classes).completeness}
