"""Copies of the project to run dvc in, shared by benchmarks and by tests of the whole pipeline."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

__all__ = [
    "BACKBONES",
    "OF_CLIPS",
    "READ_CAPTIONS",
    "ROOT",
    "TAUGHT",
    "change",
    "commit",
    "copy_code",
    "copy_project",
    "environment",
    "needs",
]

ROOT = Path(__file__).parents[1]
BACKBONES: dict[str, dict[str, Any]] = {"mae": {"name": "timm/test_vit", "patch_size": 4}}
"""Recipe -> a small backbone, for recipes that cannot use a residual network."""
READ_CAPTIONS = ("clip", "siglip", "slip")
"""Recipes that learn from captions, which the images of most benchmarks do not have."""
OF_CLIPS = ("time_contrast", "frame_order", "missing_frame")
"""Recipes that learn only from frames of film."""
TAUGHT = ("distill", "distill_relations")
"""Recipes that learn from another encoder, which must be named."""
UPRIGHT_ONLY = ("flip", "jigsaw", "relative_patch")
CODE = ("ssl_pipeline", "plugins/ssl_pipeline_plugins", "stages/ssl_pipeline_stages")
PARTS = ("dvc.yaml", "params.yaml", "plugins.lock", ".dvc/config", ".dvcignore", ".gitignore")


def copy_project(folder: Path) -> None:
    """Copy what the pipeline needs, without products, caches and git; the copy uses the installed code."""
    for part in PARTS:
        target = folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / part, target)


def copy_code(folder: Path) -> str:
    """Copy the code of the pipeline for editing; return the PYTHONPATH that puts it before the installed code."""
    for part in CODE:
        # with __pycache__, so that only edited files are compiled again, but without files that are just being written
        shutil.copytree(ROOT / part, folder / Path(part).name, ignore=shutil.ignore_patterns("*.pyc.*"))
    return str(folder)


def needs(view: str) -> dict[str, dict[str, Any]]:
    """Return the values of `pretrain` that some recipes need instead of the usual ones, by recipe.

    Args:
        view: Kind of view that keeps images upright.
    """
    backbones = {name: {"backbone": backbone} for name, backbone in BACKBONES.items()}
    in_time = {"time_contrast": {"positives": {"within": 2.0}}}  # the recipe's own value
    return backbones | in_time | {name: {"pretext_task": {"view": view}} for name in UPRIGHT_ONLY}


def change(folder: Path, **sections: dict[str, Any]) -> None:
    """Change values of the sections of params.yaml."""
    path = folder / "params.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name, values in sections.items():
        content[name].update(values)
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def environment() -> dict[str, str]:
    """Return an environment in which `dvc` and `python` are those of this interpreter."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "COLUMNS": "200", "DVC_NO_ANALYTICS": "1"}


def commit() -> str:
    """Return the commit of the code, followed by a plus sign if files outside docs/ differ from it."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--", ".", ":!docs") else "")
