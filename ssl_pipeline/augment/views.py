"""Views: all operations of a policy as one pure function of images and random numbers.

The order is that of `Policy`, and the same for all views. Geometry comes first, so that everything else works on the
few pixels of the view. Colour comes before blur, which would otherwise see edges that come from clamping. Noise comes
last, as from a sensor, so that nothing smooths or inverts it. Brightness, contrast, saturation and hue are applied in
this order. (torchvision shuffles them; they nearly commute, and a graph would have to compute all four at each of four
places.) Operations of plugins come after all of these, in the order of their names.
"""

from collections.abc import Collection, Mapping
from functools import partial
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ssl_pipeline import randomness
from ssl_pipeline.augment.draws import PARAMETERS
from ssl_pipeline.augment.maker import ViewMaker
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.data.image_spec import RGB8, ImageSpec

__all__ = ["PARAMETERS", "ViewMaker", "make_views"]


def make_views(
    policies: Mapping[str, Policy],
    counts: Mapping[str, int],
    images: Tensor,
    ids: npt.NDArray[np.uint64],
    seed: int,
    epoch: int,
    spec: ImageSpec = RGB8,
    shown: Mapping[str, Tensor] = MappingProxyType({}),
    alike: Collection[str] = (),
) -> dict[str, Tensor]:
    """Make all views that a pretext task needs; on a CPU, those of a sample are the same in every batch, to the bit.

    Args:
        policies: Kind -> policy.
        counts: Kind -> the number of views of it that a sample needs, V.
        images: Canvases (N, S, S, C), on the device on which to compute.
        ids: Ids (N,) of the samples.
        seed: Seed of the run.
        epoch: Number of the epoch, from 0.
        spec: Description of the images: what their values and channels mean.
        shown: Kind -> canvases (V, N, S, S, C), for views of images other than the samples' own.
        alike: Kinds of which all views of a sample are made with the numbers and the policy of the first.

    Returns:
        Kind -> views (N, V, C, S, S) float32 in [0, 1].

    Raises:
        ValueError: The images do not match the spec, or a policy needs colours that they do not have.
    """
    if images.shape[3] != spec.channels or images.dtype != getattr(torch, spec.dtype):
        raise ValueError(f"images {tuple(images.shape)} of {images.dtype} are not {spec}")
    made = {}
    # Mixed precision is for networks: bfloat16 would cost a crop two grey levels
    with torch.autocast(images.device.type, enabled=False):
        for kind, count in counts.items():
            size = policies[kind].size
            made[kind] = torch.empty(len(ids), count, spec.channels, size, size, device=images.device)
            for i in range(count):
                number = 0 if kind in alike else i
                maker, view = ViewMaker(policies[kind].of_view(number), spec).to(images.device), f"{kind}/{number}"
                normals = partial(_normals, seed, epoch, ids, view, (spec.channels, size, size))
                canvases = shown[kind][i] if kind in shown else images
                maker.write(made[kind][:, i], canvases, _uniforms(maker, seed, epoch, ids, view), normals)
    return made


def _uniforms(maker: ViewMaker, seed: int, epoch: int, ids: npt.NDArray[np.uint64], view: str) -> Tensor:
    """Return the random numbers (N, P) from which one view of each sample is made."""
    own = [
        randomness.uniforms(seed, epoch, ids, f"{view}/{name}", columns.stop - columns.start)
        for name, columns in maker.columns.items()
    ]
    built_in = randomness.uniforms(seed, epoch, ids, view, len(PARAMETERS))
    return torch.from_numpy(np.concatenate([built_in, *own], axis=1))


def _normals(
    seed: int, epoch: int, ids: npt.NDArray[np.uint64], view: str, shape: tuple[int, ...], numbers: Tensor
) -> Tensor:
    """Return the normal numbers (n, *shape) of the samples with these numbers in the batch."""
    return torch.from_numpy(randomness.normals(seed, epoch, ids[numbers.numpy()], view, shape))
