"""Captions as tokens: a byte-level byte-pair encoding, trained on the captions of a pool, as one file.

Every text can be encoded, as its bytes are what is encoded. Letters become small ones, accents are composed (NFC), and
a run of white space becomes one space; a start and an end token enclose the text. The file is one of the library
`tokenizers`, and does all of this by itself, with truncation and padding, wherever it is loaded.

Sources: byte-pair encoding: Sennrich et al. 2016 (1508.07909); of bytes, with the splitting into words that is used
here: GPT-2 (Radford et al. 2019); small letters, start and end: CLIP (2103.00020), section 2.4.
"""

import functools
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import tokenizers

__all__ = ["END", "PADDING", "START", "TOKENIZER", "Encoded", "Tokenizer", "normalised", "train"]

TOKENIZER = "tokenizer.json"
PADDING, START, END = 0, 1, 2
"""The ids of the tokens that are no text."""

LEAST_VOCABULARY, LEAST_CONTEXT = 256 + 3, 3
"""All bytes and the tokens that are no text; a start, a token of text and an end."""

_NO_TEXT = ("<padding of text>", "<start of text>", "<end of text>")
"""Their names hold a space, which no token of text has (it is written Ġ), so that no text can become one of them."""
_LONGEST_TOKEN = 32  # characters; words are shorter, and what is longer is read by a merge of many captions' rubbish


_WHITE_SPACE = re.compile(r"[^\S\x1c-\x1f]+")
"""What Unicode calls white space, and the library with it; Python counts four separators of old as well."""


class Encoded(NamedTuple):
    """Texts as a text tower reads them.

    Attributes:
        tokens: (n, L) int64, the ids of tokens: a start, the text, an end, and padding up to L.
        mask: (n, L) int64, 1 where there is a token and 0 where there is padding.
        truncated: (n,) bool, whether the end of a text was cut off.
    """

    tokens: npt.NDArray[np.int64]
    mask: npt.NDArray[np.int64]
    truncated: npt.NDArray[np.bool_]


class Tokenizer:
    """Encodes texts, as its file says.

    Args:
        library: The tokenizer of the library, which truncates and pads to one length.

    Raises:
        ValueError: It does not truncate or does not pad, or not to one length.

    Examples:
        >>> tokenizer = train(["a red bicycle", "a green bicycle"], vocabulary=300, context=8)
        >>> tokenizer.encode(["A red  bicycle"]).tokens.tolist() == tokenizer.encode(["a red bicycle"]).tokens.tolist()
        True
        >>> tokenizer.encode(["a", "a red bicycle of a colour that is not known"]).mask.sum(axis=1).tolist()
        [3, 8]
    """

    def __init__(self, library: "tokenizers.Tokenizer"):
        self._library = library
        truncation, padding = library.truncation or {}, library.padding or {}
        if not truncation or truncation.get("max_length") != padding.get("length"):
            raise ValueError("it does not truncate and pad texts to one length")
        self.context: int = truncation["max_length"]

    @classmethod
    def read(cls, path: Path) -> "Tokenizer":
        """Read a tokenizer from its file.

        Raises:
            ValueError: The file is no such tokenizer; the message goes on from the file's name.
        """
        return cls.of(path.read_text(encoding="utf-8"))

    @classmethod
    def of(cls, content: str) -> "Tokenizer":
        """Return the tokenizer that the content of a file describes.

        Raises:
            ValueError: The content describes none; the message goes on from the file's name.
        """
        import tokenizers

        try:
            return cls(tokenizers.Tokenizer.from_str(content))
        except ValueError:
            raise
        except Exception as error:  # the library raises no narrower one
            raise ValueError(f"is no file of a tokenizer ({error})") from error

    @property
    def json(self) -> str:
        """The content of its file."""
        return str(self._library.to_str(pretty=True))

    @property
    def size(self) -> int:
        """The number of entries of its vocabulary, those that are no text among them."""
        return int(self._library.get_vocab_size())

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Encode texts, which may be any: (n, L), where L is `context`."""
        read = [_beginning(text, self.context) for text in texts]
        found = self._library.encode_batch([_encodable(text) for text, _ in read])
        shape = len(texts), self.context
        tokens = np.array([one.ids for one in found], np.int64).reshape(shape)
        mask = np.array([one.attention_mask for one in found], np.int64).reshape(shape)
        truncated = [cut or bool(one.overflowing) for (_, cut), one in zip(read, found, strict=True)]
        return Encoded(tokens, mask, np.array(truncated, np.bool_))


def normalised(text: str) -> str:
    """Return a text as a tokenizer reads it: in small letters, composed, and with single spaces."""
    found: str = _normalizer().normalize_str(_encodable(text))
    return found


def train(captions: Iterable[str], vocabulary: int, context: int) -> Tokenizer:
    """Train a tokenizer on captions: the same bytes in every process, whatever the order of the captions.

    Args:
        captions: The captions. A repeated one counts as often as it is there.
        vocabulary: The most entries of the vocabulary, at least 259: all bytes, and three that are no text. Few
            captions fill fewer.
        context: L, the number of tokens of a text with its start and its end, at least 3.

    Raises:
        ValueError: A number is too small.
    """
    from tokenizers import models, pre_tokenizers, processors, trainers

    if vocabulary < LEAST_VOCABULARY:
        raise ValueError(f"vocabulary must be at least {LEAST_VOCABULARY}, got {vocabulary}")
    if context < LEAST_CONTEXT:
        raise ValueError(f"context must be at least {LEAST_CONTEXT}, got {context}")
    library = _encoder_of_bytes(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=list(_NO_TEXT),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=_LONGEST_TOKEN,
        show_progress=False,
    )
    library.train_from_iterator((_encodable(_beginning(caption, context)[0]) for caption in captions), trainer)
    model = json.loads(library.to_str())["model"]
    merges = [(first, second) for first, second in model["merges"]]
    # once more without the tokens that are no text as texts to look for: a caption may hold their names
    library = _encoder_of_bytes(models.BPE(vocab=model["vocab"], merges=merges))
    named = [(name, model["vocab"][name]) for name in _NO_TEXT]
    start, end = _NO_TEXT[START], _NO_TEXT[END]
    library.post_processor = processors.TemplateProcessing(single=[start, "$A", end], special_tokens=named[1:])
    library.enable_truncation(context)
    library.enable_padding(pad_id=PADDING, pad_token=_NO_TEXT[PADDING], length=context)
    return Tokenizer(library)


def _encoder_of_bytes(model: Any) -> "tokenizers.Tokenizer":
    from tokenizers import Tokenizer as Library
    from tokenizers import decoders, pre_tokenizers

    library = Library(model)
    library.normalizer = _normalizer()
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    library.decoder = decoders.ByteLevel()
    return library


@functools.cache
def _normalizer() -> Any:
    from tokenizers import Regex, normalizers

    return normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    )


def _beginning(text: str, context: int) -> tuple[str, bool]:
    """Return what of a text can become one of `context` tokens, and whether more was cut off.

    Without this, a text of megabytes would be encoded for half a minute, of which a few tokens are read.
    """
    most = context * _LONGEST_TOKEN
    if len(text) <= most:
        return text, False
    text = _WHITE_SPACE.sub(" ", text).strip(" ")
    return text[:most], len(text) > most


def _encodable(text: str) -> str:
    """Return a text with question marks in place of what no UTF-8 has: halves of surrogate pairs."""
    return text.encode("utf-8", "replace").decode("utf-8")
