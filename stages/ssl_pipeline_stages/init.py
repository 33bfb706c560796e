"""Begin a project: a folder in which `dvc repro` runs the pipeline on one's own images."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from ssl_pipeline.errors import PipelineError
from ssl_pipeline.terminal import shown
from ssl_pipeline_stages.guarded import guarded

TEMPLATES = Path(__file__).parent / "project"
FILES = {"dvc.yaml": "dvc.yaml", "gitignore": ".gitignore", "dvcignore": ".dvcignore"}
"""Template -> its name in a project."""
DVC = {
    "core.analytics": "false",
    "core.check_update": "false",
    "core.autostage": "false",
    # a product lies once on the disk, though in the project and in DVC's cache
    "cache.type": "hardlink,copy",
}


@click.command()
@click.argument("project", type=click.Path(path_type=Path))
@click.option(
    "--images", type=click.Path(path_type=Path), help="A folder or an archive of images; by default PROJECT/images."
)
def init(project: Path, images: Path | None) -> None:
    """Begin a project of your own in PROJECT, a new or an empty folder: settings fitted to your images, git and DVC."""
    raise SystemExit(guarded(lambda: _begin(project, images)))


def _begin(project: Path, images: Path | None) -> None:
    if images is not None and not images.exists():
        raise PipelineError(
            f"--images: there is no '{shown(str(images), 200)}'. Name a folder or an archive of images."
        )
    if project.exists() and (not project.is_dir() or any(project.iterdir())):
        raise PipelineError(
            f"'{shown(str(project), 200)}' exists and is not empty: name a folder that is new or empty."
        )
    place = project.absolute()
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}.") as beside:
        whole = Path(beside) / place.name
        whole.mkdir()
        _write(whole, place, images)
        _initialise(whole, place.parent)
        place.mkdir(exist_ok=True)
        for path in whole.iterdir():
            path.rename(place / path.name)  # into the folder itself, in which a shell may stand
    click.echo(f"Began {project}. Next: cd {project} && dvc repro")


def _write(folder: Path, place: Path, images: Path | None) -> None:
    """Write a project's files, to lie at a place."""
    for template, name in FILES.items():
        shutil.copyfile(TEMPLATES / template, folder / name)
    path = "images" if images is None else _seen_from(place, images)
    readme = (TEMPLATES / "README.md").read_text(encoding="utf-8")
    readme = readme.replace("PROJECT", place.name).replace("IMAGES", f"`{path}`")
    (folder / "README.md").write_text(readme, encoding="utf-8")
    (folder / "my_plugins").mkdir()
    (folder / "my_plugins" / ".gitkeep").touch()
    if images is None:
        (folder / "images").mkdir()


def _seen_from(place: Path, images: Path) -> str:
    """Return a path that finds the images from a project: relative where they lie in or beside it."""
    absolute = images.absolute()
    return os.path.relpath(absolute, place) if absolute.is_relative_to(place.parent) else str(absolute)


def _initialise(folder: Path, parent: Path) -> None:
    """Make a folder a git repository, unless one is around it, and a DVC project."""
    git = shutil.which("git")
    around = git and _run([git, "rev-parse", "--is-inside-work-tree"], parent, needed=False)
    if git and not around:
        _run([git, "init", "--quiet"], folder)
    how = ["--subdir"] if around else [] if git else ["--no-scm"]
    dvc = [sys.executable, "-m", "dvc"]
    _run([*dvc, "init", "--quiet", *how], folder)
    for key, value in DVC.items():
        _run([*dvc, "config", key, value], folder)


def _run(words: list[str], folder: Path, needed: bool = True) -> bool:
    """Run a command; say whether it succeeded.

    Raises:
        PipelineError: It failed, and was needed.
    """
    variables = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(words, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    if done.returncode and needed:
        raise PipelineError(f"`{' '.join(words[-3:])}` failed: {shown(done.stderr.strip(), 500)}")
    return not done.returncode
