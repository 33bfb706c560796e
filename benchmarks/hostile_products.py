"""Damaged products between stages: a stage that reads one must report it, or make the same outputs as before.

The pipeline runs once, for a few epochs. Then, in a copy of the project, a file on which a stage depends according to
dvc.yaml is damaged or removed, and that stage runs.
"""

import json
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from benchmarks.mutations import damage
from benchmarks.project import change, copy_project, environment
from ssl_pipeline.products import sha256

__all__ = ["make_products", "try_product"]

QUICK: dict[str, dict[str, Any]] = {
    "pretrain": {"epochs": 2, "warmup": 0.5, "collapse": {"min_embedding_std": 0.0, "min_effective_rank": 0.0}},
    "linear_eval": {"strengths": [0.01, 1.0], "bootstrap": 100},
    "finetune": {"budgets": [1, 5], "draws": 2, "steps": 4, "learning_rates": [1e-3], "epochs": 1},
}
COMPARED = (".csv", ".npy", ".npz", ".onnx", ".safetensors", ".txt")  # JSON contains times, and plots may differ
LONG = 5000  # characters


def make_products(folder: Path, number: int, chance: random.Random) -> None:
    """Run the pipeline next to `folder`, and write `number` files that each describe one damage."""
    finished = folder.parent / "finished"
    copy_project(finished)
    change(finished, **QUICK)
    subprocess.run(("git", "init", "-q"), cwd=finished, check=True)
    subprocess.run(("dvc", "repro", "-q"), cwd=finished, env=environment(), check=True)
    products = [
        (stage, str(path.relative_to(finished)))
        for stage, facts in yaml.safe_load((finished / "dvc.yaml").read_text(encoding="utf-8"))["stages"].items()
        for dependency in facts.get("deps", [])
        if dependency.startswith(("data/ingested", "data/augmented", "models"))
        for path in files_of(finished / dependency)
    ]
    for place in range(number):
        stage, path = chance.choice(products)
        removed = chance.random() < 0.1
        facts = {"finished": str(finished), "stage": stage, "path": path, "seed": None if removed else chance.random()}
        (folder / f"{place:06}.json").write_text(json.dumps(facts), encoding="utf-8")


def files_of(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def try_product(path: Path) -> str:
    """Damage a file in a copy of the finished project, run the stage that depends on it, and return the outcome."""
    facts = json.loads(path.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as scratch:
        project = Path(scratch) / "project"
        shutil.copytree(facts["finished"], project, symlinks=True, ignore=shutil.ignore_patterns(".git", "cache"))
        victim = project / facts["path"]
        content = victim.read_bytes()
        victim.unlink()  # dvc may have made it read-only, or a link
        if facts["seed"] is not None:
            damaged = damage(content, random.Random(facts["seed"]))
            victim.write_bytes(damaged)
            if damaged == content:
                return "whole"
        before = outs(project, facts["stage"])
        done = subprocess.run(
            (sys.executable, "-m", "ssl_pipeline", facts["stage"]),
            cwd=project,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        about = f"{facts['path']} for {facts['stage']}"
        if "Traceback" in done.stderr:
            return f"traceback: {about}: {done.stderr[-500:]}"
        if done.returncode in (1, 2) and "error: " in done.stderr:
            return "told" if len(done.stderr) <= LONG else f"long: {about}: {len(done.stderr)} characters"
        if done.returncode:
            return f"died: {about}: exit status {done.returncode}"
        return "whole" if outs(project, facts["stage"]) == before else f"used: {about}"


def outs(project: Path, stage: str) -> dict[str, str]:
    """Return path -> SHA-256 of the compared outputs of a stage."""
    facts = yaml.safe_load((project / "dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]
    places = [place if isinstance(place, str) else next(iter(place)) for place in facts["outs"]]
    files = [file for place in places if (project / place).exists() for file in files_of(project / place)]
    return {str(file.relative_to(project)): sha256(file) for file in files if file.suffix in COMPARED}
