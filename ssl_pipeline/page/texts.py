"""Results on texts for the page and the model card: retrieval in both directions, and zero-shot classification."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ssl_pipeline.evaluation.retrieval.sentences import CONTESTANTS, CUTS, WAYS, recall_words, zero_shot_line
from ssl_pipeline.page.facts import Picture, Places, details, pictures
from ssl_pipeline.terminal import counted

__all__ = ["RetrievalTable", "Texts", "read_texts", "retrieval_tables", "zero_shot"]

_ALT = {"retrieval": "Five texts, each with its nearest images, and five images, each with its nearest texts."}


class RetrievalTable(NamedTuple):
    """Retrieval figures in one direction.

    Attributes:
        title: Direction of retrieval, and the number of images, groups and captions.
        rows: Table rows, one per contestant and one for chance: name, recall at 1, 5 and 10, and median rank.
    """

    title: str
    rows: list[tuple[str, ...]]


class Texts(NamedTuple):
    """Results on texts.

    Attributes:
        tables: Retrieval figures in each direction; empty if no image had a caption.
        zero_shot: Accuracy of zero-shot classification, as a sentence without its full stop; "" without labels.
        picture: Picture of nearest images and texts; None without retrieval.
    """

    tables: list[RetrievalTable]
    zero_shot: str
    picture: Picture | None


def read_texts(places: Places) -> Texts | None:
    """Read the results of linear_eval on texts; return None if the model does not read text."""

    def tell(linear: Mapping[str, Any]) -> tuple[list[RetrievalTable], str]:
        return retrieval_tables(linear), zero_shot(linear)

    tables, sentence = details(places, "linear_eval", tell) or ([], "")
    if not tables and not sentence:
        return None
    folder = places.reports / "linear_eval" / "pictures"
    return Texts(tables, sentence, pictures(folder, "linear_eval", _ALT).get("retrieval"))


def retrieval_tables(linear: Mapping[str, Any]) -> list[RetrievalTable]:
    """Return the retrieval figures in both directions; empty without retrieval."""
    found = linear.get("retrieval")
    if found is None:
        return []
    split = "test" if found["split"] == "test" else "validation"
    among = (
        f"{found['images']:,} {split} images in {counted(found['groups'], 'group')}, "
        f"{counted(found['texts'], 'different caption')}"
    )
    return [RetrievalTable(f"From {words}: {among}", _rows(found[way])) for way, words in WAYS.items()]


def zero_shot(linear: Mapping[str, Any]) -> str:
    """Return the accuracy of zero-shot classification as a sentence without its full stop; "" if there is none."""
    return zero_shot_line(linear["zero_shot"]) if "zero_shot" in linear else ""


def _rows(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            who,
            *(recall_words(found[name], f"recall_at_{cut}") for cut in CUTS),
            _rank(found[name]),
        )
        for name, who in CONTESTANTS.items()
        if name in found
    ]


def _rank(figures: Mapping[str, float]) -> str:
    rank = f"{figures['median_rank']:,.0f}"
    if "median_rank_low" not in figures:
        return rank
    return f"{rank} [{figures['median_rank_low']:,.0f}, {figures['median_rank_high']:,.0f}]"
