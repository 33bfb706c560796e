"""YAML as DVC reads it; refused content is reported in a sentence with its line."""

import os
from pathlib import Path

import pytest
from dvc.utils.serialize import load_yaml

from ssl_pipeline.errors import ConfigError
from ssl_pipeline.terminal import shown
from ssl_pipeline.yaml_file import MAX_BYTES, read_yaml

PARAMS = Path(__file__).parents[1] / "params.yaml"
LAUGHS = "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
MERGES = "a0: &a0 {k: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 30))


def test_the_shipped_parameters_are_read_as_dvc_reads_them():
    assert read_yaml(PARAMS) == load_yaml(str(PARAMS))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("off", "off"),
        ("012", 12),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", 1000),
        ("1:30", "1:30"),
        ("1e-3", 0.001),
        ("True", True),
        ("~", None),
        ("'5'", "5"),
        ("&a [1, 2]", [1, 2]),
        ("{x: &a {y: 1}, z: *a}", {"x": {"y": 1}, "z": {"y": 1}}),
        ("{x: &a {y: 1, w: 0}, z: {<<: *a, y: 2}}", {"x": {"y": 1, "w": 0}, "z": {"y": 2, "w": 0}}),
    ],
)
def test_values_are_what_dvc_makes_of_them(tmp_path: Path, text: str, value: object):
    path = tmp_path / "params.yaml"
    path.write_text(f"key: {text}\n")
    found = read_yaml(path)["key"]
    assert (found, type(found)) == (value, type(value))
    assert load_yaml(str(path)) == {"key": value}


def test_a_date_is_text(tmp_path: Path):
    path = tmp_path / "params.yaml"
    path.write_text("[2024-01-31, 2024-13-45, 2024-01-01 99:99:99]")
    assert read_yaml(path) == ["2024-01-31", "2024-13-45", "2024-01-01 99:99:99"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n", "line 5: the key 'c' is repeated, first in line 3: keep one."),
        ("a: 1\n'a': 2\n", "line 2: the key 'a' is repeated, first in line 1"),
        ("a: {b: 1,\n b: 2}\n", "line 2: the key 'b' is repeated, first in line 1"),
        ("a: 1\n2: 3\n", "line 2: a key must be text, but this one is '2'."),
        ("? [a]\n: 3\n", "line 1: a key must be text, but this one is a list or a mapping."),
        ("a: !!int abc\n", "line 1: tags (!!int) are not supported: write only the value."),
        (
            "a: !!python/object/apply:os.system [ls]\n",
            "line 1: tags (!!python/object/apply:os.system) are not supported",
        ),
        ("\na: !mine {b: 1}\n", "line 2: tags (!mine) are not supported"),
        ("a: " + "9" * 5000, "line 1: 99999999999999999999999999 … 9999999999999 cannot be read as a number."),
        ("a: 1" + "0" * 19, "line 1: the number 10000000000000000000 is too large."),
        ("a: " + "[" * 1500 + "]" * 1500, "line 1: the nesting is deeper than 40 levels."),
        ("a: " + "{a: " * 1500 + "}" * 1500, "line 1: the nesting is deeper than 40 levels."),
        ("a: &a [*a]\n", "line 1: the alias '*a' contains itself."),
        (LAUGHS, "line 6: this expands to more than 20,000 values."),
        (MERGES, "line 5: this expands to more than 20,000 values."),
        ("a: *nowhere\n", "line 1: this is not valid YAML: found undefined alias 'nowhere'."),
        ("a: 1\nb: [\n", "line 3: this is not valid YAML: "),
        ("a: 1\n---\nb: 2\n", "line 2: this is not valid YAML: but found another document."),
        ("a: '\x00'", " is not valid YAML: "),
        ("a: " + "x" * MAX_BYTES, " is larger than 200,000 bytes, so it cannot be the right file."),
        ("a: 1\n\udce9: 2\n", "line 2: the file is not UTF-8. Save it in this encoding."),
    ],
)
def test_what_is_refused_is_told_in_one_short_sentence(tmp_path: Path, text: str, message: str):
    path = tmp_path / "params.yaml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value)) < len(str(path)) + 300
    assert str(caught.value).replace("\n", "").isprintable()


def test_only_files_are_opened(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ConfigError, match="is not a file"):
            read_yaml(path)


def test_a_file_that_may_not_be_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "params.yaml").touch()

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")  # tests may run as root, who may read every file

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
        read_yaml(tmp_path / "params.yaml")


def test_text_is_shown_without_control_characters_and_with_a_bound():
    assert shown("plain ü", 10) == "plain ü"
    assert shown("a\x1b[31m\n\u202eb", 20) == "a\\x1b[31m\\n\\u202eb"
    assert shown("abcdefghijkl" * 100, 9) == "abcdef … jkl"
