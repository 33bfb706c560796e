"""Results of retrieval and zero-shot classification as sentences."""

from collections.abc import Mapping
from typing import Any

from ssl_pipeline.terminal import counted

__all__ = ["CONTESTANTS", "CUTS", "WAYS", "recall_words", "retrieval_lines", "zero_shot_line"]

WAYS = {"image_to_text": "images to texts", "text_to_image": "texts to images"}
"""Key of the figures -> direction of retrieval, from queries to candidates."""
CONTESTANTS = {
    "towers": "the exported towers",
    "random_towers": "untrained towers",
    "bag_of_words": "a linear map to a bag of words",
    "chance": "chance",
}
"""Key of the figures -> name of the contestant."""
CUTS = (1, 5, 10)
"""Numbers of first candidates at which recall is measured."""


def recall_words(found: Mapping[str, float], name: str) -> str:
    """Return a share in percent, with its interval if it has one, as text."""
    value = f"{100 * found[name]:.1f}%"
    if f"{name}_low" not in found:
        return value
    return f"{value} [{100 * found[f'{name}_low']:.1f}, {100 * found[f'{name}_high']:.1f}]"


def retrieval_lines(found: Mapping[str, Any]) -> list[str]:
    """Return the results of retrieval in a few lines."""
    which = "test" if found["split"] == "test" else "validation"
    lines = [
        f"linear_eval: retrieval among {found['images']:,} {which} images in {found['groups']:,} groups with "
        f"{found['texts']:,} different captions (95% intervals)"
    ]
    if which != "test":
        lines.append("  no test image has a caption, so validation images are used, which were not trained on either")
    for way, words in WAYS.items():
        for name, who in CONTESTANTS.items():
            if name in found[way]:
                figures = found[way][name]
                recalls = ", ".join(f"R@{cut} {recall_words(figures, f'recall_at_{cut}')}" for cut in CUTS)
                lines.append(f"  {words}, {who}: {recalls}, median rank {figures['median_rank']:.0f}")
    return lines


def zero_shot_line(found: Mapping[str, Any]) -> str:
    """Return the results of zero-shot classification as a sentence without its full stop."""
    others = {"random_towers": CONTESTANTS["random_towers"], "majority": "the largest class"}
    beside = "; ".join(f"{who} {recall_words(found[name], 'accuracy')}" for name, who in others.items())
    prompts = counted(len(found["prompts"]), "prompt")
    return (
        f"Zero-shot classification by the names of {found['classes']} classes, with {prompts} each: "
        f"{recall_words(found, 'accuracy')} of {found['images']:,} test images are classified correctly; {beside}; "
        f"chance {100 * found['chance']:.1f}%"
    )
