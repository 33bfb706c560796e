"""Write the skeleton of a plugin: a renamed copy of examples/plugin."""

import importlib.util
import keyword
import re
import shutil
import tempfile
from pathlib import Path

import click

from ssl_pipeline.errors import PipelineError
from ssl_pipeline_stages.guarded import guarded

EXAMPLE = Path(__file__).parent / "project" / "plugin"
LITTER = shutil.ignore_patterns("__pycache__", ".*", "*.egg-info", "dist", "build")


@click.command()
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path), required=False)
def skeleton(name: str, folder: Path | None) -> None:
    """Write a plugin called NAME, such as my-plugin, with an example of each kind, into FOLDER (default: ./NAME)."""
    raise SystemExit(guarded(lambda: _write(name, folder or Path(name))))


def _write(name: str, folder: Path) -> None:
    package = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or keyword.iskeyword(package):
        raise PipelineError(
            f"'{name}' is not a valid plugin name: use lower-case letters, digits and -, such as my-plugin."
        )
    if importlib.util.find_spec(package):
        raise PipelineError(f"a Python package '{package}' is already installed: choose a name other than '{name}'.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PipelineError(f"{folder} already exists: name a new or empty folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as beside:
        whole = Path(beside) / name
        shutil.copytree(EXAMPLE, whole, ignore=LITTER)
        (whole / "example_plugin").rename(whole / package)
        for path in whole.rglob("*.*"):
            if path.is_file():
                text = path.read_text(encoding="utf-8")
                path.write_text(text.replace("example_plugin", package).replace("example-plugin", name), "utf-8")
        whole.replace(folder)  # also replaces an empty folder
    click.echo(f"Wrote {folder}: its README.md explains how to install it, test it and name it in params.yaml.")
