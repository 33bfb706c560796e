"""Evaluate retrieval in both directions and zero-shot classification by the towers that ship, with baselines.

This module writes no files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ssl_pipeline.augment.display import displayed
from ssl_pipeline.config import LinearEvalConfig
from ssl_pipeline.data.labelled import Labelled
from ssl_pipeline.evaluation.features import Embed, extract
from ssl_pipeline.evaluation.retrieval.bag_of_words import fit_words
from ssl_pipeline.evaluation.retrieval.inputs import TextInputs, Towers
from ssl_pipeline.evaluation.retrieval.ranks import Pairs, pair, ranks_of_first_right
from ssl_pipeline.evaluation.retrieval.recalls import Asked, chance_figures, recall_figures
from ssl_pipeline.evaluation.retrieval.sentences import retrieval_lines, zero_shot_line
from ssl_pipeline.evaluation.retrieval.text_pictures import draw_retrieval
from ssl_pipeline.evaluation.retrieval.zero_shot import PROMPTS, class_embeddings, classify
from ssl_pipeline.evaluation.statistics.intervals import score

__all__ = ["BAG", "OURS", "UNTRAINED", "TextFindings", "retrieval_figures", "study_texts", "zero_shot_figures"]

Both = tuple[Any, Any]
"""Images (n, D) and texts (T, D) in one space; texts as bags of words are sparse."""

OURS, UNTRAINED, BAG = "towers", "random_towers", "bag_of_words"


@dataclass(frozen=True)
class TextFindings:
    """Results on texts, for the report of the linear evaluation; empty if the model does not read text.

    Attributes:
        figures: All figures, for details.json.
        headline: The few figures that are worth comparing between runs, for metrics.json.
        lines: Results as sentences.
        pictures: Functions, each of which draws a picture into the folder that it is called with.
    """

    figures: Mapping[str, Any] = field(default_factory=dict)
    headline: Mapping[str, float] = field(default_factory=dict)
    lines: Sequence[str] = ()
    pictures: Sequence[Any] = ()


def study_texts(
    settings: LinearEvalConfig, embed: Embed, texts: TextInputs | None, test: Labelled, classes: Sequence[str]
) -> TextFindings:
    """Measure retrieval of images by text and of texts by image, and zero-shot classification.

    Args:
        settings: Section `linear_eval` of params.yaml.
        embed: Embedder that runs the exported backbone on canvases.
        texts: Text tower and captioned images; None if the model does not read text.
        test: Labelled test images; there may be none.
        classes: Names of the classes.
    """
    if texts is None:
        return TextFindings()
    figures: dict[str, Any] = {}
    headline: dict[str, float] = {}
    lines: list[str] = []
    pictures: list[Any] = []
    if texts.asked.captions:
        images, pairs = texts.asked.images, pair(texts.asked.captions)
        spaces = _spaces(embed, texts, pairs)
        found = retrieval_figures(spaces, pairs, images.groups, settings.bootstrap, settings.seed)
        figures["retrieval"] = {"split": images.split.name, **found}
        headline |= {way: found[way][OURS]["recall_at_1"] for way in ("image_to_text", "text_to_image")}
        lines += retrieval_lines(figures["retrieval"])
        pictures.append(partial(_draw, images, pairs, spaces[OURS]))
    if len(test) and len(classes) > 1:
        figures["zero_shot"] = zero_shot_figures(settings, embed, texts, test, classes)
        headline["zero_shot"] = figures["zero_shot"]["accuracy"]
        lines.append(f"linear_eval: {zero_shot_line(figures['zero_shot'])}")
    return TextFindings(figures, headline, lines, pictures)


def _spaces(embed: Embed, texts: TextInputs, pairs: Pairs) -> dict[str, Both]:
    """Return the images and texts in the space of each contestant."""
    ours = extract(embed, texts.asked.images)
    found: dict[str, Both] = {
        OURS: (ours, texts.texts(pairs.texts)),
        UNTRAINED: (extract(texts.untrained.images, texts.asked.images), texts.untrained.texts(pairs.texts)),
    }
    learned = texts.learned
    words = fit_words(extract(embed, learned.images), learned.captions, learned.images.groups)
    return found if words is None else {**found, BAG: (words.images(ours), words.texts(pairs.texts))}


def retrieval_figures(
    spaces: Mapping[str, Both], pairs: Pairs, groups: npt.NDArray[np.int64], resampled: int, seed: int
) -> dict[str, Any]:
    """Return the figures of retrieval in both directions.

    Args:
        spaces: Contestant -> images and texts in its space; `OURS` is among the contestants.
        pairs: Pairs of images and captions; each image has at least one.
        groups: Group numbers of the images (n,), equal for images of one group.
        resampled: Number of resamples of the groups.
        seed: Seed of the resamples.

    Returns:
        Numbers of images, texts, captions and groups and, for `image_to_text` and `text_to_image`, the figures of each
        contestant and of `chance`. A text is a query once for each image that has it.
    """
    right = pairs.right
    to_images = right.T.tocsr()
    ranks: dict[str, dict[str, Any]] = {"image_to_text": {}, "text_to_image": {}}
    for name, (images, texts) in spaces.items():
        ranks["image_to_text"][name] = ranks_of_first_right(images, texts, right)
        ranks["text_to_image"][name] = ranks_of_first_right(texts, images, to_images)[pairs.numbers]
    asked = {
        "image_to_text": Asked(groups, right.sum(axis=1), len(pairs.texts)),
        "text_to_image": Asked(groups[pairs.images], to_images.sum(axis=1)[pairs.numbers], pairs.count),
    }
    counts = {"images": pairs.count, "texts": len(pairs.texts), "captions": len(pairs.images)}
    return {
        **counts,
        "groups": len(np.unique(groups)),
        **{
            way: {**recall_figures(found, asked[way], resampled, seed, OURS), "chance": chance_figures(asked[way])}
            for way, found in ranks.items()
        },
    }


def zero_shot_figures(
    settings: LinearEvalConfig, embed: Embed, texts: TextInputs, test: Labelled, classes: Sequence[str]
) -> dict[str, Any]:
    """Return the accuracies of zero-shot classification, of untrained towers, and of predicting the largest class.

    Args:
        settings: Section `linear_eval` of params.yaml, with the templates and the bootstrap.
        embed: Embedder that runs the exported backbone on canvases.
        texts: Exported text tower, and untrained towers.
        test: Labelled test images, at least one.
        classes: Names of the classes, at least two.
    """
    towers, prompts = {OURS: Towers(embed, texts.texts), UNTRAINED: texts.untrained}, settings.prompts or PROMPTS
    predictions = {
        name: classify(extract(each.images, test), class_embeddings(each.texts, classes, prompts))
        for name, each in towers.items()
    }
    largest = int(np.bincount(test.labels).argmax())
    predictions["majority"] = np.full(len(test), largest)
    scores = score(test.labels, predictions, test.groups, settings.bootstrap, settings.seed)
    found: dict[str, dict[str, float]] = {name: {} for name in predictions}
    for measure in ("accuracy", "balanced_accuracy"):
        for name in predictions:
            found[name] |= _flat(measure, *scores.interval(name, measure))
        for name in (UNTRAINED, "majority"):
            found[name] |= _flat(f"gain_{measure}", *scores.gain(OURS, name, measure))
    return {
        "prompts": list(prompts),
        "images": len(test),
        "classes": len(classes),
        "chance": 1 / len(classes),
        **found.pop(OURS),
        **found,
    }


def _flat(name: str, value: float, low: float, high: float) -> dict[str, float]:
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _draw(images: Labelled, pairs: Pairs, space: Both, folder: Path) -> None:
    def pixels(positions: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        return displayed(images.images(positions), images.spec)

    draw_retrieval(pixels, pairs, space, folder / "retrieval.png")
