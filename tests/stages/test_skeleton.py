"""The skeleton of a plugin is complete and has the given name; nothing is written if it cannot be made."""

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ssl_pipeline_stages.skeleton import skeleton


def written(*words: object) -> Result:
    return CliRunner().invoke(skeleton, [str(word) for word in words])


def test_a_skeleton_is_a_plugin_whose_tests_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "new" / "my-plugin"
    result = written("my-plugin", folder)
    assert result.exit_code == 0, result.output
    assert str(folder) in result.output
    texts = {path: path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert {path.name for path in texts} >= {"pyproject.toml", "README.md", "circle.py", "mirror.py", "test_plugin.py"}
    assert not any("example" in str(path.relative_to(folder)) or "example" in text for path, text in texts.items())
    assert 'my_plugin_circle = "my_plugin.circle"' in texts[folder / "pyproject.toml"]
    assert 'register("my_plugin_mirror", Mirror)' in texts[folder / "my_plugin" / "mirror.py"]
    assert list(folder.parent.iterdir()) == [folder]
    reports = Reports()
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    assert pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(folder)], [reports]) == 0
    assert len(reports.passed) > 9
    for name in [name for name in sys.modules if name.partition(".")[0] in ("my_plugin", "test_plugin")]:
        del sys.modules[name]


class Reports:
    """Outcome of pytest run in this process, which has imported torch already."""

    def __init__(self) -> None:
        self.passed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self.passed.append(report.nodeid)


@pytest.mark.parametrize("name", ["My-Plugin", "my_plugin", "1-plugin", "my plugin", "../my-plugin", "lambda"])
def test_what_cannot_be_a_name_is_refused(tmp_path: Path, name: str):
    result = written(name, tmp_path / "plugin")
    assert result.exit_code == 1
    assert f"'{name}' is not a valid plugin name" in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_is_refused(tmp_path: Path):
    result = written("numpy", tmp_path / "plugin")
    assert result.exit_code == 1
    assert "a Python package 'numpy' is already installed" in result.output


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path):
    (tmp_path / "precious.txt").write_text("mine")
    result = written("my-plugin", tmp_path)
    assert result.exit_code == 1
    assert "already exists: name a new or empty folder" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]
    assert written("my-plugin", tmp_path / "precious.txt").exit_code == 1


def test_an_empty_folder_is_filled(tmp_path: Path):
    folder = tmp_path / "empty"
    folder.mkdir()
    assert written("my-plugin", folder).exit_code == 0
    assert (folder / "my_plugin" / "curriculum.py").is_file()
