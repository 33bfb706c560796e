"""Kill pretraining again and again, and look whether what it leaves in the end is the same to the bit.

    python -m benchmarks.kill_resume [KILLS]

In a copy of the project, `dvc repro pretrain` runs once undisturbed. Then, for each kill, it is started afresh and
killed with SIGKILL at a moment spread evenly over the undisturbed run's wall time: in turns the stage's process, dvc,
and the whole process group. `dvc repro pretrain` is run again at once, and every file in models/pretrain and
reports/pretrain is compared with the undisturbed run's. A run that had no checkpoint yet proves nothing about resuming,
so how the second one began is printed too. Checkpoints are written after every step, so that kills fall into their
writing as well.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

from benchmarks.project import change, copy_project, environment
from ssl_pipeline.products import sha256

REPRO = ("dvc", "repro", "-q", "pretrain")
VICTIMS = ("stage", "dvc", "group")
PRETRAIN = {
    "backbone": {"name": "resnet_cifar", "depth": 8, "width": 8},  # half the width, for speed
    "epochs": 12,
    "warmup_epochs": 1,
    "checkpoint_minutes": 0.0,
}


def prepare(folder: Path) -> None:
    copy_project(folder)
    change(folder, pretrain=PRETRAIN)
    run(folder, "git", "init", "-q")
    run(folder, "dvc", "repro", "-q", "augment")


def run(folder: Path, *words: str) -> str:
    """Run a command to its end, and return what it said on stderr."""
    done = subprocess.run(words, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)} failed:\n{done.stdout}{done.stderr}")
    return done.stderr


def products(folder: Path) -> dict[str, str]:
    """Relative path -> SHA-256 of every file that pretrain makes."""
    roots = (folder / "models" / "pretrain", folder / "reports" / "pretrain")
    files = sorted(path for root in roots for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha256(path) for path in files}


def kill(folder: Path, delay: float, victim: str) -> str:
    """Start the pipeline, kill a part of it after `delay` seconds, and say how far it had come."""
    dvc = subprocess.Popen(
        REPRO,
        cwd=folder,
        env=environment(),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(delay)
    if dvc.poll() is not None:
        return "after its end"
    stages = [
        child for child in psutil.Process(dvc.pid).children(recursive=True) if "stages.pretrain" in child.cmdline()
    ]
    if victim == "group":
        os.killpg(dvc.pid, signal.SIGKILL)
    elif victim == "stage" and stages:
        stages[-1].kill()
    else:
        dvc.kill()
    dvc.wait()
    work = folder / ".work"
    if list(work.glob("*/checkpoint.tmp")):
        return "while writing a checkpoint"
    return "with a checkpoint" if list(work.glob("*/checkpoint.pt")) else "without a checkpoint"


def main(kills: int) -> None:
    moments: Counter[str] = Counter()
    restarts: Counter[str] = Counter()
    same: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        base, reference = Path(scratch) / "base", Path(scratch) / "reference"
        prepare(base)
        shutil.copytree(base, reference, symlinks=True)
        began = time.monotonic()
        run(reference, *REPRO)
        duration = time.monotonic() - began
        wanted = products(reference)
        print(f"undisturbed: {duration:.1f} s, {len(wanted)} files", flush=True)
        for number in range(kills):
            folder = Path(scratch) / "killed"
            shutil.copytree(base, folder, symlinks=True)
            victim, delay = VICTIMS[number % len(VICTIMS)], duration * (number + 0.5) / kills
            moment = kill(folder, delay, victim)
            resumed = re.search(r"going on from a checkpoint, after step (\d+)", run(folder, *REPRO))
            found = products(folder)
            different = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
            moments[moment] += 1
            same[victim] += not different
            start = f"resumed after step {resumed[1]}" if resumed else "started anew"
            restarts[start.partition(" ")[0]] += 1
            print(
                f"{number + 1:3d}  {victim:5s} {delay:6.2f} s  {moment}, {start}: {different or 'identical'}",
                flush=True,
            )
            shutil.rmtree(folder)
    print("killed " + ", ".join(f"{moment}: {count}" for moment, count in moments.most_common()))
    print("then " + ", ".join(f"{restart}: {count}" for restart, count in restarts.most_common()))
    print(f"identical: {sum(same.values())} of {kills} ({', '.join(f'{name} {same[name]}' for name in VICTIMS)})")
    sys.exit(sum(same.values()) != kills)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
