"""Write settings into params.yaml, while preserving every comment and all values that the user has set.

`plan.json` beside params.yaml records the values that the last plan wrote. A value that differs from its record was set
by the user. A key that no plan has written was set by the user if its value differs from the shipped one.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from ssl_pipeline.errors import PipelineError
from ssl_pipeline.planning.draft import Setting, value_at
from ssl_pipeline.products import atomic_file, write_json
from ssl_pipeline.terminal import brief
from ssl_pipeline.yaml_file import read_yaml

__all__ = ["RECORD", "read_record", "set_by_a_person", "write_settings"]

RECORD = "plan.json"
"""Name of the file beside params.yaml that records planned values."""


def read_record(folder: Path) -> dict[str, Any]:
    """Return the values of the last plan by key; an empty mapping if there has been no plan.

    Raises:
        PipelineError: The record is damaged.
    """
    path = folder / RECORD
    try:
        planned = json.loads(path.read_bytes())["planned"]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        planned, reason = None, brief(error)
    else:
        reason = "not a mapping"
    if not isinstance(planned, dict):
        raise PipelineError(
            f"{path} is damaged ({reason}), so it no longer tells which values of params.yaml were planned. Restore it "
            "with git, or remove it; in that case, all values that differ from the shipped ones count as yours."
        )
    return planned


def set_by_a_person(
    content: Mapping[str, Any], record: Mapping[str, Any], shipped: Mapping[str, Any], keys: Iterable[str]
) -> set[str]:
    """Return the keys whose values the user has set.

    Args:
        content: Content of params.yaml.
        record: Values of the last plan, as returned by `read_record`.
        shipped: Key -> value in the shipped params.yaml.
        keys: Keys to check, such as pretrain.epochs.
    """
    before = {**shipped, **record}
    return {key for key in keys if key in before and value_at(content, key) != before[key]}


def write_settings(path: Path, settings: Collection[Setting], source: Mapping[str, Any] | None = None) -> None:
    """Write settings into params.yaml, except those that the user has set, and record them in plan.json.

    Operations on views that are no longer planned are turned off, not removed, so that their comments are preserved.

    Args:
        path: Path of params.yaml, which must be valid.
        settings: Settings to write.
        source: Value of `ingest.source` to write as well, which counts as set by the user; None to leave it.

    Raises:
        PipelineError: A file cannot be written.
    """
    yaml = YAML(typ="rt")
    yaml.width, yaml.preserve_quotes = 4096, True
    content = yaml.load(path.read_text(encoding="utf-8-sig"))
    for setting in settings:
        if not setting.left:
            section, _, name = setting.key.partition(".")
            _put(content[section], name, setting.value)
    if source is not None:
        _put(content["ingest"], "source", source)
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        yaml.dump(content, file)
    written = read_yaml(path)
    planned = {setting.key: value_at(written, setting.key) for setting in settings if not setting.left}
    write_json(path.parent / RECORD, {"planned": read_record(path.parent) | planned})


def _put(mapping: CommentedMap, name: str, value: Any) -> None:
    """Put a value into a section; values of several lines are updated line by line, as each line has a comment."""
    present = mapping.get(name)
    if name == "views" and isinstance(present, CommentedMap):
        for kind, policy in value.items():
            if isinstance(present.get(kind), CommentedMap):
                _merge(present[kind], policy)
                _turn_off(present[kind], policy)
            else:
                _insert(present, kind, CommentedMap({key: _flow(inner) for key, inner in policy.items()}))
    elif name in ("optimizer", "source") and isinstance(present, CommentedMap):
        if name == "source":  # remove options of the former source
            for key in present.keys() - value.keys():
                del present[key]
        _merge(present, value)
    elif present != value:
        mapping[name] = _flow(value)


def _merge(present: CommentedMap, values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if key not in present:
            _insert(present, key, _flow(value))
        elif present[key] != value:
            present[key] = _flow(value)


def _turn_off(present: CommentedMap, policy: Mapping[str, Any]) -> None:
    """Set the probability of operations that are not in a policy to 0."""
    for operation, value in present.items():
        if operation not in policy and isinstance(value, CommentedMap) and "p" in value:
            value["p"] = 0.0


def _insert(mapping: CommentedMap, key: str, value: Any) -> None:
    """Insert a key before the last one, to which ruamel attaches the comments that follow the mapping."""
    mapping.insert(max(len(mapping) - 1, 0), key, value)


def _flow(value: Any) -> Any:
    """Return a value in YAML's flow style, which is written on one line."""
    if isinstance(value, Mapping):
        mapping = CommentedMap({key: _flow(inner) for key, inner in value.items()})
        mapping.fa.set_flow_style()
        return mapping
    if isinstance(value, (list, tuple)):
        sequence = CommentedSeq(_flow(inner) for inner in value)
        sequence.fa.set_flow_style()
        return sequence
    return value
