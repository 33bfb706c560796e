"""A copy of the project to run dvc in: what benchmarks and tests of the whole pipeline share."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

__all__ = ["BACKBONES", "ROOT", "change", "copy_project", "environment", "needs"]

ROOT = Path(__file__).parents[1]
BACKBONES: dict[str, dict[str, Any]] = {"mae": {"name": "timm/test_vit", "patch_size": 4}}
"""Recipe -> a small backbone, where one of residual layers cannot serve it."""
UPRIGHT_ONLY = ("flip", "jigsaw", "relative_patch")
PARTS = (
    "stages",
    "plugins",
    "ssl_pipeline",
    "examples",
    "dvc.yaml",
    "params.yaml",
    "plugins.lock",
    ".dvc/config",
    ".dvcignore",
    ".gitignore",
)


def copy_project(folder: Path) -> None:
    """Copy what the pipeline needs: no products, caches or git."""
    for part in PARTS:
        source, target = ROOT / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            # __pycache__ too, but for what is being written: nothing is compiled anew but what is edited
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.pyc.*"))
        else:
            shutil.copy(source, target)


def needs(view: str) -> dict[str, dict[str, Any]]:
    """Recipe -> what of `pretrain` it has to have otherwise than the others, with a kind of view that is upright."""
    backbones = {name: {"backbone": backbone} for name, backbone in BACKBONES.items()}
    return backbones | {name: {"pretext_task": {"view": view}} for name in UPRIGHT_ONLY}


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
