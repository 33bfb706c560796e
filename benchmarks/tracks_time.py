"""Does time help? Frames of tracks, learned from with and without it: `python -m benchmarks.tracks_time FOLDER`.

FOLDER holds tracks.zip: frames of traffic signs while a car drives up to them, 140 tracks to learn from and 56 others
to judge by. Nothing says how fast they were taken; `--fps` says what a second is. Each recipe learns from the same
frames, without labels, and its encoder is frozen. It is judged on the frames of unseen tracks, by

- kNN: 20 neighbours among all training frames vote (and for a track its mean embedding);
- a linear probe that is given the frames of 1 or of 5 labelled tracks per class, drawn several times.

Accuracies are means over classes, draws and seeds. Intervals (95%) and those of the differences from SimCLR on single
frames are bootstrapped over the test tracks of each class: the frames of a track are no independent evidence.
"""

import io
import tempfile
import zipfile
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import numpy.typing as npt
import torch
import yaml
from PIL import Image
from sklearn.linear_model import LogisticRegression

from benchmarks.project import ROOT
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.config import PretrainSection
from ssl_pipeline.data.moments import Moment, Moments
from ssl_pipeline.data.store import Split
from ssl_pipeline.loading import load_registry
from ssl_pipeline.neighbours import nearest, unit
from ssl_pipeline.randomness import hash64
from ssl_pipeline.recipes import method_of
from ssl_pipeline.training.checkpoint import Checkpoints
from ssl_pipeline.training.optimization import build_optimizer
from ssl_pipeline.training.precision import Precision
from ssl_pipeline.training.preparation import build
from ssl_pipeline.training.pretraining import train
from ssl_pipeline.training.saving import write_report
from ssl_pipeline.types import Encoder

SIDE, DRAWS, NEIGHBOURS, TEMPERATURE, RESAMPLES = 32, 5, 20, 0.07, 2000
CPU = torch.device("cpu")
UPRIGHT = {"size": SIDE, "random_resized_crop": {"p": 1.0, "scale": [0.5, 1.0], "ratio": [0.85, 1.18]}}
COLOURS = {"color_jitter": {"p": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}}
CROPPED = {"random_resized_crop": {"p": 1.0, "scale": [0.2, 1.0], "ratio": [0.75, 1.333]}}
VIEWS = {"global": {"size": SIDE, **CROPPED, **COLOURS, "grayscale": {"p": 0.2}}, "plain": UPRIGHT}
"""No mirroring, which changes the class of some signs."""
ARMS: dict[str, dict[str, Any]] = {
    "random": {"recipe": "simclr", "epochs": 0},
    "simclr": {"recipe": "simclr"},
    "time_contrast": {"recipe": "time_contrast"},
    "frame_order": {"recipe": "frame_order"},
    "missing_frame": {"recipe": "missing_frame"},
}
MEASURES = ("kNN", "kNN, tracks", "1 track", "5 tracks")


class Tracks(NamedTuple):
    """Frames (n, 32, 32, 3), with their classes (n,), the numbers (n,) of their tracks and in these."""

    frames: npt.NDArray[np.uint8]
    classes: npt.NDArray[np.int64]
    tracks: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.int64]


def read(archive: Path) -> dict[str, Tracks]:
    """Return the tracks of both splits."""
    found: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    with zipfile.ZipFile(archive) as file:
        for name in sorted(name for name in file.namelist() if name.endswith(".jpg")):
            split, kind, track, frame = Path(name).parts[-4:]
            with Image.open(io.BytesIO(file.read(name))) as image:
                pixels = np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX))
            found[split].append((pixels, kind, track, frame))
    kinds = sorted({kind for rows in found.values() for _, kind, _, _ in rows})
    made = {}
    for split, rows in found.items():
        frames, of, tracks, _ = zip(*rows, strict=True)
        names = {name: number for number, name in enumerate(dict.fromkeys(tracks))}
        numbered = np.array([names[track] for track in tracks])
        places = np.arange(len(rows)) - np.searchsorted(numbered, numbered)
        classes = np.array([kinds.index(kind) for kind in of])
        made[split] = Tracks(np.stack(frames), classes, numbered, places)
    return made


def pool_of(tracks: Tracks, fps: float) -> Split:
    """Return the frames as a pool, each of them with its moment."""
    ids = hash64("tracks", np.arange(len(tracks.frames)))
    order = np.argsort(ids)
    moments = Moments.of(Moment(str(tracks.tracks[row]), float(tracks.numbers[row] / fps)) for row in order)
    shares = tracks.frames / 255
    mean, std = (tuple(map(float, part)) for part in (shares.mean((0, 1, 2)), shares.std((0, 1, 2))))
    return Split("train", SIDE, ids[order], mean, std, "tracks", (tracks.frames[order],), moments=moments)


def learned(arm: str, pool: Split, seed: int, epochs: int, batch: int, pictures: Path | None) -> Encoder:
    """Train the recipe of an arm on a pool, and return its encoder."""
    registry = load_registry()
    section = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["pretrain"]
    values = {
        **section,
        "seed": seed,
        "batch_size": batch,
        "epochs": epochs,
        "precision": "fp32",
        "on_collapse": "warn",
    } | ARMS[arm]
    untrained = values["epochs"] == 0
    method = method_of(registry, PretrainSection.model_validate(values | {"epochs": max(1, values["epochs"])}))
    policies = {kind: Policy.model_validate(policy) for kind, policy in VIEWS.items()}
    task, config = build(registry, method.recipe, method.pretrain, pool, policies), method.pretrain
    if not untrained:
        make_optimizer = partial(build_optimizer, registry, config.optimizer)
        with tempfile.TemporaryDirectory() as work:
            checkpoints = Checkpoints(Path(work), arm, {})
            with checkpoints.until_done():
                history = train(task, pool, policies, config, make_optimizer, Precision("fp32", CPU), checkpoints)
        if pictures:
            write_report(pictures / arm, task, config, history, pool, policies)
        figures = {name: f"{value:.3g}" for name, value in history.rows[-1].items() if name in SHOWN}
        click.echo(f"{arm}, seed {seed}: {figures}", err=True)
    return task.encoder.eval()


SHOWN = ("loss", "pretext_accuracy", "copied", "words_used", "negatives", "embedding_std", "effective_rank")


@torch.no_grad()
def embedded(encoder: Encoder, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return embeddings (n, D) of unit length."""
    images = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    return unit(np.concatenate([encoder(part).numpy() for part in images.split(256)]))


def voted(bank: npt.NDArray[np.float32], classes: npt.NDArray[np.int64], queries: npt.NDArray[np.float32]) -> Any:
    """Return the classes that weighted neighbours vote for (Wu et al. 2018, 1805.01978, section 3.4)."""
    similarities, places = nearest(bank, queries, NEIGHBOURS)
    votes = np.zeros((len(queries), classes.max() + 1))
    np.add.at(votes, (np.arange(len(queries))[:, None], classes[places]), np.exp(similarities / TEMPERATURE))
    return votes.argmax(axis=1)


def means(values: npt.NDArray[np.float32], tracks: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return the mean (t, D) of each track, of unit length."""
    return unit(np.stack([values[tracks == track].mean(axis=0) for track in np.unique(tracks)]))


def judged(encoder: Encoder, train_: Tracks, test: Tracks, seed: int) -> dict[str, npt.NDArray[np.float64]]:
    """Return the share of right answers (t,) of each test track by each measure."""
    bank, queries = embedded(encoder, train_.frames), embedded(encoder, test.frames)

    def of_tracks(right: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        return np.bincount(test.tracks, right) / np.bincount(test.tracks)

    classes = np.array([test.classes[test.tracks == track][0] for track in np.unique(test.tracks)])
    found = {
        "kNN": of_tracks(voted(bank, train_.classes, queries) == test.classes),
        "kNN, tracks": (voted(bank, train_.classes, means(queries, test.tracks)) == classes).astype(float),
    }
    for count in (1, 5):
        shares = []
        for draw in range(DRAWS):
            random, chosen = np.random.default_rng([seed, draw]), []
            for kind in np.unique(train_.classes):
                chosen += random.choice(np.unique(train_.tracks[train_.classes == kind]), count, replace=False).tolist()
            rows = np.isin(train_.tracks, chosen)
            probe = LogisticRegression(C=10.0, max_iter=200).fit(bank[rows], train_.classes[rows])
            shares.append(of_tracks(probe.predict(queries) == test.classes))
        found[f"{count} track{'s' * (count > 1)}"] = np.mean(shares, axis=0)
    return found


def interval(values: npt.NDArray[np.float64], classes: npt.NDArray[np.int64]) -> tuple[float, float, float]:
    """Return the mean over classes of values (t,) of tracks, and its 95% bootstrap interval over tracks."""
    random, by_class = np.random.default_rng(0), [values[classes == kind] for kind in np.unique(classes)]
    resampled = np.mean(
        [of[random.integers(len(of), size=(RESAMPLES, len(of)))].mean(axis=1) for of in by_class], axis=0
    )
    low, high = np.quantile(resampled, [0.025, 0.975])
    return float(np.mean([of.mean() for of in by_class])), float(low), float(high)


@click.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.option("--seeds", type=int, default=5, help="Number of seeds, each a training of its own.")
@click.option("--epochs", type=int, default=40, help="Passes over the training frames.")
@click.option("--batch", type=int, default=256, help="Frames per step.")
@click.option("--fps", type=float, default=10.0, help="Frames per second of a track.")
@click.option("--arm", "arms", multiple=True, type=click.Choice(list(ARMS)), help="Arms; all unless some are named.")
@click.option("--pictures", type=click.Path(path_type=Path), help="A folder for the reports of the first seed.")
def main(
    folder: Path, seeds: int, epochs: int, batch: int, fps: float, arms: tuple[str, ...], pictures: Path | None
) -> None:
    """Print a table of recipes on the tracks in FOLDER."""
    splits = read(folder / "tracks.zip")
    pool, test = pool_of(splits["train"], fps), splits["test"]
    classes = np.array([test.classes[test.tracks == track][0] for track in np.unique(test.tracks)])
    found: dict[str, dict[str, Any]] = {}
    for arm in arms or tuple(ARMS):
        rows = []
        for seed in range(seeds):
            encoder = learned(arm, pool, seed, epochs, batch, pictures if seed == 0 else None)
            rows.append(judged(encoder, splits["train"], test, seed))
        found[arm] = {name: np.mean([row[name] for row in rows], axis=0) for name in MEASURES}
        of_seeds = {name: [f"{interval(row[name], classes)[0]:.1%}" for row in rows] for name in MEASURES}
        click.echo(f"{arm}: by seed {of_seeds}", err=True)
    click.echo("| recipe | " + " | ".join(MEASURES) + " |\n|---|" + "---|" * len(MEASURES))
    for arm, values in found.items():
        cells = ["{:.1%} ({:.1%} to {:.1%})".format(*interval(values[name], classes)) for name in MEASURES]
        click.echo(f"| `{arm}` | " + " | ".join(cells) + " |")
        if arm not in ("simclr", "random") and "simclr" in found:
            gains = [interval(values[name] - found["simclr"][name], classes) for name in MEASURES]
            cells = ["{:+.1%} ({:+.1%} to {:+.1%})".format(*gain) for gain in gains]
            click.echo(f"| {arm} - simclr | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
