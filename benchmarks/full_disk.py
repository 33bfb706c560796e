"""Run each stage on a full disk, then on a read-only one, and check its messages and its products.

    python -m benchmarks.full_disk [STAGE ...]        (as root on Linux: it mounts a file system in memory)

The pipeline runs once, quickly, on a folder of images in that file system. Then, for each stage, a ballast file leaves
only some bytes free, and the stage runs again on changed parameters or images. It must exit with status 1, one message
and no traceback, leave all products unchanged and leave no unfinished file. The inventory is so small that it may
succeed instead, because it does not have to store its hashes. Without the ballast, each stage must succeed. Each trial
prints a line of JSON.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from sklearn.datasets import load_digits

from benchmarks.project import change, copy_project, environment
from ssl_pipeline.products import sha256
from ssl_pipeline_stages import STAGES

DISK_MB = 512
FREE = (0, 20_000, 300_000)
QUICK: dict[str, dict[str, Any]] = {
    "ingest": {"source": {"name": "folder", "path": "images"}},
    "pretrain": {"epochs": 6, "warmup": 1 / 6, "on_collapse": "warn"},
    "linear_eval": {"strengths": [0.01, 1.0], "bootstrap": 100},
    "finetune": {"budgets": [5], "draws": 2, "steps": 8, "learning_rates": [1e-3], "epochs": 1},
}
SEEDS = ("ingest", "augment", "pretrain", "curate", "linear_eval", "finetune")  # sections with a seed


def run(folder: Path, stage: str) -> "subprocess.CompletedProcess[str]":
    words = (sys.executable, "-m", "ssl_pipeline", stage)
    return subprocess.run(words, cwd=folder, env=environment(), capture_output=True, text=True, check=False)


def write_images(folder: Path, numbers: range) -> None:
    data = load_digits()
    for number in numbers:
        path = folder / "images" / str(data.target[number]) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((data.images[number] * 15.9).astype("uint8")).save(path)


def contents(folder: Path) -> dict[str, str]:
    roots = [folder / name for name in ("data", "models", "reports")]
    return {str(path.relative_to(folder)): sha256(path) for root in roots for path in root.rglob("*") if path.is_file()}


def unfinished(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob("*.tmp") if ".dvc" not in path.parts]


@contextmanager
def mounted(folder: Path) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
        subprocess.run(["umount", folder], check=True)


@contextmanager
def nearly_full(disk: Path, free: int) -> Iterator[None]:
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free - free)
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)


def judge(folder: Path, stage: str, state: str) -> bool:
    before = contents(folder)
    done = run(folder, stage)
    facts = {
        "stage": stage,
        "disk": state,
        "status": done.returncode,
        "traceback": "Traceback" in done.stderr,
        "products_kept": contents(folder) == before,
        "unfinished": unfinished(folder),
        "said": done.stderr.strip().splitlines()[-1:],
    }
    print(json.dumps(facts), flush=True)
    told = done.returncode == 1 and not facts["traceback"] and "error: " in done.stderr
    well = stage == "inventory" and done.returncode == 0
    return bool((well or (told and facts["products_kept"])) and not facts["unfinished"])


def main(chosen: Sequence[str]) -> None:
    good = []
    with tempfile.TemporaryDirectory() as scratch, mounted(Path(scratch)):
        disk, folder = Path(scratch), Path(scratch) / "project"
        copy_project(folder)
        change(folder, **QUICK)
        write_images(folder, range(600))
        for stage in STAGES:
            if run(folder, stage).returncode:
                sys.exit(f"{stage} fails although the disk has space")
        for stage in chosen:
            if stage in SEEDS:
                change(folder, **{stage: {"seed": 1}})
            if stage == "inventory":
                write_images(folder, range(600, 610))
            for free in FREE:
                with nearly_full(disk, free):
                    good.append(judge(folder, stage, f"{free} bytes free"))
            with read_only(disk):
                good.append(judge(folder, stage, "read-only"))
            good.append(run(folder, stage).returncode == 0)
    print(f"{sum(good)} of {len(good)} trials ended as expected")
    sys.exit(not all(good))


if __name__ == "__main__":
    main(sys.argv[1:] or list(STAGES))
