"""Our SimCLR and lightly's on the same files, lightly's as its documentation builds it.

Both train a ResNet-18 (below 64 px with a stem of 3 x 3 and no pooling), or a smaller network, in batches of the same
size, with crops, flips, colour jitter and grayscale of the same strengths; at 32 px, neither blurs.

lightly's is `examples/pytorch/simclr.py`: `SimCLRTransform` on a `LightlyDataset`, a `DataLoader` that shuffles and
drops the last, incomplete batch, `SimCLRProjectionHead`, `NTXentLoss`, and SGD with a learning rate of 0.06; each view
passes through the network separately. The documentation uses eight workers; here, the caller chooses their number.

Ours is `pretraining.train`, the loop of the stage, on a store that ingest has made from the files. It neither evaluates
the encoder nor writes checkpoints, because a run of few steps would do so as often as a run of some minutes;
`benchmarks.epoch` includes both.
"""

import tempfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, Subset

from benchmarks.project import ROOT, change, copy_project
from benchmarks.stage import stage
from benchmarks.views import canvases
from ssl_pipeline.artifacts.assembly import build_encoder
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.config import Choice, PretrainConfig, load
from ssl_pipeline.data.store import Split, open_split
from ssl_pipeline.evaluation.features import sample
from ssl_pipeline.loading import load_registry
from ssl_pipeline.recipes import method_of
from ssl_pipeline.training import optimization, preparation, pretraining
from ssl_pipeline.training.batch_encoder import in_float32
from ssl_pipeline.training.batch_inputs import inputs
from ssl_pipeline.training.checkpoint import Checkpoints
from ssl_pipeline.training.precision import best_device, resolve_precision
from ssl_pipeline.training.run import Run
from ssl_pipeline.training.together import ALONE, Ranks
from ssl_pipeline.types import Step
from ssl_pipeline_stages.paths import STORE

__all__ = ["Ours", "Theirs", "photographs", "store_of"]

PHOTO_SIDE = 64
"""Smallest side of images, px, for which networks have the stem for ImageNet, which reduces images early."""
NO_BLUR = 32  # px
RESNET18 = {"name": "torchvision/resnet18"}
VAL = 0.05
"""Share of the images that ingest holds back for validation."""


def photographs(folder: Path, side: int, count: int, archive: Path | None) -> None:
    """Write JPEG files for training.

    Args:
        folder: Folder to create.
        side: Side of the views, px.
        count: Number of files.
        archive: Zip file from which evenly spaced JPEG files are copied; None: patches of two photographs are written,
            which are a third taller than wide from a side of 64 px on.

    Raises:
        SystemExit: The archive has too few JPEG files.
    """
    folder.mkdir(parents=True)
    if archive is not None:
        with zipfile.ZipFile(archive) as source:
            names = [name for name in source.namelist() if name.lower().endswith((".jpg", ".jpeg"))]
            if len(names) < count:
                raise SystemExit(f"{archive} has {len(names)} JPEG files, but {count} are needed. Lower --steps.")
            every = len(names) // count
            for number, name in enumerate(names[::every][:count]):
                (folder / f"{number:05}.jpg").write_bytes(source.read(name))
        return
    long = side if side < PHOTO_SIDE else side * 4 // 3
    for number, patch_of in enumerate(canvases(long, count).numpy()):
        Image.fromarray(patch_of[:, :side]).save(folder / f"{number:05}.jpg", quality=90)


def store_of(project: Path, images: Path, canvas: int) -> Path:
    """Ingest a folder of images; return the path of the store."""
    copy_project(project)
    change(project, ingest={"source": {"name": "folder", "path": str(images)}, "canvas": canvas, "val_fraction": VAL})
    stage(project, "ingest", torch.get_num_threads())
    return project / STORE


def policy(side: int) -> Policy:
    """Return a policy with the operations of lightly's transform."""
    strength = 1.0 if side > NO_BLUR else 0.5
    jitter: dict[str, Any] = {key: 0.8 * strength for key in ("brightness", "contrast", "saturation")}
    blur = {"gaussian_blur": {"p": 0.5, "sigma": [0.1, 2.0]}} if side > NO_BLUR else {}
    return Policy.model_validate(
        {
            "size": side,
            "random_resized_crop": {"p": 1.0, "scale": [0.08, 1.0], "ratio": [0.75, 4 / 3]},
            "horizontal_flip": {"p": 0.5},
            "color_jitter": {"p": 0.8, **jitter, "hue": 0.2 * strength},
            "grayscale": {"p": 0.2},
            **blur,
        }
    )


class Ours:
    """The loop of the stage pretrain, without evaluation and checkpoints.

    Args:
        pool: Path of a store, or a split.
        side: Side of the views, px.
        batch: Number of images per step.
        steps: Number of steps per epoch.
        precision: Name of the precision, as in `pretrain.precision`.
        values: Other values of the section `pretrain`.

    Raises:
        SystemExit: The pool has fewer than `batch * steps` images.
    """

    def __init__(self, pool: Path | Split, side: int, batch: int, steps: int, precision: str = "fp32", **values: Any):
        registry = load_registry()
        self.pool = first(open_split(pool, "train") if isinstance(pool, Path) else pool, batch * steps)
        self.policies = {"global": policy(side)}
        backbone = {**RESNET18, "stem": "small" if side < PHOTO_SIDE else "imagenet"}
        section = load(ROOT / "params.yaml").pretrain.model_dump() | {"backbone": backbone, "epochs": 1, **values}
        method = method_of(registry, PretrainConfig.model_validate(section | {"batch_size": batch}))
        self.section = method.pretrain
        self.precision = resolve_precision(precision, best_device())  # type: ignore[arg-type]
        self.task = preparation.build(registry, method.recipe, self.section, self.pool, self.policies)
        self.optimizer = partial(optimization.build_optimizer, registry, self.section.optimizer)

    def go(self, make_optimizer: Callable[[nn.Module], optim.Optimizer] | None = None, ranks: Ranks = ALONE) -> None:
        """Train for all epochs."""
        no_looks = patch.object(pretraining.Plan, "looks", autospec=True, return_value=False)
        no_checkpoints = patch.object(Run, "save", autospec=True)
        with tempfile.TemporaryDirectory() as scratch, no_looks, no_checkpoints:
            checkpoints = Checkpoints(Path(scratch), "f" * 64, {})
            pretraining.train(
                self.task, self.pool, self.policies, self.section, make_optimizer or self.optimizer, self.precision,
                checkpoints, ranks=ranks,
            )  # fmt: skip

    def bare(self, steps: int) -> Callable[[], None]:
        """Return a function that takes `steps` steps on views that are ready: the least that any pipeline must do."""
        ids = self.pool.ids[: self.section.batch_size]
        images = torch.from_numpy(self.pool.images(np.arange(len(ids)))).to(self.precision.device)
        views = inputs(self.task, self.policies, images, ids, 0, 0, self.pool.spec)
        optimizer = self.optimizer(self.task)
        step = Step(0, steps, 0, 0, torch.from_numpy(ids.view(np.int64)).to(images.device), measured=False)

        def take() -> None:
            for _ in range(steps):
                with self.precision.autocast():
                    encoded = self.task(views)
                loss = self.task.compare(in_float32(encoded), step).loss
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()

        return take


def first(pool: Split, count: int) -> Split:
    """Return a split of the first `count` images of a pool, in memory.

    Raises:
        SystemExit: The pool has fewer images.
    """
    if len(pool) < count:
        raise SystemExit(f"the store has {len(pool)} training images, but {count} are needed")
    images = pool.images(np.arange(count))
    return Split(pool.name, pool.canvas, pool.ids[:count], pool.mean, pool.std, pool.sha256, (images,))


class Theirs:
    """lightly's SimCLR.

    Args:
        images: Folder of images.
        side: Side of the views, px.
        batch: Number of images per step.
        steps: Number of steps per epoch.
        workers: Number of worker processes of the loader; 0: this process makes the views.
        backbone: One of our backbones to train in place of lightly's ResNet-18, such as a smaller one.
        seed: Seed of the weights and of the views.
    """

    def __init__(
        self,
        images: Path,
        side: int,
        batch: int,
        steps: int,
        workers: int,
        backbone: Choice | None = None,
        seed: int = 0,
    ):
        from lightly.data import LightlyDataset
        from lightly.loss import NTXentLoss
        from lightly.transforms import SimCLRTransform

        torch.manual_seed(seed)
        small: dict[str, float] = {"gaussian_blur": 0.0, "cj_strength": 0.5} if side <= NO_BLUR else {}
        dataset = LightlyDataset(str(images), transform=SimCLRTransform(input_size=side, **small))  # type: ignore[arg-type]
        self.device = best_device()
        self.backbone, dim = resnet18(side) if backbone is None else ours_of(backbone, side, seed)
        self.model = SimCLR(self.backbone, dim).to(self.device)
        self.loader = DataLoader(
            Subset(dataset, sample(dataset, batch * steps).tolist()),
            batch_size=batch,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
        )
        self.criterion = NTXentLoss()
        self.optimizer: optim.Optimizer = optim.SGD(self.model.parameters(), lr=0.06)
        self.after_step: Callable[[], None] = lambda: None

    def go(self) -> None:
        """Train for one epoch."""
        self.model.train()
        for batch in self.loader:
            first_views, second_views = batch[0]
            z0 = self.model(first_views.to(self.device))
            z1 = self.model(second_views.to(self.device))
            loss = self.criterion(z0, z1)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.after_step()


class SimCLR(nn.Module):
    """A backbone with lightly's projection head."""

    def __init__(self, backbone: nn.Module, dim: int):
        from lightly.models.modules import SimCLRProjectionHead

        super().__init__()
        self.backbone, self.head = backbone, SimCLRProjectionHead(dim, dim, 128)

    def forward(self, images: Tensor) -> Tensor:
        projected: Tensor = self.head(self.backbone(images).flatten(start_dim=1))
        return projected


def resnet18(side: int) -> tuple[nn.Module, int]:
    """Return the network of lightly's documentation, with a stem for `side` px, and its embedding dimension."""
    network = torchvision.models.resnet18()
    if side < PHOTO_SIDE:
        network.conv1, network.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    return nn.Sequential(*list(network.children())[:-1]), 512


def ours_of(backbone: Choice, side: int, seed: int) -> tuple[nn.Module, int]:
    """Return one of our backbones without the normalisation of images, and its embedding dimension."""
    encoder = build_encoder(load_registry(), backbone, (0.5,) * 3, (0.5,) * 3, seed, side)
    return encoder.backbone, encoder.embedding_dim
