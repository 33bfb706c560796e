import numpy as np
import pytest

from ssl_pipeline.evaluation.retrieval.zero_shot import class_embeddings, classify


def embedded(texts):
    """Embed a text as counts of its letters, so that norms of embeddings depend on the length of the text."""
    return np.array([[text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts], np.float32)


def test_a_class_is_the_mean_of_its_prompts_at_unit_length():
    classes, templates = ("fox", "sun {0}"), ("a picture of {}", "{}, {}!")
    found = class_embeddings(embedded, classes, templates)
    for row, name in zip(found, classes, strict=True):
        prompts = embedded([f"a picture of {name}", f"{name}, {name}!"]).astype(np.float64)
        mean = sum(prompt / np.sqrt((prompt**2).sum()) for prompt in prompts) / 2
        assert row == pytest.approx(mean / np.sqrt((mean**2).sum()))


def test_an_image_is_of_the_class_with_the_highest_cosine():
    images = np.array([[10.0, 1.0], [0.1, 0.2], [-1.0, -2.0]])
    assert classify(images, np.eye(2)).tolist() == [0, 1, 0]
