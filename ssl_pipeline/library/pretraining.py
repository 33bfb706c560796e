"""Pretraining in one call: the stages ingest, augment, pretrain and export, in one folder and without DVC."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
from torch import Tensor

from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.artifacts.files import ENCODER, load_encoder, load_task
from ssl_pipeline.augment.policy import Policy, check_colours
from ssl_pipeline.data.ingest import Shares, ingest
from ssl_pipeline.data.store import open_split
from ssl_pipeline.deployment.learning import Places, learn
from ssl_pipeline.deployment.release import read_evidence, release
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.export_config import GraphConfig
from ssl_pipeline.guard import only_run
from ssl_pipeline.library.collections import FoundImages, find_images
from ssl_pipeline.library.embedding import embed
from ssl_pipeline.library.images import ImageLike
from ssl_pipeline.library.settings import Settings, read_settings
from ssl_pipeline.library.weights import state_dict
from ssl_pipeline.loading import load_registry
from ssl_pipeline.operations import build_operations, operations_used
from ssl_pipeline.plugin_sources import OWN, built_in
from ssl_pipeline.products import (
    DIGESTS,
    atomic_folder,
    digest,
    read_product,
    remove_leftovers,
    verified,
    write_product,
)
from ssl_pipeline.progress import say
from ssl_pipeline.provenance import plugins as provenance
from ssl_pipeline.provenance.fingerprint import given_teacher
from ssl_pipeline.provenance.modules import installed
from ssl_pipeline.recipes import Method, method_of, resolve_views, suited
from ssl_pipeline.registry import Registry
from ssl_pipeline.remedies import within_call
from ssl_pipeline.types import Encoder

if TYPE_CHECKING:
    from torch.utils.data import Dataset

__all__ = ["Pretrained", "pretrain"]

_RUN = "run.json"
_REHEARSED_IMAGES = 20_000  # over all epochs: a run on fewer images ends before a trial export would
_EXPORT = GraphConfig(layer="last", l2_normalize=True, opset=18)


@dataclass(frozen=True)
class Pretrained:
    """A trained encoder and its files.

    Attributes:
        folder: The folder of the files.
        encoder: The encoder in eval mode, on the CPU: images (N, C, S, S) in [0, 1] -> embeddings (N, D).
        card: The encoder's description: backbone, recipe, size, mean and std.
    """

    folder: Path
    encoder: Encoder
    card: ModelCard

    @property
    def weights(self) -> Path:
        """The encoder's weights, encoder.safetensors."""
        return self.folder / ENCODER

    @property
    def backbone(self) -> Path:
        """The ONNX graph from pixels to embeddings, backbone.onnx, proved equal to the encoder."""
        return self.folder / "backbone.onnx"

    @property
    def pretext(self) -> Path:
        """The ONNX graph from pixels to the pretext task's predictions or projections, pretext.onnx."""
        return self.folder / "pretext.onnx"

    @property
    def reports(self) -> Path:
        """The folder of curves, pictures and warnings."""
        return self.folder / "reports"

    def embed(self, images: Any) -> npt.NDArray[Any]:
        """Return the embeddings (N, D) that `backbone` gives images; see `ssl_pipeline.embed`."""
        return embed(self.backbone, images)

    def state_dict(self, *, num_classes: int = 0) -> dict[str, Tensor]:
        """Return the weights with the names that timm or torchvision uses; see `ssl_pipeline.state_dict`."""
        return state_dict(self.folder, num_classes=num_classes)


def pretrain(
    images: "ImageLike | Mapping[str, Any] | Tensor | Dataset[Any]",
    recipe: str,
    out: str | os.PathLike[str],
    **settings: Any,
) -> Pretrained:
    """Learn an encoder from images without their labels, and export it.

    A run that was killed resumes from its last checkpoint when the function is called again, and ends with the same
    bits; a finished run is returned as it is. Changing the recipe, a setting or an image starts a different run, whose
    files replace the earlier ones.

    Args:
        images: The path of a directory or a .zip file; a source as in `ingest.source`, such as `{"name": "torchvision",
            "path": "data", "dataset": "CIFAR10"}`; a uint8 array (N, H, W, C); or a `torch.utils.data.Dataset` of
            images (Pillow images, arrays (H, W, C), or tensors (C, H, W) of 8 bits or of floats in [0, 1]). Labels are
            ignored. Images that a source assigns to test or validation are not learned from.
        recipe: The name of the recipe.
        out: The output folder, which receives encoder.safetensors, model.json, backbone.onnx, energy.onnx,
            pretext.onnx, reports/, the decoded images and, until the run is done, checkpoints.
        **settings: Settings of params.yaml by their names in its sections ingest, augment and pretrain, such as
            `epochs=100`, `loss={"temperature": 0.1}`, `views={"global": {...}}`, `canvas=72` or `seed=1`. Any other
            setting has the value of the recipe (in the size `small`) or of the shipped params.yaml.

    Returns:
        The encoder and the paths of its files.

    Raises:
        ConfigError: A setting is refused, as in params.yaml.
        PipelineError: The images cannot be used, or the run failed.
        KeyboardInterrupt: The run was interrupted by Ctrl-C or SIGTERM; a checkpoint is saved.

    Examples:
        >>> import ssl_pipeline
        >>> run = ssl_pipeline.pretrain(images="photos", recipe="simclr", out="run")  # doctest: +SKIP
        >>> run.embed(["cat.jpg", "dog.jpg"]).shape  # doctest: +SKIP
        (2, 64)
    """
    chosen, registry = read_settings(recipe, settings), load_registry()
    method = method_of(registry, chosen.pretrain)
    views = build_operations(registry, resolve_views(method, chosen.augment.views))
    folder = Path(out)
    work = folder / ".work"
    remedies = "Call ssl_pipeline.pretrain again", f"remove {folder / 'ingested'}, and call ssl_pipeline.pretrain again"
    with only_run(work), within_call(*remedies):
        remove_leftovers([folder, work])
        as_is = chosen.ingest.pixels.name == "as_is"
        found = find_images(images, registry, as_is, work / "hashes.sqlite")
        _store(folder, found, chosen, max(policy.size for policy in views.values()))
        pool = open_split(folder / "ingested" / "store", "train")
        policies = suited(views, chosen.augment.views, pool.spec)
        check_colours(policies, pool.spec)
        used = [*provenance.method(registry, chosen.pretrain)]
        used += [provenance.used_plugin(entry) for entry in operations_used(registry, policies)]
        packages = installed(*{name.partition(".")[0] for name in ("ssl_pipeline", *built_in())}) | {OWN.name: OWN}
        code = provenance.code(packages, provenance.TRAINING, used)
        told = {kind: policy.model_dump(mode="json") for kind, policy in policies.items()}
        key = digest(
            [method.pretrain.model_dump(mode="json"), told, pool.sha256, code, *given_teacher(method.pretrain).values()]
        )
        if not _is_of(folder, key):
            _train(registry, method, policies, folder, code, provenance.origins(used), key)
        encoder, card = load_encoder(registry, folder)
        return Pretrained(folder, encoder, card)


def _store(folder: Path, found: FoundImages, chosen: Settings, size: int) -> None:
    """Decode the images, unless the store already holds exactly these."""
    canvas, section = chosen.canvas(size), chosen.ingest
    shares = Shares(section.seed, 0.0, 0.0, section.max_reject_fraction)
    told = digest([found.key, repr(canvas), repr(shares)])
    try:
        kept = read_product(folder / "ingested" / "manifest.json", "ingest")["source"].get("key")
    except PipelineError:
        kept = None
    if found.key and kept == told:
        return
    with atomic_folder(folder / "ingested") as fresh, _without_main():
        manifest = ingest(found.open(), fresh, canvas, shares, folder, source={"key": told})
    counts = manifest["counts"]
    say(f"images: {counts['train']:,} to learn from, {counts['rejected']:,} rejected, see {folder / 'ingested'}")


@contextmanager
def _without_main() -> Iterator[None]:
    """Keep decoding processes from importing the user's script again, as processes that Python spawns do.

    They need nothing from the script, and it may call `pretrain` outside of `if __name__ == "__main__"`.
    """
    main = sys.modules["__main__"]
    hidden: dict[str, Any] = {name: vars(main)[name] for name in ("__file__", "__spec__") if name in vars(main)}
    vars(main).update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        vars(main).update(hidden)


def _train(
    registry: Registry,
    method: Method,
    policies: Mapping[str, Policy],
    folder: Path,
    code: Mapping[str, str],
    plugins: Mapping[str, str],
    key: str,
) -> None:
    """Train and export in the work folder, then move the finished files into the output folder."""
    store, model = folder / "ingested" / "store", folder / ".work" / "model"
    if not _is_of(model, key):
        section, places = method.pretrain, Places(store, folder / ".work", model, folder / "reports")
        images = section.epochs * len(open_split(store, "train"))
        learn(registry, method, policies, places, code, plugins, rehearsed=images >= _REHEARSED_IMAGES)
    task, card = load_task(registry, model), load_encoder(registry, model)[1]
    reference = [sys.executable, "-m", "ssl_pipeline", "reference", str(model)]
    release(model, task, card, _EXPORT, read_evidence(store), reference, model)
    write_product(model / _RUN, {"key": key})
    (folder / DIGESTS).unlink(missing_ok=True)  # from here on, the old files no longer count as complete
    for path in sorted(model.iterdir(), key=lambda path: path.name == DIGESTS):  # last: it vouches for all others
        path.replace(folder / path.name)
    model.rmdir()


def _is_of(folder: Path, key: str) -> bool:
    """Return whether the files in a folder are complete and belong to the run with this key."""
    try:
        known = read_product(folder / _RUN, "pretrain")["key"]
        for name in (ENCODER, "backbone.onnx"):
            verified(folder / name, "export")
    except PipelineError:
        return False
    return bool(known == key)
