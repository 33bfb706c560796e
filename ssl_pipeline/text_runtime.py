"""An exported text tower as a function: texts in, embeddings out, in the space of the backbone beside it.

This module needs numpy, onnxruntime and tokenizers, and imports neither torch nor any training code. Import the class
from `ssl_pipeline.runtime`.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ssl_pipeline.deployment.execution import Provider
from ssl_pipeline.deployment.runtime import TEXT, open_session, read_metadata
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import sha256_once
from ssl_pipeline.terminal import brief, shown
from ssl_pipeline.tokenizer import TOKENIZER, Tokenizer

__all__ = ["TextTower"]

_BATCH_TEXTS = 256


class TextTower:
    """A text tower written by the stage export: it maps texts to embeddings in the space of the backbone beside it.

    Several threads may call an instance at once. The cosine between the embeddings of a text and an image says how well
    the text describes the image.

    Args:
        path: The path of `text.onnx`; `tokenizer.json` lies beside it.
        threads: The number of CPU threads per call; None leaves the choice to onnxruntime.
        provider: The execution provider of onnxruntime, as `Backbone` takes it.

    Attributes:
        path: The path of the file.
        provider: The execution provider that it runs on, in onnxruntime's words.
        dim: The length of an embedding.
        context: The number of tokens of a text that it reads, including start and end.
        metadata: All metadata of the file: text as it is, other values parsed from JSON.

    Raises:
        PipelineError: One of the two files is missing, damaged or of another run, or the provider does not work here.

    Examples:
        >>> from ssl_pipeline.runtime import TextTower
        >>> tower = TextTower("models/export/text.onnx")  # doctest: +SKIP
        >>> tower(["a red bicycle", "a dog in the snow"]).shape  # doctest: +SKIP
        (2, 256)
    """

    def __init__(self, path: str | os.PathLike[str], threads: int | None = None, provider: Provider = "auto"):
        self.path = Path(path)
        self._session = open_session(self.path, threads, patient=True, provider=provider)
        self.provider = self._session.get_providers()[0]
        self.metadata = read_metadata(self._session)
        taken, output = [node.name for node in self._session.get_inputs()], self._session.get_outputs()[0]
        if taken != ["tokens", "mask"] or len(output.shape) != 2 or not isinstance(output.shape[1], int):
            raise PipelineError(
                f"{shown(str(path), 200)} takes {shown(', '.join(taken), 100)}, and what is needed takes tokens and "
                f"their mask, to embeddings of a fixed length: name a {TEXT} of this pipeline."
            )
        self._tokenizer = _tokenizer_of(self.path, self.metadata.get("tokenizer_sha256", ""))
        self.context, self.dim = self._tokenizer.context, output.shape[1]

    def __call__(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embed texts.

        Args:
            texts: Texts of any lengths and in any script; what is beyond `context` tokens is not read.

        Returns:
            (N, dim) float32, a row for each text; of unit length unless `export.l2_normalize` was off.

        Raises:
            PipelineError: It is a single text in place of a list, or an entry is no text; the message names its number.
        """
        _check_texts(texts)
        found = np.empty((len(texts), self.dim), np.float32)
        for start in range(0, len(texts), _BATCH_TEXTS):
            tokens, mask, _ = self._tokenizer.encode(texts[start : start + _BATCH_TEXTS])
            longest = int(mask.sum(axis=1).max())  # padding changes nothing, and costs time
            given = {"tokens": tokens[:, :longest], "mask": mask[:, :longest]}
            found[start : start + len(tokens)] = self._session.run(None, given)[0]
        return found

    def truncated(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Return of which texts the end is not read, (N,), because they have more than `context` tokens.

        Raises:
            PipelineError: As calling the tower does.
        """
        _check_texts(texts)
        return self._tokenizer.encode(texts).truncated


def _check_texts(texts: Sequence[str]) -> None:
    if isinstance(texts, str):
        raise PipelineError("texts is a single text, and the model expects a list: put it in brackets.")
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise PipelineError(f"texts[{number}] is of type {type(text).__name__}, and the model expects texts (str).")


def _tokenizer_of(path: Path, digest: str) -> Tokenizer:
    """Return the tokenizer beside a text tower, which has a digest."""
    place = path.with_name(TOKENIZER)
    try:
        same = sha256_once(place) == digest
        tokenizer = Tokenizer.read(place) if same else None
    except (OSError, ValueError) as error:
        raise PipelineError(
            f"{shown(str(place), 200)} cannot be read ({brief(error)}): {TEXT} is of no use without the {TOKENIZER} "
            "that the stage export wrote beside it."
        ) from error
    if tokenizer is None:
        raise PipelineError(
            f"{shown(str(place), 200)} is not the tokenizer that {shown(str(path), 200)} was trained with: keep "
            "both files of one run together."
        )
    return tokenizer
