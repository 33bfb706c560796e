"""Plugins in files of the project are found, named after their file, and reported like installed plugins."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssl_pipeline.config import Choice, load
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.loading import load_registry
from ssl_pipeline.plugin_sources import OWN
from ssl_pipeline.products import sha256
from ssl_pipeline.provenance import plugins as provenance
from ssl_pipeline_stages import code
from tests.test_registry import LOSS

PARAMS = load(Path(__file__).parents[1] / "params.yaml")
MINE = LOSS.replace("NAME", "mine")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make the folder of plugins in a project that is the current folder."""
    monkeypatch.chdir(tmp_path)
    OWN.mkdir()
    yield tmp_path / OWN
    for name in [name for name in sys.modules if name.partition(".")[0] == OWN.name]:
        del sys.modules[name]


def test_a_file_is_a_plugin_named_by_its_path(own: Path):
    (own / "margin.py").write_text(MINE)
    registry = load_registry()
    entry = registry.find("loss", "mine")
    assert (entry.distribution, entry.version) == ("my_plugins/margin.py", sha256(own / "margin.py")[:8])
    assert registry.build("loss", Choice(name="mine", temperature=2)) == (2.0, "a")
    assert registry.failures == []


def test_files_import_each_other_and_their_helpers_and_a_package_is_one_plugin(own: Path):
    (own / "_helper.py").write_text("VALUE = 0.25")
    (own / "margin.py").write_text(MINE.replace("0.5", "VALUE").replace("\n", "\nfrom ._helper import VALUE\n", 1))
    (own / "large").mkdir()
    (own / "large" / "__init__.py").write_text(
        LOSS.replace("NAME", "packed") + "from . import part\nimport my_plugins.margin"
    )
    (own / "large" / "part.py").write_text("")
    (own / ".margin.py").write_text("raise SystemExit('an editor left it')")
    registry = load_registry()
    assert registry.failures == []
    assert registry.build("loss", Choice(name="mine")) == (0.25, "a")
    assert registry.find("loss", "packed").distribution == "my_plugins/large"
    config = PARAMS.pretrain.model_copy(update={"loss": {"name": "packed"}})
    names = provenance.code(code.PACKAGES, [], provenance.method(registry, config))
    own_code = {name for name in names if name.startswith("my_plugins")}
    assert own_code == {f"my_plugins.{name}" for name in ("_helper", "large", "large.part", "margin")}


def test_a_file_that_fails_takes_nobody_down(own: Path):
    (own / "broken.py").write_text("def (")
    (own / "empty.py").write_text("")
    (own / "leaves.py").write_text("import os, sys; os.chdir('/'); sys.exit(1)")
    (own / "margin.py").write_text(MINE)
    registry = load_registry()
    assert registry.find("loss", "mine")
    assert Path(os.getcwd()) == own.parent
    broken, empty, leaves = map(str, registry.failures)
    assert broken.startswith("plugin 'broken' of my_plugins/broken.py: SyntaxError: ")
    assert empty == (
        "plugin 'empty' of my_plugins/empty.py: TypeError: it registers nothing: decorate its hooks with "
        "@ssl_pipeline.hookimpl"
    )
    assert leaves.startswith("plugin 'leaves' of my_plugins/leaves.py: it ends Python at import")
    with pytest.raises(ConfigError, match=r"plugin 'broken' of my_plugins/broken.py: SyntaxError"):
        registry.find("loss", "wanted")


def test_a_name_that_is_taken_names_the_file(own: Path):
    (own / "margin.py").write_text(LOSS.replace("NAME", "info_nce"))
    with pytest.raises(ConfigError, match=r"registered twice: by ssl-pipeline .* and by my_plugins/margin.py"):
        load_registry().find("loss", "info_nce")


def test_two_projects_in_one_process_have_plugins_of_their_own(own: Path, tmp_path: Path, monkeypatch):
    (own / "margin.py").write_text(MINE)
    assert load_registry().build("loss", Choice(name="mine")) == (0.5, "a")
    (tmp_path / "other" / OWN).mkdir(parents=True)
    (tmp_path / "other" / OWN / "margin.py").write_text(MINE.replace("0.5", "0.75"))
    monkeypatch.chdir(tmp_path / "other")
    assert load_registry().build("loss", Choice(name="mine")) == (0.75, "a")


def test_an_edit_changes_the_digest_and_git_keeps_the_file_and_not_the_lock(own: Path):
    config = PARAMS.model_copy(update={"pretrain": PARAMS.pretrain.model_copy(update={"loss": {"name": "mine"}})})
    (own / "margin.py").write_text(MINE)
    used = code.used(load_registry(), config)
    before = code.training_code(used)
    (own / "margin.py").write_text(MINE + "# a comment\n")
    after = code.training_code(used)
    assert {name for name in after if after[name] != before[name]} == {"my_plugins.margin"}
    provenance.lock(Path("plugins.lock"), code.PACKAGES, used)
    assert Path("plugins.lock").read_text() == "{}\n"
    assert list(provenance.origins(used)) == ["my_plugins/margin.py"]
