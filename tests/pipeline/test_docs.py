"""The pages in docs/ say what is: their code runs, and what they name exists."""

import re
from pathlib import Path

import pytest
import torch
import yaml

from benchmarks.project import ROOT
from ssl_pipeline.config import PretrainSection, load
from ssl_pipeline.loading import load_registry
from ssl_pipeline.recipes import resolve

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]


def percentages(text: str) -> dict[str, float]:
    """`name: 12.3%` on lines of their own."""
    return {name: float(value) for name, value in re.findall(r"^(\w+): ([\d.]+)%$", text, re.MULTILINE)}


def test_the_minimal_method_learns_what_the_page_says(capsys: pytest.CaptureFixture[str]):
    page = (DOCS / "minimal.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert "plugins" not in code
    with torch.random.fork_rng(devices=[]):
        exec(compile(code, "docs/minimal.md", "exec"), {})
    printed = percentages(capsys.readouterr().out)
    assert printed == pytest.approx(percentages(page), abs=2.0)  # other processors round otherwise
    assert printed["pretrained"] > printed["untrained"] + 8


def test_the_page_of_texts_has_a_task_and_settings_that_work(capsys: pytest.CaptureFixture[str]):
    page = (DOCS / "text.md").read_text()
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[-1]  # `test_text_runtime.py` runs the other one
    exec(compile(code, "docs/text.md", "exec"), {})
    assert capsys.readouterr().out.strip() == re.findall(r"  # (.*)\n$", code)[0]
    registry, shipped = load_registry(), load(ROOT / "params.yaml").pretrain.model_dump()
    settings = [yaml.safe_load(block)["pretrain"] for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    tasks = [resolve(registry, PretrainSection.model_validate({**shipped, **own})).pretext_task for own in settings]
    for task in tasks:
        registry.validate(registry.find("pretext_task", task.name), task)
    assert [task.options.get("image_tower") for task in tasks] == [None, "frozen"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_something(page: Path):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_design_names_only_files_that_exist():
    named = re.findall(
        r"`((?:ssl_pipeline|stages|plugins|tests|docs|examples|benchmarks)/[\w/.]*)`", (DOCS / "design.md").read_text()
    )
    assert len(named) > 20
    assert not [name for name in named if not (ROOT / name).exists()]
