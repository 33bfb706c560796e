"""Emoji and their keywords: `python -m benchmarks.emoji_text EMOJI FOLDER [--seeds 3]`.

EMOJI is a .zip with pictures of emoji by two artists and a labels.csv with their captions, as docs/text.md describes
it. Whole emoji are kept for the test: both pictures, name and keywords. FOLDER keeps what was trained, so that a run
that is there is not made again.

`clip` learns from images and captions, `simclr` from images alone, with the same network and as many epochs, each view
of an image at 32 px. Asked are: texts of unseen emoji by their images and images by their texts, beside untrained
towers, a linear map from each of both frozen encoders to a bag of words, and chance; the class of an image by the names
of classes; and the other artist's picture of the same emoji by a picture. A table for each is printed, with 95%
intervals over emoji, and FOLDER/emoji_text.png shows the nearest images and texts.
"""

import json
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from benchmarks.project import change, copy_project
from benchmarks.stage import stage
from ssl_pipeline.artifacts.files import load_encoder
from ssl_pipeline.augment.display import displayed
from ssl_pipeline.config import load
from ssl_pipeline.data.labelled import Labelled, read_labelled
from ssl_pipeline.deployment.runtime import open_session, run
from ssl_pipeline.evaluation.features import Embed, Kept, extract
from ssl_pipeline.evaluation.linear.baselines import colour_histogram, random_encoder
from ssl_pipeline.evaluation.retrieval.bag_of_words import fit_words
from ssl_pipeline.evaluation.retrieval.inputs import TextInputs, open_texts
from ssl_pipeline.evaluation.retrieval.ranks import pair, ranks_of_first_right
from ssl_pipeline.evaluation.retrieval.recalls import Asked, chance_figures, recall_figures
from ssl_pipeline.evaluation.retrieval.sentences import recall_words, zero_shot_line
from ssl_pipeline.evaluation.retrieval.study import BAG, OURS, UNTRAINED, retrieval_figures, zero_shot_figures
from ssl_pipeline.evaluation.retrieval.text_pictures import draw_retrieval
from ssl_pipeline.loading import load_registry
from ssl_pipeline_stages.paths import EXPORT, PRETRAIN, STORE

CROP = {"p": 1.0, "ratio": [0.75, 1.333]}
VIEWS: dict[str, Any] = {
    "global": {
        "size": 32,
        "random_resized_crop": {**CROP, "scale": [0.2, 1.0]},
        "color_jitter": {"p": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
        "grayscale": {"p": 0.2},
    },
    "plain": {
        "size": 32,
        "random_resized_crop": {**CROP, "scale": [0.6, 1.0]},
        "color_jitter": {"p": 0.5, "brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.0},
    },
}
"""Without flips, which turn arrows and flags into others."""
OPTIMIZER = {"name": "adamw", "learning_rate": 1e-3, "weight_decay": 0.05, "momentum": 0.9}
RECIPES = ("clip", "simclr")
FROM_IMAGES = "bag_of_words_of_simclr"
RESAMPLES = 1000


class Trained(NamedTuple):
    """A run: its project, its exported backbone, and captioned images with a text tower, where it has one."""

    project: Path
    embed: Embed
    texts: TextInputs | None


def prepare(emoji: Path, folder: Path, epochs: int) -> Path:
    """Return a project with the emoji in its store; made once."""
    project = folder / "project"
    if not (project / "data/augmented/policy.json").exists():
        shutil.rmtree(project, ignore_errors=True)
        project.mkdir(parents=True)
        copy_project(project)
        source = {"name": "folder", "path": str(emoji.resolve())}
        change(project, ingest={"source": source, "canvas": 40, "resize": "letterbox"}, augment={"views": VIEWS})
        training = {"epochs": epochs, "batch_size": 128, "optimizer": OPTIMIZER}
        change(project, pretrain=training, export={"variants": ["fp32"]}, linear_eval={"prompts": ["{}"]})
        for name in ("ingest", "augment"):
            stage(project, name)
    return project


def trained(base: Path, folder: Path, recipe: str, seed: int) -> Trained:
    """Return a run, which is made unless it is there."""
    project = folder / f"{recipe}-{seed}"
    if not (project / EXPORT / "backbone.onnx").exists():
        shutil.rmtree(project, ignore_errors=True)
        shutil.copytree(base, project)
        change(project, pretrain={"recipe": recipe, "seed": seed})
        for name in ("pretrain", "export"):
            used = stage(project, name)
            click.echo(f"{recipe}, seed {seed}: {name} took {used['seconds']:.0f} s of processor time", err=True)
    registry, backbone = load_registry(), project / EXPORT / "backbone.onnx"
    card = load_encoder(registry, project / PRETRAIN)[1]
    texts = open_texts(project / STORE, registry, card, backbone, l2_normalize=True, seed=seed)
    return Trained(project, Kept(partial(run, open_session(backbone))), texts)


def of_texts(clip: Trained, simclr: Trained) -> dict[str, Any]:
    """Return the figures of retrieval both ways, and of zero-shot classification."""
    texts, config = clip.texts, load(clip.project / "params.yaml")
    assert texts is not None
    images, pairs, learned = texts.asked.images, pair(texts.asked.captions), texts.learned
    ours = extract(clip.embed, images)
    spaces = {
        OURS: (ours, texts.texts(pairs.texts)),
        UNTRAINED: (extract(texts.untrained.images, images), texts.untrained.texts(pairs.texts)),
    }
    for name, embed in ((BAG, clip.embed), (FROM_IMAGES, simclr.embed)):
        words = fit_words(extract(embed, learned.images), learned.captions, learned.images.groups)
        assert words is not None
        spaces[name] = words.images(extract(embed, images)), words.texts(pairs.texts)
    found = retrieval_figures(spaces, pairs, images.groups, RESAMPLES, 0)
    data = read_labelled(clip.project / STORE)
    shot = zero_shot_figures(config.linear_eval, clip.embed, texts, data.test, data.classes)
    return {"retrieval": found, "zero_shot": shot}


def of_partners(clip: Trained, simclr: Trained, seed: int) -> dict[str, Any]:
    """Return the figures of finding another picture of the same emoji among all pictures of the test."""
    registry, (_, card) = load_registry(), load_encoder(load_registry(), simclr.project / PRETRAIN)
    data = read_labelled(clip.project / STORE)
    test = data.test.subset(np.flatnonzero(np.bincount(data.test.groups)[data.test.groups] > 1))
    right = _of_one_group(test)
    embeds: Mapping[str, Embed] = {
        "clip": clip.embed,
        "simclr": simclr.embed,
        "untrained": random_encoder(registry, card, True, seed, data.train.split),
        "colours": partial(colour_histogram, spec=test.spec),
    }
    ranks = {
        name: ranks_of_first_right(*[extract(embed, test)] * 2, right, but_itself=True)
        for name, embed in embeds.items()
    }
    asked = Asked(test.groups, right.sum(axis=1) - 1, len(test) - 1)
    return {**recall_figures(ranks, asked, RESAMPLES, 0, over="clip"), "chance": chance_figures(asked)}


def _of_one_group(test: Labelled) -> Any:
    from scipy.sparse import csr_array

    return csr_array(test.groups[:, None] == test.groups)


def table(title: str, found: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return the rows of a table in Markdown."""
    lines = [f"\n{title}\n", "| | R@1 | R@5 | R@10 | median rank |", "|---|---|---|---|---:|"]
    for name, figures in found.items():
        recalls = " | ".join(recall_words(figures, f"recall_at_{cut}") for cut in (1, 5, 10))
        lines.append(f"| {name} | {recalls} | {figures['median_rank']:.0f} |")
    return lines


def gain(found: Mapping[str, Mapping[str, float]], over: str) -> str:
    """Return by how much recall at 1 is higher than another's, in points."""
    value, low, high = (100 * found[over][f"gain_at_1{end}"] for end in ("", "_low", "_high"))
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}] over {over}"


@click.command()
@click.argument("emoji", type=click.Path(exists=True, path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--seeds", default=3, show_default=True)
@click.option("--epochs", default=40, show_default=True)
def main(emoji: Path, folder: Path, seeds: int, epochs: int) -> None:
    """Train on EMOJI, a .zip, in FOLDER, and print what is found."""
    base = prepare(emoji, folder, epochs)
    for seed in range(seeds):
        clip, simclr = (trained(base, folder, recipe, seed) for recipe in RECIPES)
        row = {**of_texts(clip, simclr), "partners": of_partners(clip, simclr, seed)}
        (folder / f"figures-{seed}.json").write_text(json.dumps(row, indent=1))
        shown = {
            "Images to texts": row["retrieval"]["image_to_text"],
            "Texts to images": row["retrieval"]["text_to_image"],
            "A picture to another of the same emoji": row["partners"],
        }
        for title, found in shown.items():
            click.echo("\n".join(table(f"{title}, seed {seed}", found)))
            gains = [gain(found, name) for name in found if "gain_at_1" in found[name]]
            click.echo(f"\nR@1 of {next(iter(found))} in points: {'; '.join(gains)}")
        click.echo(f"\n{zero_shot_line(row['zero_shot'])}")
        if seed == 0:
            draw(clip, folder / "emoji_text.png")


def draw(clip: Trained, path: Path) -> None:
    """Draw the emoji nearest to five texts, and the texts nearest to five emoji."""
    assert clip.texts is not None
    images, pairs = clip.texts.asked.images, pair(clip.texts.asked.captions)
    space = extract(clip.embed, images), clip.texts.texts(pairs.texts)
    draw_retrieval(lambda rows: displayed(images.images(rows), images.spec), pairs, space, path)


if __name__ == "__main__":
    main()
