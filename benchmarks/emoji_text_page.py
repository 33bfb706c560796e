"""Tables of the results of `benchmarks.emoji_text`: `python -m benchmarks.emoji_text_page LINES` prints Markdown.

Recalls are means over seeds. All 95% intervals, including those of differences, are bootstrapped over seeds and over
emoji, because the two pictures of an emoji are not independent evidence. A difference is taken query by query between
runs with the same seed. A median rank is the mean over seeds of the median over queries.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import numpy.typing as npt

from benchmarks.cells import Line, crossed, read
from ssl_pipeline.terminal import counted

__all__ = ["asked", "summary", "tables"]

CUTS = (1, 5, 10)
TITLES = {
    "image_to_text": "{} images to {} captions",
    "text_to_image": "captions to images, {} queries among {}",
    "partners": "{} pictures to another one of the same emoji, among {}",
}
OF_PAIRS = {  # (arm, contestant) -> its name in the tables of retrieval
    ("clip", "towers"): "the towers of `clip`",
    ("siglip", "towers"): "the towers of `siglip`",
    ("slip", "towers"): "the towers of `slip`",
    ("lit", "towers"): "`lit`: text tower trained for `simclr`'s frozen image encoder",
    ("clip", "bag_of_words"): "linear map from `clip`'s image embeddings to a bag of words",
    ("slip", "bag_of_words"): "linear map from `slip`'s image embeddings to a bag of words",
    ("simclr", "bag_of_words"): "linear map from `simclr`'s image embeddings to a bag of words",
    ("random", "bag_of_words"): "linear map from untrained image embeddings to a bag of words",
    ("random", "towers"): "untrained towers",
}
OF_PARTNERS = {
    ("clip", "images"): "`clip`",
    ("siglip", "images"): "`siglip`",
    ("slip", "images"): "`slip`",
    ("simclr", "images"): "`simclr`, without texts",
    ("random", "images"): "untrained",
    ("random", "colours"): "colour histogram",
}
GAINS = {
    "image_to_text": [((arm, "towers"), ("simclr", "bag_of_words")) for arm in ("clip", "siglip", "slip", "lit")],
    "text_to_image": [((arm, "towers"), ("simclr", "bag_of_words")) for arm in ("clip", "siglip", "slip", "lit")],
    "partners": [((arm, "images"), ("simclr", "images")) for arm in ("clip", "siglip", "slip")],
}
Who = tuple[str, str]


class Asked(NamedTuple):
    """Results of one retrieval task.

    Attributes:
        ranks: Contestant -> seed -> ranks (q,) of the first right answer.
        groups: Emoji (q,) of each query.
        candidates: Number of candidates per query.
        chance: Figures of a random order.
    """

    ranks: Mapping[Who, Mapping[int, npt.NDArray[np.int64]]]
    groups: npt.NDArray[np.int64]
    candidates: int
    chance: Mapping[str, float]


def asked(lines: Iterable[Line], way: str) -> Asked:
    """Collect the results of one retrieval task from the lines."""
    lines, ranks = list(lines), defaultdict[Who, dict[int, Any]](dict)
    for line in lines:
        for name, values in line["ranks"][way].items():
            ranks[line["arm"], name][line["seed"]] = np.array(values)
    first = lines[0]
    return Asked(ranks, np.array(first["groups"][way]), first["candidates"][way], first["chance"][way])


def tables(lines: Iterable[Line]) -> list[str]:
    """Return the lines of the tables in Markdown, with the differences below each table."""
    lines, rows = list(lines), []
    for way, title in TITLES.items():
        found = asked(lines, way)
        rows += [f"| {title.format(len(found.groups), found.candidates)} | seeds | R@1 | R@5 | R@10 | median rank |"]
        rows += ["|---|---:|---|---|---|---:|"]
        for who, name in (OF_PARTNERS if way == "partners" else OF_PAIRS).items():
            if who in found.ranks:
                rows.append(_row(name, np.stack([*found.ranks[who].values()]), found.groups))
        chance = [f"{found.chance[f'recall_at_{cut}']:.1%}" for cut in CUTS]
        rows += [f"| chance | | {' | '.join(chance)} | {found.chance['median_rank']:.0f} |", ""]
        rows += [_gain(found, *pair) for pair in GAINS[way] if all(who in found.ranks for who in pair)] + [""]
    return rows + _zero_shot(lines)


def _row(name: str, ranks: npt.NDArray[np.int64], groups: npt.NDArray[np.int64]) -> str:
    recalls = ["{:.1%} ({:.1%} to {:.1%})".format(*crossed(ranks <= cut, groups)) for cut in CUTS]
    return f"| {name} | {len(ranks)} | {' | '.join(recalls)} | {np.mean(np.median(ranks, axis=1)):.0f} |"


def summary(lines: Iterable[Line]) -> list[Line]:
    """Return a line for each gain of recall at 1 over the baseline, as a share of all queries."""
    lines, made = list(lines), []
    for way in TITLES:
        found = asked(lines, way)
        for ours, theirs in GAINS[way]:
            if ours in found.ranks and theirs in found.ranks:
                seeds, (value, *interval) = _difference(found, ours, theirs)
                names = {"asked": way, "arm": ours[0], "over": " ".join(theirs), "seeds": seeds}
                made.append({**names, "difference": value, "interval": interval})
    return made


def _gain(found: Asked, ours: Who, theirs: Who) -> str:
    seeds, figures = _difference(found, ours, theirs)
    value, low, high = (100 * part for part in figures)
    words = f"{value:+.1f} points ({low:+.1f} to {high:+.1f}), {counted(seeds, 'seed')}"
    return f"- R@1 of {' '.join(ours)} over {' '.join(theirs)}: {words}"


def _difference(found: Asked, ours: Who, theirs: Who) -> tuple[int, tuple[float, float, float]]:
    seeds = sorted(found.ranks[ours].keys() & found.ranks[theirs].keys())
    hits = [np.array([found.ranks[who][seed] <= 1 for seed in seeds], float) for who in (ours, theirs)]
    return len(seeds), crossed(hits[0] - hits[1], found.groups)


def _zero_shot(lines: list[Line]) -> list[str]:
    right: dict[Who, list[Any]] = defaultdict(list)
    for line in lines:
        for name, values in line["zero_shot"]["right"].items():
            right[(line["arm"], name) if name == "towers" else ("", name)].append(values)
    groups, classes = np.array(lines[0]["zero_shot"]["groups"]), lines[0]["zero_shot"]["classes"]
    rows = [f"| zero-shot by {classes} names, {len(groups)} images | accuracy |", "|---|---|"]
    for (arm, name), values in right.items():
        share = "{:.1%} ({:.1%} to {:.1%})".format(*crossed(np.array(values), groups))
        rows.append(f"| {f'`{arm}`' if arm else name} | {share} |")
    return rows


@click.command()
@click.argument("lines", type=click.Path(exists=True, path_type=Path))
def main(lines: Path) -> None:
    """Print the tables of each setting (epochs, batch size) in LINES."""
    settings: dict[tuple[Any, ...], list[Line]] = defaultdict(list)
    for line in read(lines):
        settings[line["epochs"], line["batch"]].append(line)
    for (epochs, batch), own in sorted(settings.items()):
        devices = ", ".join(sorted({line["device"] for line in own}))
        click.echo(f"\n{epochs} epochs, batches of {batch}; on {devices}\n")
        click.echo("\n".join(tables(own)))


if __name__ == "__main__":
    main()
