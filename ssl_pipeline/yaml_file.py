"""Read YAML as DVC does: version 1.2, in which `yes` is a string, 012 is twelve and 1:30 is not a number.

Only values that JSON can represent are accepted: mappings with string keys, lists, strings, numbers, true, false and
null. Tags are refused and dates are strings, so that no file can run code or mean something its author did not write.
"""

import io
import warnings
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ssl_pipeline.errors import ConfigError
from ssl_pipeline.terminal import shown

__all__ = ["in_yaml", "read_yaml"]

MAX_BYTES = 200_000
MAX_DEPTH = 40
MAX_VALUES = 20_000
"""Maximum number of values after aliases are expanded; a few nested aliases can expand to more than memory holds."""

_TAG_PREFIX = "tag:yaml.org,2002:"


def read_yaml(path: Path) -> Any:
    """Read a YAML file.

    Raises:
        ConfigError: The file cannot be read or is not such YAML; the message is one sentence with the line number.
    """
    text = _text(path)
    reader = YAML(typ="safe", pure=True)
    reader.Composer, reader.Constructor = _Composer, _Constructor
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the only warning is about anchors defined twice, which are legal
            return reader.load(text)
    except _RefusedError as error:
        raise ConfigError(f"{path}, line {error.line}: {error}.") from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        problem = shown(str(error.problem or error.context), 200)
        raise ConfigError(f"{path}{line}: this is not valid YAML: {problem}.") from error
    except YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {shown(str(error), 200)}.") from error


def in_yaml(content: Any) -> str:
    """Return mappings, lists and values as YAML, preserving their order."""
    writer = YAML(typ="safe", pure=True)
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # ruamel's annotation has None alone
    writer.default_flow_style = None
    text = io.StringIO()
    writer.dump(content, text)
    return text.getvalue()


def _text(path: Path) -> str:
    """Return the file's text; a device or a pipe is refused, because reading it may never end."""
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path} is not a file: name a YAML file.")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path} does not exist. Run this command in the folder that contains {path.name}, or create a project "
            "with `ssl-pipeline init`."
        ) from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_BYTES:,} bytes, so it cannot be the right file.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}, line {line}: the file is not UTF-8. Save it in this encoding.") from error


class _RefusedError(Exception):
    """Valid YAML that is not accepted here."""

    def __init__(self, problem: str, mark: Any):
        super().__init__(problem)
        self.line = mark.line + 1


class _Composer(Composer):
    """Composer of a tree of nodes that refuses tags, repeated keys, deep nesting and too many values."""

    def __init__(self, loader: Any = None):
        super().__init__(loader=loader)
        self.nesting = 0
        self.values: dict[int, int] = {}  # id of a finished node -> number of its values

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.parser.peek_event()
        alias = isinstance(event, AliasEvent)
        if not alias and event.ctag is not None and str(event.ctag) != "!":
            tag = shown(str(event.ctag).replace(_TAG_PREFIX, "!!"), 60)
            raise _RefusedError(f"tags ({tag}) are not supported: write only the value", event.start_mark)
        if self.nesting == MAX_DEPTH:
            raise _RefusedError(f"the nesting is deeper than {MAX_DEPTH} levels", event.start_mark)
        self.nesting += 1
        node = super().compose_node(parent, index)
        self.nesting -= 1
        if alias and id(node) not in self.values:
            raise _RefusedError(f"the alias '*{shown(event.anchor, 60)}' contains itself", event.start_mark)
        if isinstance(node, MappingNode):
            _check_keys(node)
        self.values[id(node)] = 1 + sum(self.values[id(child)] for child in _children(node))
        if self.values[id(node)] > MAX_VALUES:
            raise _RefusedError(f"this expands to more than {MAX_VALUES:,} values", event.start_mark)
        return node


def _children(node: Node) -> list[Node]:
    if isinstance(node, MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, SequenceNode) else []


def _check_keys(mapping: MappingNode) -> None:
    """Refuse keys that are not strings, and repeated keys."""
    lines: dict[str, int] = {}
    for key, _ in mapping.value:
        if not isinstance(key, ScalarNode) or str(key.ctag) not in (f"{_TAG_PREFIX}str", f"{_TAG_PREFIX}merge"):
            found = shown(repr(key.value), 60) if isinstance(key, ScalarNode) else "a list or a mapping"
            raise _RefusedError(f"a key must be text, but this one is {found}", key.start_mark)
        if key.value in lines:
            twice = f"the key '{shown(key.value, 60)}' is repeated, first in line {lines[key.value]}: keep one"
            raise _RefusedError(twice, key.start_mark)
        lines[key.value] = key.start_mark.line + 1


class _Constructor(SafeConstructor):
    """Constructor of values from nodes that reports invalid numbers with their line."""

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
        except (ValueError, OverflowError) as error:
            raise _RefusedError(f"{shown(node.value, 40)} cannot be read as a number", node.start_mark) from error
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise _RefusedError(f"the number {shown(node.value, 40)} is too large", node.start_mark)
        return value


_Constructor.add_constructor(f"{_TAG_PREFIX}timestamp", SafeConstructor.construct_yaml_str)
