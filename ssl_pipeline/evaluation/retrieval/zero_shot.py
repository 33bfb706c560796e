"""Zero-shot classification: an image is of the class whose name, put into templates, is nearest to it.

Source: Radford et al. 2021 (2103.00020), section 3.1.4: embeddings of all templates of a class are averaged, so that
one comparison is made for each class.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ssl_pipeline.neighbours import unit

__all__ = ["PROMPTS", "EmbedTexts", "class_embeddings", "classify"]

PROMPTS = ("a picture of {}",)
"""The templates where params.yaml, which may be from before there were texts, has none."""

Rows = npt.NDArray[np.floating[Any]]
Numbers = npt.NDArray[np.int64]
EmbedTexts = Callable[[Sequence[str]], Rows]
"""m texts -> (m, D)."""


def class_embeddings(embed: EmbedTexts, classes: Sequence[str], templates: Sequence[str]) -> Rows:
    """Return an embedding of unit length for each class: the mean of those of its prompts, which have unit length each.

    Args:
        embed: What embeds texts.
        classes: The names of C classes.
        templates: Texts in which {} stands for the name of the class, such as "a picture of {}"; at least one.

    Returns:
        (C, D) float64.
    """
    prompts = [template.replace("{}", name) for name in classes for template in templates]
    embeddings = unit(np.asarray(embed(prompts), np.float64)).reshape(len(classes), len(templates), -1)
    return unit(embeddings.mean(axis=1))


def classify(images: Rows, classes: Rows) -> Numbers:
    """Return for each image (n, D) the number of the class (C, D) that is nearest, the first of equal ones: (n,)."""
    return np.asarray((unit(np.asarray(images, np.float64)) @ classes.T).argmax(axis=1))
