"""In a project begun before a stage existed, the message says what to add to its files."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ssl_pipeline.config import load
from ssl_pipeline.errors import ConfigError
from ssl_pipeline_stages.params import load_params

ROOT = Path(__file__).parents[2]
NEW = ("curate", "report", "bundle")


def older(folder: Path, *without: str) -> Path:
    """Write the two files of a project as they were before some stages existed."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for path, content in (("params.yaml", params), ("dvc.yaml", {"stages": stages})):
        kept = content.get("stages", content)
        for name in without:
            del kept[name]
        (folder / path).write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return folder / "params.yaml"


def added(message: str, heading: str) -> str:
    """Return what a message says to add below one of its lines."""
    lines = message.splitlines()
    start = next(number for number, line in enumerate(lines) if heading in line) + 1
    end = next((number for number in range(start, len(lines)) if "Add to " in lines[number]), len(lines))
    return "\n".join(lines[start:end]) + "\n"


def test_what_a_message_says_to_add_makes_the_project_whole(tmp_path: Path):
    params = older(tmp_path, *NEW)
    with pytest.raises(ConfigError) as caught:
        load_params(params)
    message = str(caught.value)
    assert f"{params}: curate: missing; add it." in message
    params.write_text(params.read_text() + added(message, f"Add to {params}"))
    assert load_params(params) == load(ROOT / "params.yaml")
    pipeline = tmp_path / "dvc.yaml"
    pipeline.write_text(pipeline.read_text() + added(message, "Add to its `stages`"))
    whole = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert yaml.safe_load(pipeline.read_text())["stages"] == whole


def test_keys_that_a_section_lacks_are_told(tmp_path: Path):
    params = older(tmp_path)
    content = yaml.safe_load(params.read_text())
    del content["export"]["gate"], content["export"]["calibration"], content["ingest"]["canvas"]
    params.write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(ConfigError) as caught:
        load_params(params)
    for section in ("export", "ingest"):
        content[section] |= yaml.safe_load(added(str(caught.value), f"Add to the section {section} of {params}"))
    params.write_text(yaml.safe_dump(content))
    assert load_params(params) == load(ROOT / "params.yaml")


def test_only_what_is_missing_is_told(tmp_path: Path):
    params = older(tmp_path, "curate")
    (tmp_path / "dvc.yaml").unlink()
    with pytest.raises(ConfigError) as caught:
        load_params(params)
    assert yaml.safe_load(added(str(caught.value), "Add to ")).keys() == {"curate"}
    assert "stages" not in str(caught.value)
    assert len(str(caught.value)) < 1500
    params.write_text("other: 1\n")
    with pytest.raises(ConfigError) as caught:
        load_params(params)
    assert "Add to" not in str(caught.value)


def test_a_stage_tells_it_without_a_traceback(tmp_path: Path):
    older(tmp_path, "report")
    done = subprocess.run(
        [sys.executable, "-m", "ssl_pipeline", "curate"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "report:\n  map_images: 2000" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("wrong", "right"), [(("pretrain", "epoch"), "epochs"), (("curat",), "curate")], ids=["key", "section"]
)
def test_a_misspelt_name_is_one_mistake_and_nothing_is_to_be_added(tmp_path: Path, wrong: tuple[str, ...], right: str):
    params = older(tmp_path)
    content = yaml.safe_load(params.read_text())
    section = content[wrong[0]] if len(wrong) > 1 else content
    section[wrong[-1]] = section.pop(right)
    params.write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(ConfigError) as caught:
        load_params(params)
    assert str(caught.value) == f"{params}: {'.'.join(wrong)}: unknown key. Did you mean '{right}'?"
