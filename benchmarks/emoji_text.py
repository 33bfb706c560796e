"""Emoji and their keywords: `python -m benchmarks.emoji_text EMOJI FOLDER --out LINES`.

EMOJI is a .zip with pictures of emoji by two artists and a labels.csv with their captions, as docs/text.md describes
it. Whole emoji are kept for the test: both pictures, name and keywords. FOLDER keeps the decoded images, and SimCLR's
encoders; EMOJI is not read where the images are there.

`clip`, `siglip` and `slip` learn from images and captions; `simclr` from images alone; `lit` teaches a text tower to
read the frozen encoder of `simclr` with the same seed, which is trained first unless it is there. All have the same
network and as many epochs, each view of an image at 32 px. Asked are: texts of unseen emoji by their images and images
by their texts, beside untrained towers (`random`), a linear map from the frozen encoder to a bag of words, and chance;
the class of an image by the names of classes; and the other artist's picture of the same emoji by a picture.

Each arm with each seed is a line of the file `--out` as soon as it is done; one that is there is not done again, so
that processes may share them: `--arm` and `--seed` say which ones are this process's. At the end gains are printed as
JSON; `python -m benchmarks.emoji_text_page LINES` makes tables of the lines.
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
"""Without flips, which turn arrows and flags into others."""
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
    """Return the store of the emoji; made once, whichever of several processes is first."""
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
    """Train an arm; `lit` from the encoder of `simclr`, which is trained and kept unless it is there."""
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
    """What an arm is asked about the unseen emoji.

    Args:
        store: The store of the emoji.
        run: The run that is judged.
        seed: Its seed.
        untrained: Whether its towers are to have random weights, with the batch norms calibrated.
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
        """Return the ranks of the first right answer both ways, by each contestant, and of whom each was asked."""
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
        """Return at which rank another picture of the same emoji is, among all pictures of the test."""
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
        """Return which test images are classified rightly by the bare names of the classes, and the largest class."""
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
    """Return what embeds texts with a trained text tower, on its device."""
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
    """Return all that a line says of an arm, as JSON has it."""
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
@click.option("--out", type=click.Path(path_type=Path), help="The file that keeps lines of JSON.")
@click.option("--arm", "arms", multiple=True, type=click.Choice(list(ARMS)), help="Arms; all unless some are named.")
@click.option("--seed", "seeds", multiple=True, type=int, default=range(3), help="Seeds; 0 to 2 unless named.")
@click.option("--epochs", type=int, default=40, show_default=True, help="Passes over the training images.")
@click.option("--batch", type=int, default=128, show_default=True, help="Images per step.")
@click.option("--pictures", type=click.Path(path_type=Path), help="A folder for what is nearest, of each arm and seed.")
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
    """Learn from EMOJI, a .zip, with FOLDER for what is kept, and append what is found to a file."""
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
