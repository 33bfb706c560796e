"""Every mistake is reported in the words of a user of YAML: the value found, and what is allowed."""

import datetime
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError

from ssl_pipeline.validation import Checked, explain


class Part(Checked):
    size: int


class Everything(Checked):
    whole: Annotated[int, Field(ge=0, lt=9, multiple_of=2)] = 0
    number: Annotated[float, Field(gt=0.5, le=1)] = 1.0
    finite: float = 0.0
    flag: bool = True
    text: Annotated[str, Field(min_length=2, max_length=4, pattern="^[a-z]+$")] = "word"
    items: Annotated[list[int], Field(min_length=1, max_length=2)] = [0]  # noqa: RUF012 - never changed
    table: dict[str, int] = {}  # noqa: RUF012
    colour: tuple[int, int] = (0, 0)
    part: Part = Part(size=1)
    word: Literal["one", "two"] = "one"


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("whole", -2, "-2 is too small; the smallest value is 0"),
        ("whole", 10, "10 is too large; it must be less than 9"),
        ("whole", 3, "3 is not a multiple of 2"),
        ("whole", 2.5, "2.5 is not a whole number"),
        ("whole", "many", "'many' is not a whole number"),
        ("whole", None, "an empty value is not a whole number"),
        ("whole", [1], "[1] is not a whole number"),
        ("number", 0.5, "0.5 is too small; it must be greater than 0.5"),
        ("number", 1.5, "1.5 is too large; the largest value is 1"),
        ("number", "a lot", "'a lot' is not a number"),
        ("number", {"a": 1}, "a mapping is not a number"),
        ("finite", float("inf"), "inf is not a finite number"),
        ("flag", "perhaps", "'perhaps' is not true or false"),
        ("flag", [], "[] is not true or false"),
        ("text", 2024, 'YAML reads this as 2024, not as text; write it in quotes, such as text: "2024"'),
        ("text", False, 'YAML reads this as false, not as text; write it in quotes, such as text: "2024"'),
        ("text", datetime.date(2024, 1, 2), "YAML reads this as 2024-01-02, not as text; write it in quotes, such as "),
        ("text", ["a"], "['a'] is not text"),
        ("text", "a", "'a' is too short; the smallest number of characters is 2"),
        ("text", "words", "'words' is too long; the largest number of characters is 4"),
        ("text", "A1", "'A1' does not match the pattern ^[a-z]+$"),
        ("items", 3, "3 is not a list"),
        ("items", [], "[] has too few items (0); the smallest number is 1"),
        ("items", [1, 2, 3], "[1, 2, 3] has too many items (3); the largest number is 2"),
        ("table", [1], "[1] is not a mapping of keys to values"),
        ("colour", "red", "'red' is not a list"),
        ("part", "large", "'large' is not a mapping of keys to values"),
        ("word", "three", "'three' is not allowed; it must be 'one' or 'two'"),
        ("word", {"a": 1}, "a mapping is not allowed; it must be 'one' or 'two'"),
    ],
)
def test_a_mistake_is_told_with_the_value_and_what_is_allowed(key: str, value: Any, expected: str):
    with pytest.raises(ValidationError) as caught:
        Everything.model_validate({key: value})
    (line,) = explain(caught.value, Everything)
    assert line.startswith(f"{key}: {expected}")


def test_braces_and_long_values_are_shown_as_they_are():
    with pytest.raises(ValidationError) as caught:
        Everything.model_validate({"word": "{found}" * 100})
    (line,) = explain(caught.value, Everything)
    assert line.startswith("word: '{found}{found}")
    assert len(line) < 140


def test_a_key_that_is_no_text_is_told():
    with pytest.raises(ValidationError) as caught:
        Everything.model_validate({"part": {1: 2, "size": 3}})
    assert explain(caught.value, Everything) == ["part.1: a key must be text, but this one is 1"]
