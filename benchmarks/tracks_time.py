"""Does time help? Learn from frames of tracks with and without it: `python -m benchmarks.tracks_time FOLDER`.

FOLDER contains tracks.zip: frames of traffic signs that a car approaches, in 140 training tracks and 56 test tracks.
Their frame rate is unknown, so `--fps` sets it. Each recipe learns from the same frames, without labels, and its frozen
encoder is judged on frames of unseen tracks by

- kNN: a vote of the 20 nearest neighbours among all training frames, for each frame and for the mean embedding of each
  track;
- a linear probe on the frames of 1 or 5 labelled tracks per class, which are drawn several times.

Each recipe with each seed becomes a line of the file `--out` as soon as it is done, and is not run again. Several
processes can share the file: `--arm` and `--seed` select the runs of each process. At the end, gains over the baselines
are printed as JSON; `python -m benchmarks.tracks_time_page LINES` makes tables of the lines.
"""

import io
import json
import tempfile
import time
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression

from benchmarks.cells import Trained, append, device_name, of_settings, trained, undone
from benchmarks.tracks_time_page import MEASURES, summary
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.data.moments import Moment, Moments
from ssl_pipeline.data.store import Split
from ssl_pipeline.neighbours import nearest, unit
from ssl_pipeline.randomness import hash64
from ssl_pipeline.training.saving import write_report
from ssl_pipeline.types import Encoder

SIDE, DRAWS, NEIGHBOURS, TEMPERATURE = 32, 5, 20, 0.07
UPRIGHT = {"size": SIDE, "random_resized_crop": {"p": 1.0, "scale": [0.5, 1.0], "ratio": [0.85, 1.18]}}
COLOURS = {"color_jitter": {"p": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}}
CROPPED = {"random_resized_crop": {"p": 1.0, "scale": [0.2, 1.0], "ratio": [0.75, 1.333]}}
VIEWS = {"global": {"size": SIDE, **CROPPED, **COLOURS, "grayscale": {"p": 0.2}}, "plain": UPRIGHT}
"""Policies without mirroring, which would change the class of some signs."""
POLICIES = {kind: Policy.model_validate(policy) for kind, policy in VIEWS.items()}
ARMS: dict[str, dict[str, Any]] = {
    "random": {"recipe": "simclr", "epochs": 0},
    "simclr": {"recipe": "simclr"},
    "time_contrast": {"recipe": "time_contrast"},
    "frame_order": {"recipe": "frame_order"},
    "missing_frame": {"recipe": "missing_frame"},
}
SHOWN = ("loss", "pretext_accuracy", "copied", "words_used", "negatives", "embedding_std", "effective_rank")


class Tracks(NamedTuple):
    """Frames of tracks.

    Attributes:
        frames: Pixels (n, 32, 32, 3), uint8.
        classes: Class of each frame (n,).
        tracks: Number of the track of each frame (n,).
        numbers: Number of each frame within its track (n,), from 0.
    """

    frames: npt.NDArray[np.uint8]
    classes: npt.NDArray[np.int64]
    tracks: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.int64]

    @property
    def class_of_track(self) -> npt.NDArray[np.int64]:
        """Class of each track (t,)."""
        return self.classes[np.unique(self.tracks, return_index=True)[1]]


def read(archive: Path) -> dict[str, Tracks]:
    """Return the tracks of each split."""
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
    """Return the frames as a pool for training, with the moment of each frame."""
    ids = hash64("tracks", np.arange(len(tracks.frames)))
    order = np.argsort(ids)
    moments = Moments.of(Moment(str(tracks.tracks[row]), float(tracks.numbers[row] / fps)) for row in order)
    shares = tracks.frames / 255
    mean, std = (tuple(map(float, part)) for part in (shares.mean((0, 1, 2)), shares.std((0, 1, 2))))
    return Split("train", SIDE, ids[order], mean, std, "tracks", (tracks.frames[order],), moments=moments)


@torch.no_grad()
def embedded(encoder: Encoder, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return embeddings (n, D) of unit length."""
    device = next(encoder.parameters()).device
    images = torch.from_numpy(frames).permute(0, 3, 1, 2)
    return unit(np.concatenate([encoder(part.to(device).float() / 255).cpu().numpy() for part in images.split(256)]))


def voted(bank: npt.NDArray[np.float32], classes: npt.NDArray[np.int64], queries: npt.NDArray[np.float32]) -> Any:
    """Return the classes by a weighted vote of neighbours (Wu et al. 2018, 1805.01978, section 3.4)."""
    similarities, places = nearest(bank, queries, NEIGHBOURS)
    votes = np.zeros((len(queries), classes.max() + 1))
    np.add.at(votes, (np.arange(len(queries))[:, None], classes[places]), np.exp(similarities / TEMPERATURE))
    return votes.argmax(axis=1)


def means(values: npt.NDArray[np.float32], tracks: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return the mean of each track (t, D), scaled to unit length."""
    return unit(np.stack([values[tracks == track].mean(axis=0) for track in np.unique(tracks)]))


def judged(encoder: Encoder, train_: Tracks, test: Tracks, seed: int) -> dict[str, npt.NDArray[np.float64]]:
    """Return the share of correct answers for each test track (t,), by measure."""
    bank, queries = embedded(encoder, train_.frames), embedded(encoder, test.frames)

    def of_tracks(right: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        return np.bincount(test.tracks, right) / np.bincount(test.tracks)

    voted_for_tracks = voted(bank, train_.classes, means(queries, test.tracks))
    found = {
        "kNN": of_tracks(voted(bank, train_.classes, queries) == test.classes),
        "kNN, tracks": (voted_for_tracks == test.class_of_track).astype(float),
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
    assert tuple(found) == MEASURES
    return found


def figures_of(run: Trained) -> dict[str, float]:
    """Return the last values of some curves."""
    row = run.history.rows[-1] if run.history else {}
    return {name: float(f"{value:.3g}") for name, value in row.items() if name in SHOWN}


@click.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="File that keeps lines of JSON.")
@click.option("--arm", "arms", multiple=True, type=click.Choice(list(ARMS)), help="Recipe; all by default.")
@click.option("--seed", "seeds", multiple=True, type=int, default=range(5), help="Seed; 0 to 4 by default.")
@click.option("--epochs", type=int, default=10, show_default=True, help="Number of epochs.")
@click.option("--batch", type=int, default=256, show_default=True, help="Number of frames per step.")
@click.option("--fps", type=float, default=10.0, show_default=True, help="Assumed frames per second.")
@click.option("--pictures", type=click.Path(path_type=Path), help="Folder for curves and pictures of each run.")
def main(
    folder: Path,
    out: Path | None,
    arms: tuple[str, ...],
    seeds: tuple[int, ...],
    epochs: int,
    batch: int,
    fps: float,
    pictures: Path | None,
) -> None:
    """Learn from the tracks in FOLDER, and append the results to a file."""
    settings, out = {"epochs": epochs, "batch": batch, "fps": fps}, out or Path(tempfile.mkdtemp(), "tracks.jsonl")
    splits = read(folder / "tracks.zip")
    pool, test = pool_of(splits["train"], fps), splits["test"]
    for arm, seed in undone(out, arms or ARMS, seeds, settings):
        began = time.monotonic()
        run = trained(pool, POLICIES, {"epochs": epochs, "batch_size": batch, "seed": seed, **ARMS[arm]})
        right = judged(run.task.encoder.eval(), splits["train"], test, seed)
        line = {
            "arm": arm,
            "seed": seed,
            **settings,
            "device": device_name(),
            "seconds": round(time.monotonic() - began, 1),
            "curves": figures_of(run),
            "classes": test.class_of_track.tolist(),
            "right": {name: values.round(6).tolist() for name, values in right.items()},
        }
        append(out, line)
        click.echo(f"{arm}, seed {seed}: {line['seconds']} s, {line['curves']}", err=True)
        if pictures and run.history:
            write_report(pictures / f"{arm}-{seed}", run.task, run.config, run.history, pool, POLICIES)
    for gain in summary(of_settings(out, settings)):
        click.echo(json.dumps(gain))


if __name__ == "__main__":
    main()
