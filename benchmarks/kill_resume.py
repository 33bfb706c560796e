"""Kill the pipeline repeatedly, and check that its products are bit-identical in the end.

    python -m benchmarks.kill_resume [KILLS]

In a copy of the project, `dvc repro` runs once undisturbed, with two epochs. Chains of ten runs follow, each in a fresh
copy. Every run of a chain except the last is killed at a random moment, and the next one starts immediately. The
process of the stage, dvc, and the whole process group take turns in receiving SIGKILL or SIGTERM, and the group also
receives SIGINT twice, as if Ctrl-C had been pressed twice in a terminal. After a chain, every product must equal that
of the undisturbed run, and no temporary file, checkpoint or process may be left. Checkpoints are written after every
step, so that some kills interrupt the writing of a checkpoint.
"""

import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.project import change, copy_project, environment
from ssl_pipeline.products import sha256

CHAIN = 10
KILLS = (
    ("stage", signal.SIGKILL),
    ("dvc", signal.SIGKILL),
    ("group", signal.SIGKILL),
    ("stage", signal.SIGTERM),
    ("dvc", signal.SIGTERM),
    ("group", signal.SIGTERM),
    ("group", signal.SIGINT),
)
QUICK = {
    "pretrain": {
        "backbone": {"name": "resnet_cifar", "depth": 8, "width": 8},  # half the width, for speed
        "epochs": 2,
        "warmup": 0.0,
        "checkpoint_minutes": 0.0,
        "on_collapse": "warn",
    },
    "linear_eval": {"bootstrap": 100, "strengths": [1.0], "clusters": {"images": 200, "runs": 2, "view": "plain"}},
    "finetune": {"budgets": [1], "draws": 2, "steps": 2, "epochs": 1, "learning_rates": [1e-2], "strengths": [1.0]},
}


def start(folder: Path) -> "subprocess.Popen[bytes]":
    words = ("dvc", "repro", "-q")
    quiet = subprocess.DEVNULL
    return subprocess.Popen(words, cwd=folder, env=environment(), start_new_session=True, stdout=quiet, stderr=quiet)


def run(folder: Path, *words: str) -> None:
    """Run a command until it ends; exit with its output if it fails."""
    done = subprocess.run(words, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)} failed:\n{done.stdout}{done.stderr}")


def products(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every product, including hidden files, by its path relative to the folder."""
    files = (path for root in ("data", "models", "reports") for path in (folder / root).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha256(path) for path in files}


def processes(folder: Path) -> list[str]:
    """Return the command lines of the processes whose working directory is the folder."""
    found = []
    for process in psutil.process_iter(["cwd", "cmdline", "status"]):
        if process.info["cwd"] == str(folder) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(" ".join(process.info["cmdline"] or ["?"]))
    return found


def kill(folder: Path, delay: float, victim: str, number: signal.Signals) -> str | None:
    """Start the pipeline and kill a part of it after `delay` seconds.

    Returns:
        The name of the stage that was running; None if the pipeline had already ended.
    """
    dvc = start(folder)
    time.sleep(delay)
    if dvc.poll() is not None:
        return None
    stage, name = None, "between stages"
    for child in psutil.Process(dvc.pid).children(recursive=True):
        words = child.cmdline() if child.is_running() else []
        command = next((place for place, word in enumerate(words) if Path(word).name == "ssl-pipeline"), None)
        if command is not None:
            stage, name = child, words[command + 1]
            break
    if victim == "stage" and stage:
        stage.send_signal(number)
    elif victim == "group":
        os.killpg(dvc.pid, number)
    else:
        dvc.send_signal(number)
    if number == signal.SIGINT:
        time.sleep(0.2)
        if dvc.poll() is None:
            os.killpg(dvc.pid, number)
    dvc.wait()
    return name


def left(folder: Path) -> list[str]:
    """Return what a chain should not leave behind: processes that still run after 20 s, and files in `.work`."""
    deadline = time.monotonic() + 20
    while processes(folder) and time.monotonic() < deadline:
        time.sleep(0.2)
    work = {path.name for path in (folder / ".work").iterdir()} - {"lock", "hashes.sqlite"}
    return [*processes(folder), *sorted(work)]


def chain(
    folder: Path, delays: Iterator[float], kills: Iterator[tuple[str, signal.Signals]], most: int
) -> Counter[str]:
    """Kill one run after another in a folder, until the pipeline has finished or `most` runs have been killed.

    Returns:
        Number of kills for each combination of stage, victim and signal.
    """
    counts: Counter[str] = Counter()
    while counts.total() < most:
        victim, number = next(kills)
        stage = kill(folder, next(delays), victim, number)
        if stage is None:
            break
        counts[f"{stage}: {victim} {number.name}"] += 1
    return counts


def main(kills: int) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell inherit that it is ignored
    counts: Counter[str] = Counter()
    order, random_number = itertools.cycle(KILLS), random.Random(0)
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        base, reference = Path(scratch) / "base", Path(scratch) / "reference"
        copy_project(base)
        change(base, **QUICK)
        run(base, "git", "init", "-q")
        shutil.copytree(base, reference, symlinks=True)
        began = time.monotonic()
        run(reference, "dvc", "repro", "-q")
        duration = time.monotonic() - began
        wanted = products(reference)
        print(f"undisturbed: {duration:.1f} s, {len(wanted)} files", flush=True)
        delays = iter(lambda: random_number.uniform(0.02, 0.5) * duration, None)
        for number in itertools.count(1):
            folder = Path(scratch) / "killed"
            shutil.copytree(base, folder, symlinks=True)
            found_stages = chain(folder, delays, order, min(CHAIN - 1, kills - counts.total()))
            counts += found_stages
            run(folder, "dvc", "repro", "-q")
            found, remains = products(folder), left(folder)
            different = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
            failed += bool(different or remains)
            print(f"chain {number}: {found_stages.total()} kills, {different or 'identical'}", *remains, flush=True)
            shutil.rmtree(folder)
            if counts.total() >= kills:
                break
    for moment, count in sorted(counts.items()):
        print(f"{count:4d}  {moment}")
    print(f"{counts.total()} kills in {number} chains; {failed} chains did not end like the undisturbed run")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
