"""Zero-shot classification: an image gets the class whose name, inserted into templates, is nearest to it.

Source: Radford et al. 2021 (2103.00020), section 3.1.4. The embeddings of all prompts of a class are averaged, so that
each class takes one comparison.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ssl_pipeline.neighbours import unit

__all__ = ["PROMPTS", "EmbedTexts", "class_embeddings", "classify"]

PROMPTS = ("a picture of {}",)
"""Default templates, for a params.yaml without any, such as one written before the pipeline supported text."""

Rows = npt.NDArray[np.floating[Any]]
Numbers = npt.NDArray[np.int64]
EmbedTexts = Callable[[Sequence[str]], Rows]
"""Function from m texts to embeddings (m, D)."""


def class_embeddings(embed: EmbedTexts, classes: Sequence[str], templates: Sequence[str]) -> Rows:
    """Return a unit-norm embedding for each class: the normalised mean of the unit-norm embeddings of its prompts.

    Args:
        embed: Function that embeds texts.
        classes: Names of the C classes.
        templates: Texts in which {} is replaced by the name of the class, such as "a picture of {}"; at least one.

    Returns:
        Embeddings of the classes (C, D), float64.
    """
    prompts = [template.replace("{}", name) for name in classes for template in templates]
    embeddings = unit(np.asarray(embed(prompts), np.float64)).reshape(len(classes), len(templates), -1)
    return unit(embeddings.mean(axis=1))


def classify(images: Rows, classes: Rows) -> Numbers:
    """Return the number of the nearest class (C, D) for each image (n, D), (n,); ties go to the first class."""
    return np.asarray((unit(np.asarray(images, np.float64)) @ classes.T).argmax(axis=1))
