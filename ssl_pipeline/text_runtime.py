"""Exported text tower as a function from texts to embeddings in the space of the backbone beside it.

This module needs numpy, onnxruntime and tokenizers; it imports neither torch nor any training code. Import the class
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
    """Text tower written by the stage export, which maps texts to embeddings in the space of the backbone beside it.

    Several threads may call an instance at once. The cosine between the embeddings of a text and of an image measures
    how well the text describes the image.

    Args:
        path: Path of `text.onnx`; `tokenizer.json` must lie beside it.
        threads: Number of CPU threads per call; None leaves the choice to onnxruntime.
        provider: Execution provider of onnxruntime; see `Backbone`.

    Attributes:
        path: Path of the file.
        provider: Execution provider in use, as onnxruntime names it.
        dim: Length of an embedding.
        context: Maximum number of tokens read from a text, including start and end.
        metadata: All metadata of the file: strings unchanged, other values parsed from JSON.

    Raises:
        PipelineError: One of the two files is missing, damaged or from another run, or the provider does not work on
            this machine.

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
                f"{shown(str(path), 200)} is not a text tower: it takes {shown(', '.join(taken), 100)} instead of "
                f"tokens and mask, or its embeddings have no fixed length. Name a {TEXT} of this pipeline."
            )
        self._tokenizer = _tokenizer_of(self.path, self.metadata.get("tokenizer_sha256", ""))
        self.context, self.dim = self._tokenizer.context, output.shape[1]

    def __call__(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embed texts.

        Args:
            texts: Texts of any length and in any script; only the first `context` tokens are read.

        Returns:
            float32 array (N, dim), one row per text; rows have unit norm unless `export.l2_normalize` was off.

        Raises:
            PipelineError: `texts` is a single string, or an entry is not a string; the message names its number.
        """
        _check_texts(texts)
        found = np.empty((len(texts), self.dim), np.float32)
        for start in range(0, len(texts), _BATCH_TEXTS):
            tokens, mask, _ = self._tokenizer.encode(texts[start : start + _BATCH_TEXTS])
            longest = int(mask.sum(axis=1).max())  # padding costs time and does not change the result
            given = {"tokens": tokens[:, :longest], "mask": mask[:, :longest]}
            found[start : start + len(tokens)] = self._session.run(None, given)[0]
        return found

    def truncated(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Return a mask (N,) of the texts whose end is not read, because they have more than `context` tokens.

        Raises:
            PipelineError: `texts` is a single string, or an entry is not a string.
        """
        _check_texts(texts)
        return self._tokenizer.encode(texts).truncated


def _check_texts(texts: Sequence[str]) -> None:
    if isinstance(texts, str):
        raise PipelineError("texts is a single string, but the model expects a list. Put it in brackets.")
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise PipelineError(f"texts[{number}] is of type {type(text).__name__}, but the model expects str.")


def _tokenizer_of(path: Path, digest: str) -> Tokenizer:
    """Return the tokenizer beside a text tower, after checking its digest."""
    place = path.with_name(TOKENIZER)
    try:
        same = sha256_once(place) == digest
        tokenizer = Tokenizer.read(place) if same else None
    except (OSError, ValueError) as error:
        raise PipelineError(
            f"{shown(str(place), 200)} cannot be read ({brief(error)}). {TEXT} needs the {TOKENIZER} that the stage "
            "export wrote beside it."
        ) from error
    if tokenizer is None:
        raise PipelineError(
            f"{shown(str(place), 200)} is not the tokenizer that {shown(str(path), 200)} was trained with. Keep both "
            "files of one run together."
        )
    return tokenizer
