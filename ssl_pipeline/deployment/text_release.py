"""text.onnx and its tokenizer, as the stage `export` writes them: the graph is proved equal to torch."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.artifacts.files import TEXT_TOWER
from ssl_pipeline.deployment.bounds import TEXT_TOWER as BOUNDS
from ssl_pipeline.deployment.parity import rebuilt
from ssl_pipeline.deployment.proof import Batches, Reference, prove
from ssl_pipeline.deployment.runtime import TEXT
from ssl_pipeline.deployment.text_graph import export_text
from ssl_pipeline.export_config import GraphConfig
from ssl_pipeline.products import record, sha256_once, verified
from ssl_pipeline.tokenizer import TOKENIZER, Tokenizer
from ssl_pipeline.types import TextTower

__all__ = ["release_text", "texts_to_try", "verify_text"]

_MOST_CAPTIONS = 16
_STRANGE = (
    "",
    "a",
    "\0",
    " \n ",
    "\u0628\u0634\u0643\u0644",
    "\u81ea\u884c\u8f66",
    "\U0001f9d1\u200d\U0001f680",
    "long " * 2000,
)
"""Cases that captions may happen to lack: no text, one letter, other scripts, more text than is read."""
_ADVICE = "the text tower has operations that do not export exactly; try another export.opset."


def release_text(
    folder: Path,
    tower: TextTower,
    card: ModelCard,
    section: GraphConfig,
    trained: Path,
    captions: Sequence[str],
    reference: Sequence[str],
) -> dict[str, Any]:
    """Write text.onnx and tokenizer.json, and prove the graph.

    Args:
        folder: Folder that receives the files; it may be that of the trained model.
        tower: Trained text tower.
        card: Card of the encoder that it was trained with.
        section: Settings of graphs, from the section `export` of params.yaml.
        trained: Folder of the trained model, which contains the tokenizer and the weights.
        captions: Captions to try the graph on, perhaps none.
        reference: Command that starts a new process and rebuilds the tower; see `verify_text`.

    Returns:
        The figures of the proof.

    Raises:
        PipelineError: The graph does not compute what was trained, or the tokenizer is missing or damaged.
    """
    tokenizer, path = verified(trained / TOKENIZER, "pretrain"), folder / TEXT
    digests = {
        "text_weights_sha256": sha256_once(trained / TEXT_TOWER),
        "tokenizer_sha256": sha256_once(tokenizer),
    }
    export_text(tower, card, digests, path, l2_normalize=section.l2_normalize, opset=section.opset)
    figures = verify_text(path, captions, Tokenizer.read(tokenizer), reference, l2_normalize=section.l2_normalize)
    if folder != trained:
        shutil.copyfile(tokenizer, folder / TOKENIZER)
        record(folder / TOKENIZER)
    return figures


def verify_text(
    path: Path, captions: Sequence[str], tokenizer: Tokenizer, command: Sequence[str], *, l2_normalize: bool
) -> dict[str, Any]:
    """Compare text.onnx with torch, which gets each text alone and without padding.

    This also proves that an embedding depends neither on the other texts of a batch nor on padding.

    Args:
        path: Path of the ONNX file.
        captions: Captions, of which the first ones are tried; perhaps none.
        tokenizer: Tokenizer of the tower.
        command: Command that starts a new process and rebuilds torch's model from its files, such as
            `[sys.executable, "-m", "ssl_pipeline", "reference", folder]`. The paths of two .npz files and `--texts` are
            appended: the process reads tokens and masks from the first and writes torch's embeddings to the second.
        l2_normalize: Whether embeddings have unit length.

    Returns:
        The figures of the proof, and the number of texts.

    Raises:
        PipelineError: A bound is broken; the message says which, and what to do.
        subprocess.CalledProcessError: The new process failed; its message is on stderr.
    """
    batches = texts_to_try(captions, tokenizer)
    option = "--l2-normalize" if l2_normalize else "--no-l2-normalize"
    arrays = {
        f"{kind}/{name}": array for name, both in batches.items() for kind, array in zip(_KINDS, both, strict=True)
    }
    answers = rebuilt(path, command, ["--texts", "--layer", "last", option], arrays)
    proof = prove(path, Reference("torch", [lambda _: answers]), batches, BOUNDS, _ADVICE, varied=["all"])
    return {
        "max_difference": proof.max_difference,
        "row_difference": proof.row_difference,
        "min_cosine": proof.min_cosine,
        "variation": proof.variation,
        "texts": len(batches["all"][0]),
        "providers": list(proof.providers),
    }


_KINDS = ("tokens", "mask")


def texts_to_try(captions: Sequence[str], tokenizer: Tokenizer) -> Batches:
    """Return tokens and masks (N, L) of captions and of unusual texts: all padded, some truncated, and one alone."""
    tokens, mask, _ = tokenizer.encode([*captions[:_MOST_CAPTIONS], *_STRANGE])
    lengths = mask.sum(axis=1)
    short = lengths <= np.median(lengths)
    longest = int(lengths[short].max())
    least = int(lengths.argmin())
    return {
        "all": (tokens, mask),
        "short": (tokens[short, :longest], mask[short, :longest]),
        "one": (tokens[least : least + 1, : lengths[least]], mask[least : least + 1, : lengths[least]]),
    }
