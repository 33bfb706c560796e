"""Emoji and their keywords: `python -m benchmarks.emoji_text EMOJI FOLDER --out LINES`.

EMOJI is a .zip with pictures of emoji by two artists and a labels.csv with their captions, as docs/text.md describes.
The test set consists of whole emoji: both pictures, name and keywords. FOLDER stores the decoded images and SimCLR's
encoders; EMOJI is not read if the images are already in FOLDER.

`clip`, `siglip` and `slip` learn from images and captions, `simclr` from images alone. `lit` trains a text tower for
the frozen encoder of `simclr` with the same seed; if that encoder does not exist yet, it is trained first. All arms use
the same image network, the same number of epochs and views of 32 px. On unseen emoji they are evaluated by three tasks:
retrieval of texts by images and of images by texts, compared with untrained towers (`random`), with a linear map from
the frozen encoder to a bag of words, and with chance; zero-shot classification by the names of the classes; and
retrieval of the other artist's picture of the same emoji by a picture.

The file `--out` gets a line for each arm and seed as soon as it is finished. Those with a line are not run again, so
several processes can share the work: choose each one's part with `--arm` and `--seed`. At the end the gains are printed
as JSON; `python -m benchmarks.emoji_text_page LINES` makes tables of the lines.
"""

import json
import os
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import torch
import yaml

from benchmarks.cells import Trained, append, device_name, of_settings, trained, undone
from benchmarks.emoji_text_page import summary
from benchmarks.project import ROOT
from ssl_pipeline.artifacts.files import save_weights
from ssl_pipeline.augment.display import displayed
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.config import IngestConfig
from ssl_pipeline.data.decode import Canvas
from ssl_pipeline.data.framing import read_framing
from ssl_pipeline.data.ingest import Shares, ingest
from ssl_pipeline.data.labelled import read_labelled
from ssl_pipeline.data.store import open_split
from ssl_pipeline.deployment.from_pixels import FromPixels, embedding
from ssl_pipeline.deployment.text_graph import OfTokens
from ssl_pipeline.evaluation.features import Embed, Kept, embedder, extract
from ssl_pipeline.evaluation.linear.baselines import colour_histogram
from ssl_pipeline.evaluation.retrieval.bag_of_words import fit_words
from ssl_pipeline.evaluation.retrieval.inputs import Towers, captioned, untrained_towers
from ssl_pipeline.evaluation.retrieval.ranks import pair, ranks_of_first_right
from ssl_pipeline.evaluation.retrieval.recalls import Asked, chance_figures
from ssl_pipeline.evaluation.retrieval.text_pictures import draw_retrieval
from ssl_pipeline.evaluation.retrieval.zero_shot import class_embeddings, classify
from ssl_pipeline.loading import load_registry, load_source
from ssl_pipeline.training.preparation import describe_run

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
"""Views without flips, which turn arrows and flags into different ones."""
POLICIES = {kind: Policy.model_validate(policy) for kind, policy in VIEWS.items()}
OPTIMIZER = {"name": "adamw", "learning_rate": 1e-3, "weight_decay": 0.05, "momentum": 0.9}
FROZEN = {"image_tower": "frozen", "out_dim": None}
ARMS: dict[str, dict[str, Any]] = {
    "random": {"recipe": "clip", "epochs": 0},
    "simclr": {"recipe": "simclr"},
    "clip": {"recipe": "clip"},
    "siglip": {"recipe": "siglip"},
    "slip": {"recipe": "slip"},
    "lit": {"recipe": "clip", "pretext_task": FROZEN},
}
Ranks = dict[str, npt.NDArray[np.int64]]


def stored(emoji: Path, folder: Path) -> Path:
    """Return the store of the emoji; the first of several processes makes it."""
    store = folder / "ingested" / "store"
    if not store.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix="ingested.") as scratch:
            values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["ingest"]
            source = {"name": "folder", "path": str(emoji.resolve())}
            section = IngestConfig.model_validate({**values, "source": source, "canvas": 40, "resize": "letterbox"})
            shape = section.canvas, section.resize, section.background, section.min_side, section.max_megapixels
            shares = Shares(section.seed, section.val_fraction, section.test_fraction, section.max_reject_fraction)
            images = load_source(section.source).open()
            made = Path(scratch, "made")
            made.mkdir()
            ingest(images, made, Canvas(*shape, section.pixels), shares, Path(scratch, "reports"), source=source)
            try:
                made.replace(folder / "ingested")
            except OSError:
                if not store.exists():  # otherwise another process was first
                    raise
    return store


def learned(store: Path, folder: Path, arm: str, seed: int, epochs: int, batch: int) -> Trained:
    """Train an arm; `lit` starts from the encoder of `simclr`, which is trained and saved if it does not exist yet."""
    pool = open_split(store, "train")
    values: dict[str, Any] = {"epochs": epochs, "batch_size": batch, "seed": seed}
    kept = folder / f"simclr-{seed}-{epochs}-{batch}.safetensors"
    if arm == "lit":
        if not kept.exists():
            learned(store, folder, "simclr", seed, epochs, batch)
        values["init"] = str(kept.resolve())
    run = trained(pool, POLICIES, {**values, "optimizer": OPTIMIZER, **ARMS[arm]})
    if arm == "simclr":
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            save_weights(Path(scratch, "encoder.safetensors"), run.task.encoder.state_dict())
            os.replace(Path(scratch, "encoder.safetensors"), kept)
    return run


class Judge:
    """Evaluation of an arm on the unseen emoji.

    Args:
        store: Path of the store of the emoji.
        run: Run to evaluate.
        seed: Seed of the run.
        untrained: Whether to replace the towers by untrained ones with calibrated batch norms.
    """

    def __init__(self, store: Path, run: Trained, seed: int, untrained: bool):
        registry, pool, framing = load_registry(), open_split(store, "train"), read_framing(store)
        card = describe_run(run.config, run.recipe, run.task, pool, framing, POLICIES, {})
        self.learned, self.asked = captioned(store, "train", 10_000), captioned(store, "test", 5_000)
        self.data, self.pairs = read_labelled(store), pair(self.asked.captions)
        self.towers: Towers | None = None
        if untrained:
            assert run.texts is not None
            towers = untrained_towers(
                registry, card, run.texts.tokenizer, self.learned.images, l2_normalize=True, seed=seed
            )
            self.embed: Embed = Kept(towers.images)
            self.towers = Towers(self.embed, towers.texts)
        else:
            self.embed = Kept(embedder(FromPixels(card, embedding(run.task.encoder, l2_normalize=True))))
            if run.texts is not None:
                self.towers = Towers(self.embed, texts_of(run))

    def retrieval(self) -> tuple[dict[str, Ranks], dict[str, Any]]:
        """Return the ranks of the first right answer in both directions by contestant, and facts about the queries."""
        images, pairs = self.asked.images, self.pairs
        ours = extract(self.embed, images)
        spaces: dict[str, Any] = {}
        if self.towers is not None:
            spaces["towers"] = ours, self.towers.texts(pairs.texts)
        words = fit_words(extract(self.embed, self.learned.images), self.learned.captions, self.learned.images.groups)
        assert words is not None
        spaces["bag_of_words"] = words.images(ours), words.texts(pairs.texts)
        right, to_images = pairs.right, pairs.right.T.tocsr()
        ranks: dict[str, Ranks] = {"image_to_text": {}, "text_to_image": {}}
        for name, (first, second) in spaces.items():
            ranks["image_to_text"][name] = ranks_of_first_right(first, second, right)
            ranks["text_to_image"][name] = ranks_of_first_right(second, first, to_images)[pairs.numbers]
        asked = {
            "image_to_text": Asked(images.groups, right.sum(axis=1), len(pairs.texts)),
            "text_to_image": Asked(images.groups[pairs.images], to_images.sum(axis=1)[pairs.numbers], pairs.count),
        }
        return ranks, asked

    def partners(self) -> tuple[Ranks, Asked]:
        """Return the rank of another picture of the same emoji among all test pictures, and facts about the queries."""
        from scipy.sparse import csr_array

        test = self.data.test.subset(np.flatnonzero(np.bincount(self.data.test.groups)[self.data.test.groups] > 1))
        right = csr_array(test.groups[:, None] == test.groups)
        embeds: dict[str, Embed] = {"images": self.embed, "colours": partial(colour_histogram, spec=test.spec)}
        ranks = {
            name: ranks_of_first_right(*[extract(embed, test)] * 2, right, but_itself=True)
            for name, embed in embeds.items()
        }
        return ranks, Asked(test.groups, right.sum(axis=1) - 1, len(test) - 1)

    def zero_shot(self) -> dict[str, Any]:
        """Return which test images are classified correctly by the bare names of the classes, and by the majority."""
        test, classes = self.data.test, self.data.classes
        found: dict[str, Any] = {"majority": (test.labels == np.bincount(test.labels).argmax()).astype(int).tolist()}
        if self.towers is not None:
            given = classify(extract(self.embed, test), class_embeddings(self.towers.texts, classes, ["{}"]))
            found["towers"] = (given == test.labels).astype(int).tolist()
        return {"groups": test.groups.tolist(), "classes": len(classes), "right": found}

    def draw(self, path: Path) -> None:
        """Draw the emoji nearest to five texts, and the texts nearest to five emoji."""
        assert self.towers is not None
        images = self.asked.images
        space = extract(self.embed, images), self.towers.texts(self.pairs.texts)
        draw_retrieval(lambda rows: displayed(images.images(rows), images.spec), self.pairs, space, path)


def texts_of(run: Trained) -> Any:
    """Return a function that embeds texts with the trained text tower of a run, on its device."""
    assert run.task.text_tower is not None
    assert run.texts is not None
    tokenizer, network = run.texts.tokenizer, OfTokens(run.task.text_tower, l2_normalize=True).eval()
    device = next(network.parameters()).device

    def embed(texts: Any) -> npt.NDArray[np.float32]:
        tokens, mask, _ = tokenizer.encode(texts)
        with torch.inference_mode():
            found = network(torch.from_numpy(tokens).to(device), torch.from_numpy(mask).to(device))
        return np.asarray(found.cpu().numpy())

    return embed


def found_by(judge: Judge) -> dict[str, Any]:
    """Return the results of an arm as they go into its line of JSON."""
    ranks, asked = judge.retrieval()
    ranks["partners"], asked["partners"] = judge.partners()
    return {
        "ranks": {way: {name: values.tolist() for name, values in found.items()} for way, found in ranks.items()},
        "groups": {way: each.groups.tolist() for way, each in asked.items()},
        "candidates": {way: each.candidates for way, each in asked.items()},
        "chance": {way: chance_figures(each) for way, each in asked.items()},
        "zero_shot": judge.zero_shot(),
    }


@click.command()
@click.argument("emoji", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@click.option("--out", type=click.Path(path_type=Path), help="File of JSON lines; default: emoji.jsonl in FOLDER.")
@click.option("--arm", "arms", multiple=True, type=click.Choice(list(ARMS)), help="Arm to train; all by default.")
@click.option("--seed", "seeds", multiple=True, type=int, default=range(3), help="Seed; 0 to 2 by default.")
@click.option("--epochs", type=int, default=40, show_default=True, help="Number of epochs.")
@click.option("--batch", type=int, default=128, show_default=True, help="Number of images per step.")
@click.option("--pictures", type=click.Path(path_type=Path), help="Folder for pictures of the nearest emoji and texts.")
def main(
    emoji: Path,
    folder: Path | None,
    out: Path | None,
    arms: tuple[str, ...],
    seeds: tuple[int, ...],
    epochs: int,
    batch: int,
    pictures: Path | None,
) -> None:
    """Train on EMOJI, a .zip, store images and encoders in FOLDER, and append the results to a file."""
    settings, folder = {"epochs": epochs, "batch": batch}, folder or Path(tempfile.mkdtemp())
    store, out = stored(emoji, folder), out or folder / "emoji.jsonl"
    for arm, seed in undone(out, arms or ARMS, seeds, settings):
        began = time.monotonic()
        run = learned(store, folder, arm, seed, epochs, batch)
        judge = Judge(store, run, seed, untrained=arm == "random")
        line = {"arm": arm, "seed": seed, **settings, "device": device_name()}
        found = found_by(judge)
        append(out, {**line, "seconds": round(time.monotonic() - began, 1), **found})
        click.echo(f"{arm}, seed {seed}: {time.monotonic() - began:.0f} s", err=True)
        if pictures and judge.towers is not None:
            pictures.mkdir(parents=True, exist_ok=True)
            judge.draw(pictures / f"{arm}-{seed}.png")
    for gain in summary(of_settings(out, settings)):
        click.echo(json.dumps(gain))


if __name__ == "__main__":
    main()
