"""Settings in params.yaml: what a person has set stays, and so does every comment.

Whether a person has set a value is told by what it was before: `plan.json` beside params.yaml notes each value that was
planned last, and a value that is another one now was set by somebody. Of keys that no plan has written yet, those count
as set by a person whose values are not as they ship.
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
"""The name of the note, beside params.yaml."""


def read_record(folder: Path) -> dict[str, Any]:
    """Return what was planned last: key -> value; nothing where there has been no plan.

    Raises:
        PipelineError: The note is damaged.
    """
    path = folder / RECORD
    try:
        planned = json.loads(path.read_bytes())["planned"]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        planned, reason = None, brief(error)
    else:
        reason = "no mapping"
    if not isinstance(planned, dict):
        raise PipelineError(
            f"{path} is damaged ({reason}), and says no more what of params.yaml was planned: restore it with git, or "
            "remove it; then all values that are not as they ship count as yours."
        )
    return planned


def set_by_a_person(
    content: Mapping[str, Any], record: Mapping[str, Any], shipped: Mapping[str, Any], keys: Iterable[str]
) -> set[str]:
    """Return those of some keys whose values a person has set.

    Args:
        content: The content of params.yaml.
        record: What `read_record` returns.
        shipped: Key -> the value that params.yaml has before anybody has changed one.
        keys: The keys to look at, such as pretrain.epochs.
    """
    before = {**shipped, **record}
    return {key for key in keys if key in before and value_at(content, key) != before[key]}


def write_settings(path: Path, settings: Collection[Setting], source: Mapping[str, Any] | None = None) -> None:
    """Write settings into params.yaml but for those that are left to a person, and note them in plan.json.

    Operations on views that are no longer planned are turned off, not removed, so that their comments stay.

    Args:
        path: The path of params.yaml, which is valid.
        settings: The settings.
        source: `ingest.source`, where it is to be set as well; it counts as set by a person.

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
    """Put a value into a section; of what has several lines one after another, as each has a comment."""
    present = mapping.get(name)
    if name == "views" and isinstance(present, CommentedMap):
        for kind, policy in value.items():
            if isinstance(present.get(kind), CommentedMap):
                _merge(present[kind], policy)
                _turn_off(present[kind], policy)
            else:
                _insert(present, kind, CommentedMap({key: _flow(inner) for key, inner in policy.items()}))
    elif name in ("optimizer", "source") and isinstance(present, CommentedMap):
        if name == "source":  # options of another source
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
    """Set the probability of operations that a policy has not to 0."""
    for operation, value in present.items():
        if operation not in policy and isinstance(value, CommentedMap) and "p" in value:
            value["p"] = 0.0


def _insert(mapping: CommentedMap, key: str, value: Any) -> None:
    """Insert before the last key, to which ruamel attaches the comments that follow the mapping."""
    mapping.insert(max(len(mapping) - 1, 0), key, value)


def _flow(value: Any) -> Any:
    """Return a value that is written on one line."""
    if isinstance(value, Mapping):
        mapping = CommentedMap({key: _flow(inner) for key, inner in value.items()})
        mapping.fa.set_flow_style()
        return mapping
    if isinstance(value, (list, tuple)):
        sequence = CommentedSeq(_flow(inner) for inner in value)
        sequence.fa.set_flow_style()
        return sequence
    return value
