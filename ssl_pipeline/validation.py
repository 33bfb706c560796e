"""Validation of values that users write. Mistakes are reported by key, in lines of bounded length."""

from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from ssl_pipeline.terminal import shown

__all__ = ["Checked", "OrWord", "explain", "hint", "number_or", "renamed"]

MAX_LINES = 20  # mistakes to report

_NOT_A = {
    "a whole number": ("int_type", "int_parsing", "int_from_float"),
    "a number": ("float_type", "float_parsing"),
    "a finite number": ("finite_number",),
    "true or false": ("bool_type", "bool_parsing"),
    "text": ("string_type",),
    "a list": ("list_type", "tuple_type"),
    "a mapping of keys to values": ("dict_type", "model_type", "model_attributes_type"),
}
_MESSAGES = {
    "greater_than": "{found} is too small; it must be greater than {gt}",
    "greater_than_equal": "{found} is too small; the smallest value is {ge}",
    "less_than": "{found} is too large; it must be less than {lt}",
    "less_than_equal": "{found} is too large; the largest value is {le}",
    "multiple_of": "{found} is not a multiple of {multiple_of}",
    "literal_error": "{found} is not allowed; it must be {expected}",
    "too_short": "{found} has too few items ({actual_length}); the smallest number is {min_length}",
    "too_long": "{found} has too many items ({actual_length}); the largest number is {max_length}",
    "string_too_short": "{found} is too short; the smallest number of characters is {min_length}",
    "string_too_long": "{found} is too long; the largest number of characters is {max_length}",
    "string_pattern_mismatch": "{found} does not match the pattern {pattern}",
    "invalid_key": "a key must be text, but this one is {found}",
    **{kind: f"{{found}} is not {what}" for what, kinds in _NOT_A.items() for kind in kinds},
}
"""Type of pydantic's error -> message about the value found, with the fields of the error's context."""


class Checked(BaseModel):
    """Frozen model without unknown keys, without infinity, and without true or false in place of a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="wrap")
    @classmethod
    def _true_is_not_one(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        result = handler(value)
        if _became_a_number(value, result):
            raise ValueError("must be a number" if isinstance(value, bool) else "must hold numbers, not true or false")
        return result


def number_or(word: str) -> BeforeValidator:
    """Refuse everything but a word and integers from 1, with one message instead of one per alternative."""

    def check(value: Any) -> Any:
        if value == word or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
            return value
        raise ValueError(f"must be a whole number of 1 or more, or '{word}'")

    return BeforeValidator(check)


def renamed(old: str, new: str) -> BeforeValidator:
    """Refuse a word of an earlier version, with a message that names its replacement."""

    def check(value: Any) -> Any:
        if value == old:
            raise ValueError(f"'{old}' is now called '{new}': write {new}")
        return value

    return BeforeValidator(check)


@dataclass(frozen=True)
class OrWord:
    """Marker of a field that holds a value or a word: `epochs: Annotated[int | Literal["recipe"], OrWord("recipe")]`.

    Anything but the word is checked only as a value, so that a mistake is reported once, not once per alternative.

    Attributes:
        word: Word that the field accepts instead of a value.
    """

    word: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema of the first alternative of a union, extended to pass the word unchanged."""
        value = handler.generate_schema(get_args(source)[0])

        def passing(given: Any, go_on: Any) -> Any:
            return given if isinstance(given, str) and given == self.word else go_on(given)

        written = core_schema.wrap_serializer_function_ser_schema(passing, schema=value)
        return core_schema.no_info_wrap_validator_function(passing, value, serialization=written)


def _became_a_number(value: Any, result: Any) -> bool:
    """Return whether true or false was read as 1 or 0, also in lists and mappings; models check their own values."""
    if isinstance(value, bool):
        return isinstance(result, int | float) and not isinstance(result, bool)
    if isinstance(value, dict) and isinstance(result, dict):
        return any(map(_became_a_number, value.values(), result.values()))
    if isinstance(value, list | tuple) and isinstance(result, list | tuple):
        return any(map(_became_a_number, value, result))
    return False


def hint(name: str, known: Collection[str], likeness: float = 0.6) -> str:
    """Return a question that suggests the most similar known name; "" if no name has that likeness, in [0, 1]."""
    near = _nearest(name, known, likeness)
    return f" Did you mean '{shown(near, 100)}'?" if near else ""


def _nearest(name: str, known: Collection[str], likeness: float = 0.6) -> str:
    """Return the most similar known name; "" if no name has that likeness."""
    return next(iter(get_close_matches(name[:100], known, n=1, cutoff=likeness)), "")  # extremely slow on long texts


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return one line per mistake: the key, what is wrong, and the value found; for an unknown key, a suggestion.

    A misspelt key is one mistake: the key that it stands for is not reported as missing.
    """
    lines = []
    mistakes = error.errors()
    unknown = [item["loc"] for item in mistakes if item["type"] == "extra_forbidden"]
    misspelt = {(*place[:-1], _nearest(str(place[-1]), _siblings(model, place))) for place in unknown}
    for item in mistakes:
        if item["type"] == "missing" and item["loc"] in misspelt:
            continue
        key = shown(".".join(shown(str(part), 60) for part in item["loc"]), 200)
        if item["type"] == "extra_forbidden":
            known = _siblings(model, item["loc"])
            meant = hint(str(item["loc"][-1]), known) or (f" Known keys: {', '.join(known)}." if known else "")
            lines.append(f"{key}: unknown key.{meant}")
        elif item["type"] == "missing":
            lines.append(f"{key}: missing; add it.")
        else:
            message = _message(item)
            lines.append(f"{key}: {message}" if key else message)
    more = len(lines) - MAX_LINES
    return lines if more <= 0 else [*lines[:MAX_LINES], f"and {more} more mistakes"]


def _message(mistake: ErrorDetails) -> str:
    """Return what is wrong with the value of a known key."""
    value, kind = mistake["input"], mistake["type"]
    found = _as_in_yaml(value)
    if kind == "string_type" and not isinstance(value, dict | list):
        name = mistake["loc"][-1] if mistake["loc"] else 0
        quoted = f'{shown(name, 60)}: "2024"' if isinstance(name, str) else '"2024"'
        return f"YAML reads this as {found}, not as text; write it in quotes, such as {quoted}"
    if kind in _MESSAGES:
        limits = {
            name: int(limit) if isinstance(limit, float) and limit.is_integer() else limit  # 0, not 0.0
            for name, limit in mistake.get("ctx", {}).items()
        }
        return _MESSAGES[kind].format(**limits, found=found)
    more = "" if isinstance(value, dict) else f" (found {found})"
    return shown(mistake["msg"].removeprefix("Value error, "), 500) + more


def _as_in_yaml(value: Any) -> str:
    """Return a value as a YAML user knows it, in up to 80 characters."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "an empty value"
    if isinstance(value, dict) and value:
        return "a mapping"
    return shown(repr(value) if isinstance(value, str | dict | list | tuple) else str(value), 80)


def _siblings(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return the known keys at the location of an unknown one, by walking the models along its location."""
    current: Any = model
    for part in location[:-1]:
        fields = getattr(current, "model_fields", {})
        if part not in fields:  # a key of a mapping, such as a kind of view; the mapping determines its value's model
            continue
        candidates = [fields[part].annotation]
        while candidates:
            candidate = candidates.pop()
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                current = candidate
                break
            candidates.extend(getattr(candidate, "__args__", ()))
            candidates.extend(getattr(candidate, "__metadata__", ()) and [candidate.__origin__])
    return list(getattr(current, "model_fields", {}))
