"""How many planted faults `curate` finds, and how much labels help, depending on how the images were chosen.

    python -m benchmarks.curation_study DATA WORK [--only copies] [--only labels] [--set tracks]

DATA and WORK are the folders that were passed to `benchmarks.curation prepare`.
"""

import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.stats import t
from sklearn.metrics import roc_auc_score

from benchmarks.near_copies import encode, scale
from ssl_pipeline.curation.catalogue import Catalogue, read_catalogue
from ssl_pipeline.curation.finding import Seen
from ssl_pipeline.curation.label_errors import find_label_errors, folds_of, out_of_fold
from ssl_pipeline.curation.label_next import choose_next
from ssl_pipeline.curation.near_duplicates import find_near_duplicates
from ssl_pipeline.curation.neighbourhood import look_around
from ssl_pipeline.curation.outliers import outlier_scores
from ssl_pipeline.data.decode import Canvas, read_pixels, to_canvas
from ssl_pipeline.data.framing import read_framing
from ssl_pipeline.data.store import images_at
from ssl_pipeline.deployment.runtime import open_session, run
from ssl_pipeline.evaluation.linear_probe import fit_at
from ssl_pipeline.neighbours import unit

Features = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]

COPIED, DRAWS = 300, 10
PAIRS = 8  # pairs of views per image
BUDGETS = (20, 50, 100, 200)
STRENGTH = 0.1
GUESTS = ("emoji", "cifar10", "tracks")


def crop(image: Image.Image, side: float) -> Image.Image:
    left, top = (round(length * (1 - side) / 2) for length in image.size)
    return image.crop((left, top, image.width - left, image.height - top))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    **{f"JPEG {quality}": partial(encode, quality=quality) for quality in (75, 50, 30)},
    **{f"x {factor:g}": partial(scale, factor=factor) for factor in (0.5, 2)},
    **{f"crop {100 * side:.0f}%": partial(crop, side=side) for side in (0.97, 0.95, 0.9)},
}


class Prepared:
    """A project made by `benchmarks.curation prepare`, ready to embed further images."""

    def __init__(self, project: Path):
        store, backbone = project / "data/ingested/store", project / "models/export/backbone.onnx"
        self.catalogue: Catalogue = read_catalogue(store, backbone)
        self.session, self.framing = open_session(backbone), read_framing(store)
        self.energy = open_session(backbone.with_name("energy.onnx"))
        kind = "global" if len(self.energy.get_inputs()) == 2 else "plain"
        self.views = open_session(project / f"data/augmented/augment_{kind}.onnx")
        white = 255, 255, 255
        self.canvas = Canvas(self.framing.canvas, self.framing.resize, white, min_side=8, max_megapixels=100)

    def read(self, archive: zipfile.ZipFile, name: str) -> Image.Image:
        return Image.fromarray(read_pixels(archive.read(name), self.canvas)[0])

    def fit(self, images: Sequence[Image.Image]) -> npt.NDArray[np.uint8]:
        return np.stack([np.asarray(to_canvas(image.convert("RGB"), *self._shape)) for image in images])

    def embed(self, images: Sequence[Image.Image]) -> Features:
        return unit(run(self.session, self.fit(images)))

    def energies(self, canvases: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Return the energy (n,) of each image: the energy of the image itself, or the mean over pairs of its views."""
        if len(self.energy.get_inputs()) == 1:
            return run(self.energy, canvases).astype(np.float64)
        generator, found = np.random.default_rng(0), np.zeros(len(canvases))
        for _ in range(PAIRS):
            found += run(self.energy, *(self._views(canvases, generator) for _ in "ab")) / PAIRS
        return found

    def _views(self, canvases: npt.NDArray[np.uint8], generator: np.random.Generator) -> npt.NDArray[np.uint8]:
        uniforms = generator.random((len(canvases), self.views.get_inputs()[1].shape[1]), np.float32)
        views: npt.NDArray[np.float32] = self.views.run(None, {"images": canvases, "uniforms": uniforms})[0]
        return (255 * views).round().astype(np.uint8).transpose(0, 2, 3, 1)

    @property
    def _shape(self) -> tuple[Any, ...]:
        return self.canvas.size, self.canvas.resize, self.canvas.background


def copies(name: str, data: Path, project: Path) -> None:
    """Plant copies of some images, one kind at a time; print the share that is found, and the pairs without any."""
    prepared = Prepared(project)
    catalogue = prepared.catalogue
    alone = np.arange(len(catalogue))
    unplanted = find_near_duplicates(look_around(catalogue.embeddings, catalogue.groups), alone)
    click.echo(f"{name}: {len(catalogue):,} images, {len(unplanted.pairs)} pairs found before planting")
    some = np.random.default_rng(0).choice(len(catalogue), COPIED, replace=False)
    with zipfile.ZipFile(project / "images.zip") as archive:
        originals = [prepared.read(archive, catalogue.rows[number].path) for number in some]
    for kind, change in CHANGES.items():
        embeddings = np.concatenate([catalogue.embeddings, prepared.embed([change(image) for image in originals])])
        groups = np.concatenate([catalogue.groups, len(catalogue) + np.arange(COPIED)])
        found = find_near_duplicates(look_around(embeddings, groups), np.arange(len(embeddings)))
        hits = found.groups[some] == found.groups[len(catalogue) :]
        planted = dict(zip((len(catalogue) + np.arange(COPIED)).tolist(), some.tolist(), strict=True))
        before = {pair[:2] for pair in unplanted.pairs}
        new = [pair for pair in found.pairs if pair[:2] not in before and planted.get(pair.second) != pair.first]
        false = len(new)
        click.echo(f"  {kind:10} {np.mean(hits & (found.groups[some] >= 0)):.1%} found, {false} other pairs")


def foreign(host: str, guest: str, data: Path, project: Path) -> None:
    """Plant 1% of foreign images; print how many of the top outliers are foreign, by neighbours and by energy."""
    prepared = Prepared(project)
    own = prepared.catalogue.embeddings
    energies = prepared.energies(images_at(prepared.catalogue.splits, np.arange(len(own))))
    archive = zipfile.ZipFile(data / guest / {"cifar10": "test.zip"}.get(guest, f"{guest}.zip"))
    names = sorted(name for name in archive.namelist() if name.endswith((".png", ".jpg")))
    count, rows = round(0.01 * len(own)), []
    for draw in range(DRAWS):
        chosen = np.random.default_rng(draw).choice(len(names), count, replace=False)
        planted = [prepared.read(archive, names[number]) for number in chosen]
        embeddings = np.concatenate([own, prepared.embed(planted)])
        around = look_around(embeddings, np.arange(len(embeddings)))
        groups = find_near_duplicates(around, np.arange(len(embeddings))).groups
        is_foreign = np.arange(len(embeddings)) >= len(own)
        by_energy = np.concatenate([energies, prepared.energies(prepared.fit(planted))])
        rows.append(
            [
                figure
                for scores in (outlier_scores(around, groups), by_energy)
                for figure in (is_foreign[np.argsort(-scores)[:count]].mean(), roc_auc_score(is_foreign, scores))
            ]
        )
    figures = list(map(interval, np.transpose(rows)))
    click.echo(f"{guest} among {host}: {count} planted")
    for way, precision, auroc in (("neighbours", *figures[:2]), ("energy", *figures[2:])):
        click.echo(f"  by {way}: precision = recall {precision}, AUROC {auroc}")


def wrong_labels(name: str, data: Path, project: Path) -> None:
    """Plant 5% of wrong labels; print how many of them rank first, and how many are suspected."""
    catalogue = Prepared(project).catalogue
    classes, rows, clean = len(catalogue.classes), [], catalogue.labels
    around = look_around(catalogue.embeddings, catalogue.groups)
    seen = Seen(catalogue, around, find_near_duplicates(around, catalogue.near_copies))
    count, folds = round(0.05 * len(clean)), folds_of(seen.kin(), 0)
    for draw in range(3):
        generator = np.random.default_rng(draw)
        wrong = generator.choice(len(clean), count, replace=False)
        labels = clean.copy()
        labels[wrong] = (labels[wrong] + generator.integers(1, classes, count)) % classes
        chances = out_of_fold(catalogue.embeddings, labels, folds, classes)
        found, own = find_label_errors(chances, labels), chances[np.arange(len(labels)), labels]
        first, top = np.argsort(own, kind="stable")[:count], found.suspected[:count]
        right = (chances.argmax(axis=1) == clean).mean()
        among = np.isin(found.suspected, wrong)
        rows.append(
            (np.isin(first, wrong).mean(), np.isin(top, wrong).sum() / count, among.mean(), among.sum() / count, right)
        )
    words = ("by probability of the label", "first suspects", "precision of all suspects", "recall", "probe accuracy")
    said = ", ".join(f"{word} {interval(values)}" for word, values in zip(words, np.transpose(rows), strict=True))
    click.echo(f"{name}: {count:,} planted; {said}")


def spread(embeddings: Features, known: Numbers, count: int, seed: int, labels: Numbers, classes: int) -> Numbers:
    """Core-set: always choose the image that is farthest from all labelled images."""
    chosen = known.tolist() or [int(np.random.default_rng(seed).integers(len(embeddings)))]
    away = np.min([np.square(embeddings - embeddings[number]).sum(axis=1) for number in chosen], axis=0)
    while len(chosen) < len(known) + count:
        chosen.append(int(away.argmax()))
        away = np.minimum(away, np.square(embeddings - embeddings[chosen[-1]]).sum(axis=1))
    return np.array(chosen[len(known) :], np.int64)


def unsure(embeddings: Features, known: Numbers, count: int, seed: int, labels: Numbers, classes: int) -> Numbers:
    """Margin: choose typical images up to 50 labels, then those whose two most likely classes are closest."""
    if len(known) < 50:
        return shipped("typical", embeddings, known, count, seed, labels, classes)
    probe = fit_at(embeddings[known], labels[known], STRENGTH, class_count=classes)
    ordered = np.sort(probe.predict_proba(embeddings), axis=1)
    margins = ordered[:, -1] - ordered[:, -2]
    margins[known] = 2
    return np.argsort(margins, kind="stable")[:count]


def shipped(
    by: Any, embeddings: Features, known: Numbers, count: int, seed: int, labels: Numbers, classes: int
) -> Numbers:
    labelled = np.isin(np.arange(len(embeddings)), known)
    return choose_next(embeddings, labelled, count, seed, by).numbers


WAYS: dict[str, Callable[..., Numbers]] = {
    "random": partial(shipped, "random"),
    "typical": partial(shipped, "typical"),
    "spread": spread,
    "margin": unsure,
}


def label_next(name: str, data: Path, project: Path) -> None:
    """Choose labels in each way, first 20 and then up to 50, 100 and 200; print the accuracy of a probe."""
    catalogue = Prepared(project).catalogue
    test, labelled = np.array([row.split == "test" for row in catalogue.rows]), catalogue.labels >= 0
    pool, held = np.flatnonzero(~test & labelled), np.flatnonzero(test & labelled)
    embeddings, labels, classes = catalogue.embeddings[pool], catalogue.labels[pool], len(catalogue.classes)
    found = {way: np.zeros((DRAWS, len(BUDGETS))) for way in WAYS}
    for way, choose in WAYS.items():
        for draw in range(DRAWS):
            known = np.empty(0, np.int64)
            for column, budget in enumerate(BUDGETS):
                chosen = choose(embeddings, known, budget - len(known), draw, labels, classes)
                known = np.concatenate([known, chosen])
                probe = fit_at(embeddings[known], labels[known], STRENGTH, class_count=classes)
                right = probe.predict(catalogue.embeddings[held]) == catalogue.labels[held]
                found[way][draw, column] = right.mean()
        gains = found[way] - found["random"]
        cells = [
            f"{100 * found[way][:, column].mean():.1f} ({interval(100 * gains[:, column])})" for column in range(4)
        ]
        click.echo(f"{name} {way:8} " + " | ".join(cells))


def interval(values: Sequence[float] | npt.NDArray[np.float64]) -> str:
    """Return the mean over draws, and the half-width of its 95% interval, as text."""
    margin = t.isf(0.025, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):+.3g} ± {margin:.2g}"


STUDIES: dict[str, tuple[str, ...]] = {
    "copies": ("clothing", "cifar10", "emoji", "tracks"),
    "foreign": ("clothing",),
    "labels": ("clothing", "cifar10", "tracks"),
    "next": ("clothing", "cifar10", "tracks"),
}
"""Study -> the data sets on which it runs."""


@click.command(help=__doc__)
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.argument("work", type=click.Path(path_type=Path, exists=True))
@click.option("--only", multiple=True, type=click.Choice(list(STUDIES)), help="Study to run; all by default.")
@click.option("--set", "sets", multiple=True, type=click.Choice(STUDIES["copies"]), help="Set to use; all by default.")
def main(data: Path, work: Path, only: tuple[str, ...], sets: tuple[str, ...]) -> None:
    functions = {"copies": copies, "labels": wrong_labels, "next": label_next}
    for study in only or STUDIES:
        click.echo(f"-- {study}")
        for name in STUDIES[study]:
            if sets and name not in sets:
                continue
            if study == "foreign":
                for guest in GUESTS:
                    foreign(name, guest, data, work / name)
            else:
                functions[study](name, data, work / name)


if __name__ == "__main__":
    main()
