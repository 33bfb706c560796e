"""The stage report, and its option that opens the page."""

import webbrowser
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from ssl_pipeline.page import page
from ssl_pipeline.page.page import Written
from ssl_pipeline_stages.report import report
from tests.page.small_run import PARAMS, write_store


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The addresses that a browser was asked to open."""
    asked: list[str] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(webbrowser, "open", lambda address: asked.append(address) or True)
    return asked


def test_the_stage_writes_a_page_of_what_there_is(opened: list[str], tmp_path: Path):
    write_store(tmp_path)
    (tmp_path / "params.yaml").write_text(PARAMS.read_text(encoding="utf-8"), encoding="utf-8")
    done = CliRunner().invoke(report, [], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "report: reports/index.html, 0." in done.output
    assert "Contact sheet" in (tmp_path / "reports/index.html").read_text(encoding="utf-8")
    assert opened == []


@pytest.mark.parametrize(("path", "title"), [(".", "images"), ("/", "folder"), ("../images", "images")])
def test_the_title_is_the_folders_name_however_it_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str, title: str
):
    titles: list[str] = []

    def write(title: str, *_: object) -> Written:
        titles.append(title)
        return Written(0, 0, 0)

    (tmp_path / "images").mkdir()
    monkeypatch.chdir(tmp_path / "images")
    params = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    params["ingest"]["source"] = {"name": "folder", "path": path}
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    monkeypatch.setattr(page, "write_page", write)
    done = CliRunner().invoke(report, [], catch_exceptions=False)
    assert (done.exit_code, titles) == (0, [title]), done.output


def test_open_shows_the_page_that_is_there_and_says_where(opened: list[str], tmp_path: Path):
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/index.html").write_text("a page")
    done = CliRunner().invoke(report, ["--open"], catch_exceptions=False)
    assert done.exit_code == 0
    assert opened == [(tmp_path / "reports/index.html").as_uri()]
    assert done.output == f"{tmp_path}/reports/index.html\n"


def test_where_there_is_no_browser_it_says_what_to_open(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(webbrowser, "open", lambda _: False)
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/index.html").write_text("a page")
    done = CliRunner().invoke(report, ["--open"], catch_exceptions=False)
    assert "Open " in done.output
    assert str(tmp_path / "reports/index.html") in done.output


def test_without_a_page_it_says_what_makes_one(opened: list[str]):
    done = CliRunner().invoke(report, ["--open"])
    assert done.exit_code == 1
    assert "reports/index.html does not exist" in done.output
    assert "dvc repro report" in done.output
    assert opened == []
