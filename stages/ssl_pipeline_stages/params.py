"""Read params.yaml, and help projects that are older than a stage or a key to add what is missing."""

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
        ConfigError: One line per mistake, each naming its key, followed by the missing lines as a new project has them,
            and by the stages that dvc.yaml therefore lacks.
    """
    try:
        return load(path)
    except ConfigError as error:
        content = read_yaml(path)
        known = content.keys() & Config.model_fields.keys() if isinstance(content, dict) else set()
        mistakes = str(error).splitlines()  # which do not call a section missing whose name is misspelt
        missing = [name for name in Config.model_fields if known and f"{path}: {name}: missing; add it." in mistakes]
        said = [*_add_sections(path, missing), *_add_keys(path, sorted(known), mistakes)]
        raise ConfigError("\n".join([str(error), *said])) from error


def _add_sections(params: Path, missing: list[str]) -> list[str]:
    """Return lines to add to params.yaml, and to dvc.yaml beside it, for sections that are missing."""
    if not missing:
        return []
    sections = _lines("params.yaml")
    said = [f"Add to {params} the sections of a new project:"]
    said += [line for name in missing for line in _block(sections, name)]
    pipeline = params.with_name("dvc.yaml")
    content = read_yaml(pipeline) if pipeline.is_file() else None
    known = content.get("stages") if isinstance(content, dict) else None
    absent = [name for name in missing if name not in known] if isinstance(known, dict) else []
    if absent:
        stages = _block(_lines("dvc.yaml"), "stages")
        said.append(f"{pipeline} lacks the same stages. Add to its `stages`:")
        said += [line for name in absent for line in _block(stages, name, "  ")]
    return said


def _add_keys(params: Path, sections: list[str], mistakes: list[str]) -> list[str]:
    """Return lines to add to sections of params.yaml, for keys that the mistakes report as missing."""
    said = []
    for section in sections:
        lines = _block(_lines("params.yaml"), section)
        keys = [line.strip().partition(":")[0] for line in lines if line[:2] == "  " and line[2:3].isalpha()]
        absent = [key for key in keys if f"{params}: {section}.{key}: missing; add it." in mistakes]
        if absent:
            said.append(f"Add to the section {section} of {params}:")
            said += [line for key in absent for line in _block(lines, key, "  ")]
    return said


def _lines(template: str) -> list[str]:
    return (_TEMPLATES / template).read_text(encoding="utf-8").splitlines()


def _block(lines: list[str], key: str, indent: str = "") -> list[str]:
    """Return the line of a key and the lines that are indented below it."""
    start = next(number for number, line in enumerate(lines) if line.startswith(f"{indent}{key}:"))
    inner = itertools.takewhile(lambda line: not line or line.startswith(f"{indent} "), lines[start + 1 :])
    return [lines[start], *filter(None, inner)]
