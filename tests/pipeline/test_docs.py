"""The pages in docs/ are true: their code runs, and what they name exists."""

import re
from pathlib import Path

import click
import pytest
import torch
import yaml

from benchmarks.project import ROOT
from ssl_pipeline.config import Choice, PretrainSection, load
from ssl_pipeline.loading import load_registry
from ssl_pipeline.recipes import resolve
from ssl_pipeline_stages.main import main
from tests.pipeline.pages import DOCS, PAGES, anchors, blocks, links

PARAMS = ROOT / "params.yaml"
SETTINGS = [(page, block) for page in PAGES for block in blocks(page, "yaml")]


def percentages(text: str) -> dict[str, float]:
    """Return the figures of a text that are written as `name: 12.3%`, each on its own line."""
    return {name: float(value) for name, value in re.findall(r"^(\w+): ([\d.]+)%$", text, re.MULTILINE)}


def test_the_minimal_method_learns_what_the_page_says(capsys: pytest.CaptureFixture[str]):
    page = (DOCS / "minimal.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert "plugins" not in code
    with torch.random.fork_rng(devices=[]):
        exec(compile(code, "docs/minimal.md", "exec"), {})
    printed = percentages(capsys.readouterr().out)
    assert printed == pytest.approx(percentages(page), abs=2.0)  # other processors round differently
    assert printed["pretrained"] > printed["untrained"] + 8


def test_the_page_of_texts_has_a_task_and_settings_that_work(capsys: pytest.CaptureFixture[str]):
    page = (DOCS / "text.md").read_text()
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[-1]  # `test_text_runtime.py` runs the other block
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
    for path, anchor in links(page):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


@pytest.mark.parametrize(("page", "block"), SETTINGS, ids=[page.name for page, _ in SETTINGS])
def test_settings_are_those_that_params_yaml_takes(page: Path, block: str, tmp_path: Path):
    own, content = yaml.safe_load(block), yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    assert set(own) <= set(content), f"{page.name}: a section that params.yaml does not have"
    for section, values in own.items():
        assert set(values) <= set(content[section]), f"{page.name}: a key that {section} in params.yaml does not have"
        content[section].update(values)
    changed = tmp_path / "params.yaml"
    changed.write_text(yaml.safe_dump(content), encoding="utf-8")
    config, registry = load(changed), load_registry()
    registry.validate(registry.find("source", config.ingest.source.name), config.ingest.source)
    method = resolve(registry, config.pretrain)
    kinds: list[tuple[str, Choice | None]] = [
        ("pretext_task", method.pretext_task),
        ("loss", method.loss),
        ("negatives", method.negatives),
    ]
    for kind, choice in kinds:
        if choice is not None:
            registry.validate(registry.find(kind, choice.name), choice)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_their_options_exist(page: Path):
    text = page.read_text(encoding="utf-8")
    spans = re.findall(r"`([^`\n]+)`", text) + [line for block in blocks(page, "bash") for line in block.splitlines()]
    for span in spans:
        for name, rest in re.findall(r"(?:ssl-pipeline|-m ssl_pipeline) ([a-z_]+)([^|&;]*)", span.partition("#")[0]):
            command = main.get_command(click.Context(main), name)
            assert command is not None, span
            known = {option for parameter in command.params for option in parameter.opts}
            used = re.findall(r"(?<!\S)(--?[a-zA-Z][\w-]*)", rest)
            assert {"--help", "-h", *known} >= set(used), span


def test_the_design_names_only_files_that_exist():
    named = re.findall(
        r"`((?:ssl_pipeline|stages|plugins|tests|docs|examples|benchmarks)/[\w/.]*)`", (DOCS / "design.md").read_text()
    )
    assert len(named) > 20
    assert not [name for name in named if not (ROOT / name).exists()]
