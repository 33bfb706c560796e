"""Create a project: a folder in which `dvc repro` runs the pipeline on the user's own images."""

import os
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssl_pipeline.errors import PipelineError
from ssl_pipeline.terminal import shown
from ssl_pipeline.workspace import seen_from
from ssl_pipeline_stages.guarded import guarded
from ssl_pipeline_stages.repository import initialise
from ssl_pipeline_stages.starts import Start, check_images, start_options

if TYPE_CHECKING:  # imports torch
    from ssl_pipeline.planning.evidence import Evidence
    from ssl_pipeline.planning.machine import Machine

TEMPLATES = Path(__file__).parent / "project"
FILES = {"dvc.yaml": "dvc.yaml", "params.yaml": "params.yaml", "gitignore": ".gitignore", "dvcignore": ".dvcignore"}
"""Name of each template -> its name in a project."""
WRITTEN = (*FILES.values(), "README.md", "plan.json", "plugins.lock", ".dvc", "my_plugins")
"""Everything that a new project contains."""
IMAGES = "images"


@click.command()
@click.argument("project", type=click.Path(path_type=Path))
@click.option(
    "--images", type=click.Path(path_type=Path), help="Folder or .zip of images, or of films; default: PROJECT/images."
)
@click.option("--labels", type=click.Path(path_type=Path), help="CSV file of path, label, split, group, caption.")
@click.option("--hours", type=click.FloatRange(0.05, 1e4), default=1.0, show_default=True, help="Time for all stages.")
@start_options
def init(project: Path, images: Path | None, labels: Path | None, hours: float, start: Start) -> None:
    """Create a project in the folder PROJECT, with settings fitted to your images, git and DVC.

    Images and labels stay where they are. The only required column of the labels is path, relative to the folder of the
    images.
    """
    raise SystemExit(guarded(lambda: _begin(project, images, labels, hours, start)))


def _begin(project: Path, images: Path | None, labels: Path | None, hours: float, start: Start) -> None:
    place = Path(os.path.abspath(project))
    _refuse_taken(place)
    if images is None and (place / IMAGES).is_dir() and any((place / IMAGES).iterdir()):
        images = place / IMAGES
    source = _source(place, images, labels)
    check_images(start, source)
    anchor = next(folder for folder in (place, *place.parents) if folder.exists())
    with tempfile.TemporaryDirectory(dir=anchor, prefix=".ssl-pipeline.") as beside:
        whole = Path(beside) / "project"
        whole.mkdir()
        _write(whole, place, source)
        said = _fit(whole, place, source, hours, start)
        initialise(whole, anchor)
        place.mkdir(parents=True, exist_ok=True)
        for path in whole.iterdir():
            path.rename(place / path.name)  # keep the folder itself, which may be a shell's working directory
    click.echo("\n".join(said))
    goes = "" if place == Path.cwd() else f"cd {shlex.quote(str(project))} && "
    missing = "" if source else f"put images into {project / IMAGES}, then "
    click.echo(f"Next: {missing}{goes}{'' if source else 'ssl-pipeline plan && '}dvc repro")


def _refuse_taken(place: Path) -> None:
    """Refuse a folder in which files would be overwritten.

    Raises:
        PipelineError: The folder contains such files, or is not a folder.
    """
    name = shown(str(place), 200)
    if place.exists() and not place.is_dir():
        raise PipelineError(f"'{name}' is a file: name a new or empty folder.")
    if taken := [file for file in WRITTEN if (place / file).exists()]:
        raise PipelineError(f"'{name}' has {', '.join(taken)} already: name a new or empty folder.")


def _source(place: Path, images: Path | None, labels: Path | None) -> dict[str, str]:
    """Return the absolute paths of images and labels; an empty mapping if there are no images yet.

    Raises:
        PipelineError: A path does not exist, or lies where products would be written.
    """
    from ssl_pipeline.data.source import refuse_products

    if labels is not None and images is None:
        raise PipelineError("--labels describes images: also name them with --images.")
    if images is None:
        return {}
    for option, path, what in (("--images", images, "a folder or .zip of images"), ("--labels", labels, "a CSV file")):
        if path is not None and not path.exists():
            raise PipelineError(f"{option}: there is no '{shown(str(path), 200)}'. Name {what}.")
    refuse_products(str(images), images, [Path(os.path.realpath(place))])
    return {"path": os.path.abspath(images)} | ({} if labels is None else {"labels": os.path.abspath(labels)})


def _write(folder: Path, place: Path, source: dict[str, str]) -> None:
    """Write the project files that do not depend on the images; `place` is where the project will finally lie."""
    for template, name in FILES.items():
        shutil.copyfile(TEMPLATES / template, folder / name)
    path = seen_from(place, source["path"]) if source else IMAGES
    if path != IMAGES and Path(place, path).is_relative_to(place) and ".." not in Path(path).parts:
        with (folder / ".gitignore").open("a", encoding="utf-8") as ignored:
            ignored.write(f"/{path}\n")
    readme = (TEMPLATES / "README.md").read_text(encoding="utf-8").replace("PROJECT", place.name)
    (folder / "README.md").write_text(readme.replace("IMAGES", f"`{path}`"), encoding="utf-8")
    (folder / "my_plugins").mkdir()
    (folder / "my_plugins" / ".gitkeep").touch()
    if not (place / IMAGES).exists() and not source:
        (folder / IMAGES).mkdir()


def _fit(folder: Path, place: Path, source: dict[str, str], hours: float, start: Start) -> list[str]:
    """Fit params.yaml to the images, or to photographs if there are none yet; return lines that report the decisions.

    Raises:
        PipelineError: The source has no usable images.
    """
    from ssl_pipeline import config
    from ssl_pipeline.loading import load_registry
    from ssl_pipeline.planning import params_file
    from ssl_pipeline.planning.draft import Setting
    from ssl_pipeline.planning.words import told_shortly
    from ssl_pipeline.provenance import plugins as provenance
    from ssl_pipeline_stages import code
    from ssl_pipeline_stages.fitting import fit, recognised
    from ssl_pipeline_stages.shelf import PHOTOGRAPHS

    params = folder / "params.yaml"
    if source:
        source, remarks = recognised(source["path"], source.get("labels"))
        looked: list[tuple[Evidence, Machine]] = []
        proposal = fit(params, source, hours, tell=lambda *found: looked.append(found), start=start, place=place)
        settings = list(proposal.settings)
        said = [f"Created '{place.name}'.", *told_shortly(*looked[0], proposal), *remarks]
    else:
        settings = [Setting(key, value, "", left=False) for key, value in PHOTOGRAPHS.items()]
        said = [f"Created '{place.name}' with settings for photographs; `ssl-pipeline plan` fits them to your images."]
    seen = {key: seen_from(place, value) if key != "name" else value for key, value in source.items()}
    params_file.write_settings(params, settings, seen or {"name": "folder", "path": IMAGES})
    used = code.used(load_registry(), config.load(params))
    provenance.lock(folder / "plugins.lock", code.PACKAGES, used)
    return said
