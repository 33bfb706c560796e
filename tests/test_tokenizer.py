"""Captions as tokens: the same bytes everywhere, any text, and no text that is mistaken for a special token."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tokenizers

from ssl_pipeline.tokenizer import _WHITE_SPACE, END, PADDING, START, Tokenizer, normalised, train

CAPTIONS = [f"{colour} {shape}: a {colour} one" for colour in ("red", "Gründe", "blue") for shape in ("circle", "star")]
PROCESSES = 20
SCRIPT = """
import random, sys
from ssl_pipeline.tokenizer import train
captions = [line.rstrip("\\n") for line in open(sys.argv[1], encoding="utf-8")]
random.shuffle(captions)
print(train(captions, vocabulary=700, context=16).json)
"""
HOSTILE = [
    "",
    " \t\n ",
    "a\0b",
    "\ud800 half a pair",
    "שלום ﷽ مرحبا",
    "\u202eright to left",
    "x" * 10_000,
    "é" * 500,
    "👩‍👩‍👧‍👧" * 50,
    "<end of text>",
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train(CAPTIONS, vocabulary=320, context=12)


def test_twenty_processes_train_the_same_bytes(tmp_path: Path):
    """The order of the captions, the hash seed and the number of threads make no difference."""
    path = tmp_path / "captions.txt"
    path.write_text("\n".join(f"{caption} number {n % 37} of {n}" for n in range(120) for caption in CAPTIONS))
    surroundings = [
        {"PYTHONHASHSEED": str(n), "RAYON_NUM_THREADS": str(1 + n % 3), "TOKENIZERS_PARALLELISM": "01"[n % 2]}
        for n in range(PROCESSES)
    ]
    command = [sys.executable, "-c", SCRIPT, str(path)]
    begun = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | own) for own in surroundings]
    written = {process.communicate()[0] for process in begun}
    assert [process.returncode for process in begun] == [0] * PROCESSES
    assert len(written) == 1
    assert Tokenizer.of(written.pop()).size > 259 + 100


def test_a_text_lies_between_a_start_and_an_end_and_is_padded(tokenizer: Tokenizer):
    found = tokenizer.encode(["a star", "a blue star and a red circle, a blue star and a red circle", "quartz"])
    assert found.tokens.shape == found.mask.shape == (3, 12)
    assert found.tokens.dtype == found.mask.dtype == np.int64
    for tokens, mask in zip(found.tokens, found.mask, strict=True):
        length = mask.sum()
        assert (mask[:length] == 1).all()
        assert (tokens[0], tokens[length - 1]) == (START, END)
        assert (tokens[length:] == PADDING).all()
        assert not np.isin(tokens[1 : length - 1], [PADDING, START, END]).any()
    assert found.truncated.tolist() == [False, True, False]


def test_letters_accents_and_white_space_do_not_tell_texts_apart(tokenizer: Tokenizer):
    tokens = tokenizer.encode(["Gründe  and\nA\tstar ", "gru\u0308nde and a star"]).tokens
    assert (tokens[0] == tokens[1]).all()


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:12]))
def test_any_text_can_be_encoded_and_none_becomes_a_token_that_is_no_text(tokenizer: Tokenizer, text: str):
    found = tokenizer.encode([text])
    length = int(found.mask.sum())
    assert 2 <= length <= 12
    assert not np.isin(found.tokens[0, 1 : length - 1], [PADDING, START, END]).any()
    assert found.truncated[0] or len(text) < 100


@pytest.mark.parametrize("text", [text for text in HOSTILE if text.strip()], ids=lambda text: ascii(text[:12]))
def test_it_can_be_trained_on_any_text(text: str):
    trained = train([text, text, "a star"], vocabulary=300, context=6)
    assert trained.encode([text]).tokens.max() < trained.size <= 300


def test_the_library_reads_the_file_and_says_the_same(tokenizer: Tokenizer, tmp_path: Path):
    """A user of the file needs nothing of this project."""
    path = tmp_path / "tokenizer.json"
    path.write_text(tokenizer.json, encoding="utf-8")
    library, again = tokenizers.Tokenizer.from_file(str(path)), Tokenizer.read(path)
    texts = [text for text in HOSTILE + CAPTIONS if "\ud800" not in text]
    found = tokenizer.encode(texts)
    assert [one.ids for one in library.encode_batch(texts)] == found.tokens.tolist()
    assert [one.attention_mask for one in library.encode_batch(texts)] == found.mask.tolist()
    assert again.json == tokenizer.json
    assert (again.context, again.size) == (12, tokenizer.size)
    assert library.decode(library.encode("a  Red\tstar").ids[1:4]).strip() == "a red star"


@pytest.mark.parametrize(
    ("content", "message"),
    [("{}", "is not a tokenizer file"), ("not json", "is not a tokenizer file"), (None, "does not truncate and pad")],
)
def test_another_file_is_refused(content: str | None, message: str):
    with pytest.raises(ValueError, match=message):
        Tokenizer.of(content or tokenizers.Tokenizer(tokenizers.models.BPE()).to_str())


@pytest.mark.parametrize(("numbers", "message"), [((258, 8), "vocabulary must be at least 259"), ((300, 2), "context")])
def test_numbers_that_are_too_small_are_refused(numbers: tuple[int, int], message: str):
    with pytest.raises(ValueError, match=message):
        train(CAPTIONS, *numbers)


def test_of_a_very_long_text_the_beginning_is_encoded_and_the_rest_is_told(monkeypatch: pytest.MonkeyPatch):
    """Without a limit, a text of megabytes would take half a minute, though only a few tokens are read."""
    tokenizer, encoded = train(CAPTIONS, vocabulary=320, context=12), []

    class Spy:
        def __init__(self, library: tokenizers.Tokenizer):
            self.encode_batch = lambda texts: encoded.extend(texts) or library.encode_batch(texts)

    words = "a red circle and a blue star beside the sea " * 4
    long = [words * 1_000, "a" + " " * 10_000 + "b", " \x1c ".join("ab" * 500)]
    whole = tokenizers.Tokenizer.from_str(tokenizer.json).encode_batch([words, *long])
    monkeypatch.setattr(tokenizer, "_library", Spy(tokenizer._library))
    found = tokenizer.encode([words, *long])
    assert max(map(len, encoded)) <= 12 * 32
    assert found.tokens.tolist() == [one.ids for one in whole]
    assert found.truncated.tolist() == [True, True, False, True]


def test_what_is_white_space_is_so_for_the_library_and_here():
    """Python also counts U+001C to U+001F as white space; Unicode does not."""
    spaces = {chr(number) for number in range(0x10000) if normalised(f"a{chr(number)}b") == "a b"}
    assert spaces == {chr(number) for number in range(0x10000) if _WHITE_SPACE.fullmatch(chr(number))}
    assert {" ", "\n", "\u3000"} < spaces
    assert "\x1c" not in spaces
