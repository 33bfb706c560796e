"""Reading params.yaml, with a remedy for projects that were begun before a stage was there."""

import itertools
from pathlib import Path

from ssl_pipeline.config import Config, load
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.yaml_file import read_yaml

__all__ = ["load_params"]

_TEMPLATES = Path(__file__).parent / "project"


def load_params(path: Path) -> Config:
    """Read and check params.yaml.

    Raises:
        ConfigError: One line for each mistake, each naming its key; then the sections that are missing, and the stages
            that dvc.yaml lacks for that reason, as a new project has them.
    """
    try:
        return load(path)
    except ConfigError as error:
        content = read_yaml(path)
        missing = [name for name in Config.model_fields if name not in content] if isinstance(content, dict) else []
        if not missing or len(missing) == len(Config.model_fields):
            raise
        remedy = _remedy(path, missing)
        raise ConfigError(f"{error}\n{remedy}") from error


def _remedy(params: Path, missing: list[str]) -> str:
    """Return what to add to params.yaml, and to dvc.yaml beside it."""
    sections = _lines("params.yaml")
    said = [f"Add to {params} what a new project has there:"]
    said += [line for name in missing for line in _block(sections, name)]
    pipeline = params.with_name("dvc.yaml")
    content = read_yaml(pipeline) if pipeline.is_file() else None
    known = content.get("stages") if isinstance(content, dict) else None
    absent = [name for name in missing if name not in known] if isinstance(known, dict) else []
    if absent:
        stages = _block(_lines("dvc.yaml"), "stages")
        said.append(f"{pipeline} lacks the same stages. Add to its `stages`:")
        said += [line for name in absent for line in _block(stages, name, "  ")]
    return "\n".join(said)


def _lines(template: str) -> list[str]:
    return (_TEMPLATES / template).read_text(encoding="utf-8").splitlines()


def _block(lines: list[str], key: str, indent: str = "") -> list[str]:
    """Return the line of a key, and those that are indented more than it is."""
    start = next(number for number, line in enumerate(lines) if line.startswith(f"{indent}{key}:"))
    inner = itertools.takewhile(lambda line: not line or line.startswith(f"{indent} "), lines[start + 1 :])
    return [lines[start], *filter(None, inner)]
