"""`plugins` prints one line per name; for a single name, it describes each option."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ssl_pipeline import loading
from ssl_pipeline.described import does, option_texts
from ssl_pipeline.loading import load_registry
from ssl_pipeline_stages.plugins import plugins
from tests.test_registry import install, site

__all__ = ["site"]

LOSS = '''
from ssl_pipeline import hookimpl
from ssl_pipeline_plugins.losses.info_nce import InfoNCE
class Mine(InfoNCE):
    """What it does, in a line
    and a half. The rest is another matter.

    Args:
        temperature: The
            temperature.
    """
    def __init__(self, *, temperature: float, colder: bool = True):
        super().__init__(temperature=temperature)
@hookimpl
def register_losses(register):
    register("my_loss", Mine)
'''


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(plugins, arguments)


def test_every_built_in_says_in_a_line_what_it_does_and_what_each_option_means():
    done = run("--json")
    assert done.exit_code == 0, done.output
    rows = json.loads(done.output)
    assert len(rows) == len(load_registry().entries())
    for row in rows:
        assert 10 < len(row["does"]) <= 300, row
        assert "\n" not in row["does"]
        assert row["trouble"] == ""
        assert [option["name"] for option in row["options"] if not option["means"]] == [], row["name"]
    (simclr,) = [row for row in rows if row["name"] == "simclr"]
    assert simclr["does"].startswith("SimCLR (2002.05709): match two views of an image")


def test_a_kind_a_name_and_a_member_of_a_family():
    lines = run("--kind", "negatives").output.splitlines()
    assert lines[0] == "negatives"
    assert any(line.split()[0] == "in_batch" for line in lines[1:])
    assert not any(line.split()[0] == "info_nce" for line in lines[1:])
    said = run("info_nce").output
    assert said.startswith("loss info_nce, of ssl-pipeline ")
    assert "temperature: float, required\n      Softmax temperature" in said
    assert run("torchvision/resnet18").output.startswith("backbone torchvision/, of")
    both = run("rotation").output
    assert "pretext_task rotation" in both
    assert "recipe rotation" in both
    assert "recipe rotation" not in run("rotation", "--kind", "pretext_task").output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info_nec"], "there is no plugin 'info_nec'. Did you mean info_nce"),
        (["--kind", "los"], "--kind: there is no 'los'. Kinds: source, pretext_task, loss,"),
        (["info_nce", "--kind", "negatives"], "there is no plugin 'info_nce'"),
    ],
)
def test_a_mistake_has_its_sentence(arguments: list[str], message: str):
    done = run(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr


def test_for_an_unknown_name_plugins_that_failed_to_load_are_named(site: Path):
    install(site, "broken", LOSS + "def")
    done = run("my_loss")
    assert done.exit_code == 2
    assert "there is no plugin 'my_loss'." in done.stderr
    assert "failed to load: plugin 'broken' of broken: SyntaxError" in done.stderr


def test_in_a_project_the_list_is_remembered_until_code_changes(site: Path, monkeypatch: pytest.MonkeyPatch):
    install(site, "brought", LOSS)
    Path("params.yaml").touch()
    (row,) = json.loads(run("my_loss", "--json").output)
    assert row["does"] == "What it does, in a line and a half."
    assert [(one["name"], one["default"], one["means"]) for one in row["options"]] == [
        ("temperature", None, "The temperature."),
        ("colder", "True", ""),
    ]
    assert "[brought 0.3]" in run().output
    real = loading.load_registry
    monkeypatch.setattr(loading, "load_registry", lambda: pytest.fail("plugins were loaded again"))
    assert json.loads(run("my_loss", "--json").output) == [row]
    monkeypatch.setattr(loading, "load_registry", real)
    (site / "brought.py").write_text(LOSS.replace("What it does", "What it did"))
    monkeypatch.delitem(sys.modules, "brought")
    assert "What it did, in a line" in run().output
    Path(".work/plugins_listed.json").write_text("[]")
    assert run("my_loss").exit_code == 0


def test_what_has_no_docstring_of_its_own_is_not_described_by_that_of_its_class():
    from functools import partial

    assert does(partial(print)) == ""
    assert option_texts(partial(print)) == {}
