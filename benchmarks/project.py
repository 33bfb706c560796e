"""A copy of the project to run dvc in: what benchmarks and tests of the whole pipeline share."""

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
"""Recipe -> a small backbone, where one of residual layers cannot serve it."""
READ_CAPTIONS = ("clip", "siglip", "slip")
"""Recipes that learn from images with captions, which the images of most benchmarks do not have."""
OF_CLIPS = ("time_contrast", "frame_order", "missing_frame")
"""Recipes that learn from frames of film alone."""
TAUGHT = ("distill", "distill_relations")
"""Recipes that learn from another encoder, which has to be named."""
UPRIGHT_ONLY = ("flip", "jigsaw", "relative_patch")
CODE = ("ssl_pipeline", "plugins/ssl_pipeline_plugins", "stages/ssl_pipeline_stages")
PARTS = ("dvc.yaml", "params.yaml", "plugins.lock", ".dvc/config", ".dvcignore", ".gitignore")


def copy_project(folder: Path) -> None:
    """Copy what the pipeline needs: no products, caches or git. Its code is the installed one."""
    for part in PARTS:
        target = folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / part, target)


def copy_code(folder: Path) -> str:
    """Copy the code of the pipeline, to be edited; return the PYTHONPATH by which it comes before the installed one."""
    for part in CODE:
        # __pycache__ too, but for what is being written: nothing is compiled anew but what is edited
        shutil.copytree(ROOT / part, folder / Path(part).name, ignore=shutil.ignore_patterns("*.pyc.*"))
    return str(folder)


def needs(view: str) -> dict[str, dict[str, Any]]:
    """Recipe -> what of `pretrain` it has to have otherwise than the others, with a kind of view that is upright."""
    backbones = {name: {"backbone": backbone} for name, backbone in BACKBONES.items()}
    in_time = {"time_contrast": {"positives": {"within": 2.0}}}  # as the recipe has it, for who does not ask it
    return backbones | in_time | {name: {"pretext_task": {"view": view}} for name in UPRIGHT_ONLY}


def change(folder: Path, **sections: dict[str, Any]) -> None:
    """Change values of the sections of params.yaml."""
    path = folder / "params.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name, values in sections.items():
        content[name].update(values)
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def environment() -> dict[str, str]:
    """The environment in which `dvc` and `python` are those of this interpreter."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "COLUMNS": "200", "DVC_NO_ANALYTICS": "1"}


def commit() -> str:
    """Of which the code is; with a plus if it has been changed since, other than by rows and pages in docs/."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--", ".", ":!docs") else "")
