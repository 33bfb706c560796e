"""Captions as tokens: byte-level byte-pair encoding, trained on the captions of a pool and stored in one file.

Every text can be encoded, because the encoding works on bytes. Letters are lower-cased, accents are composed (NFC), and
each run of white space becomes one space; a start and an end token enclose the text. The file is in the format of the
library `tokenizers`, and does all of this, with truncation and padding, wherever it is loaded.

Sources: byte-pair encoding: Sennrich et al. 2016 (1508.07909); on bytes, with the splitting into words that is used
here: GPT-2 (Radford et al. 2019); lower case, start and end tokens: CLIP (2103.00020), section 2.4.
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
"""Ids of the special tokens, which do not represent text."""

LEAST_VOCABULARY, LEAST_CONTEXT = 256 + 3, 3
"""Smallest vocabulary: all bytes and the special tokens. Smallest context: a start, a token of text and an end."""

_NO_TEXT = ("<padding of text>", "<start of text>", "<end of text>")
"""Names of the special tokens. They contain a space, which no token of text does (it is written Ġ), so that no text can
become one of them."""
_LONGEST_TOKEN = 32  # characters; words are shorter, and longer tokens would be learned from garbage in captions


_WHITE_SPACE = re.compile(r"[^\S\x1c-\x1f]+")
"""White space by the definition of Unicode and of the library; Python's also includes four old separators."""


class Encoded(NamedTuple):
    """Texts in the form that a text tower reads.

    Attributes:
        tokens: Ids of tokens, int64 (n, L): a start, the text, an end, and padding up to L.
        mask: Mask of the tokens, int64 (n, L): 1 for a token, 0 for padding.
        truncated: Flags, bool (n,): whether the end of a text was cut off.
    """

    tokens: npt.NDArray[np.int64]
    mask: npt.NDArray[np.int64]
    truncated: npt.NDArray[np.bool_]


class Tokenizer:
    """Encoder of texts, as defined by its file.

    Args:
        library: Tokenizer of the library, which must truncate and pad to the same length.

    Raises:
        ValueError: The tokenizer does not truncate, does not pad, or does so to different lengths.

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
            ValueError: The file does not contain such a tokenizer; the message continues a sentence that begins with
                the file's name.
        """
        return cls.of(path.read_text(encoding="utf-8"))

    @classmethod
    def of(cls, content: str) -> "Tokenizer":
        """Return the tokenizer that the content of a file describes.

        Raises:
            ValueError: The content does not describe such a tokenizer; the message continues a sentence that begins
                with the file's name.
        """
        import tokenizers

        try:
            return cls(tokenizers.Tokenizer.from_str(content))
        except ValueError:
            raise
        except Exception as error:  # the library raises nothing more specific
            raise ValueError(f"is not a tokenizer file ({error})") from error

    @property
    def json(self) -> str:
        """Content of the tokenizer's file."""
        return str(self._library.to_str(pretty=True))

    @property
    def size(self) -> int:
        """Number of entries of the vocabulary, including special tokens."""
        return int(self._library.get_vocab_size())

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Encode any texts as arrays (n, L), where L is `context`."""
        read = [_beginning(text, self.context) for text in texts]
        found = self._library.encode_batch([_encodable(text) for text, _ in read])
        shape = len(texts), self.context
        tokens = np.array([one.ids for one in found], np.int64).reshape(shape)
        mask = np.array([one.attention_mask for one in found], np.int64).reshape(shape)
        truncated = [cut or bool(one.overflowing) for (_, cut), one in zip(read, found, strict=True)]
        return Encoded(tokens, mask, np.array(truncated, np.bool_))


def normalised(text: str) -> str:
    """Return a text as a tokenizer reads it: in lower case, composed (NFC), and with single spaces."""
    found: str = _normalizer().normalize_str(_encodable(text))
    return found


def train(captions: Iterable[str], vocabulary: int, context: int) -> Tokenizer:
    """Train a tokenizer on captions. It has the same bytes in every process, whatever the order of the captions.

    Args:
        captions: Captions; each repetition counts.
        vocabulary: Maximum number of entries of the vocabulary, at least 259: all bytes and three special tokens. A
            small number of captions fills fewer entries.
        context: Number L of tokens of a text, including its start and end, at least 3.

    Raises:
        ValueError: `vocabulary` or `context` is too small.
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
    # rebuild it without searching texts for special tokens, because a caption may contain their names
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
    """Return the part of a text that `context` tokens can cover, and whether anything was cut off.

    Without this, encoding a text of megabytes would take half a minute, though only a few tokens are read.
    """
    most = context * _LONGEST_TOKEN
    if len(text) <= most:
        return text, False
    text = _WHITE_SPACE.sub(" ", text).strip(" ")
    return text[:most], len(text) > most


def _encodable(text: str) -> str:
    """Return a text with question marks in place of lone surrogates, which UTF-8 cannot represent."""
    return text.encode("utf-8", "replace").decode("utf-8")
