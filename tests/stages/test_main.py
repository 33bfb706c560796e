"""The command `ssl-pipeline` lists its commands, runs those of plugins, and explains unknown ones."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ssl_pipeline import __version__
from ssl_pipeline_stages import STAGES
from ssl_pipeline_stages.main import COMMANDS, main
from tests.test_registry import site

__all__ = ["site"]

GREET = """
import click
@click.command()
def greet():
    click.echo("good day")
number = 3
"""


def install(site: Path, code: str, entry: str) -> None:
    (site / "brought.py").write_text(code)
    info = site / "brought-0.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brought\nVersion: 0.3\n")
    (info / "entry_points.txt").write_text(f"[ssl_pipeline.commands]\n{entry}\n")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_help_lists_stages_tools_and_what_plugins_bring_without_importing_it(site: Path):
    install(site, GREET, "greet = brought:greet")
    said = run("--help").output
    listed = [line.split()[0] for line in said.splitlines() if line.startswith("  ") and not line.startswith("   ")]
    shown = [*STAGES, *(name for name, does in COMMANDS.items() if does), "greet"]
    assert [name for name in listed if name in shown] == shown
    assert "reference" not in listed
    assert "from brought 0.3" in said
    assert "brought" not in sys.modules
    assert run("greet").output == "good day\n"


@pytest.mark.parametrize(
    ("code", "entry", "message"),
    [
        ("raise RuntimeError('it is broken')", "greet = brought:greet", "cannot be loaded: it is broken"),
        (GREET, "greet = brought:missing", "cannot be loaded: "),
        (GREET, "greet = brought:number", "is not a click command: brought:number"),
    ],
)
def test_a_command_that_cannot_be_had_is_told_with_who_brought_it(site: Path, code: str, entry: str, message: str):
    install(site, code, entry)
    done = run("greet")
    assert done.exit_code == 1
    assert done.output.startswith("Error: 'greet' of brought 0.3 ")
    assert message in done.output
    assert run("--help").exit_code == 0


def test_a_command_with_the_name_of_a_built_in_one_takes_no_place(site: Path):
    install(site, GREET, "plan = brought:greet")
    assert "Fit params.yaml" in run("plan", "--help").output
    assert "from brought" not in run("--help").output
    assert "brought" not in sys.modules


def test_of_an_unknown_command_the_nearest_ones_are_named(site: Path):
    install(site, GREET, "greet = brought:greet")
    for word, message in [
        ("pretrian", "no such command 'pretrian': did you mean pretrain"),
        ("gret", "did you mean greet"),
        ("xyzzy", "no such command 'xyzzy': `ssl-pipeline --help` lists them all"),
    ]:
        done = run(word)
        assert done.exit_code == 2
        assert message in done.output
    assert "No such option" in run("--hepl").output


def test_a_shell_completes_names_also_beside_a_broken_plugin(site: Path):
    install(site, "raise RuntimeError", "predict = brought:predict")
    script = Path(sys.executable).parent / "ssl-pipeline"
    asked = {"_SSL_PIPELINE_COMPLETE": "bash_complete", "COMP_WORDS": "ssl-pipeline p", "COMP_CWORD": "1"}
    path = os.pathsep.join([str(site), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]).rstrip(os.pathsep)
    done = subprocess.run(
        [script], env=os.environ | asked | {"PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [f"plain,{name}" for name in ("pretrain", "plan", "plugins", "predict")]


def test_the_version_and_the_module_are_those_of_the_command():
    assert run("--version").output == f"ssl-pipeline, version {__version__}\n"
    done = subprocess.run(
        [sys.executable, "-m", "ssl_pipeline", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().endswith(f"version {__version__}")
