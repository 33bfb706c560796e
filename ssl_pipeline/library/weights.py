"""The weights of a trained backbone as another library's own network has them."""

import os
from pathlib import Path

from torch import Tensor

from ssl_pipeline.artifacts.card import CARD
from ssl_pipeline.artifacts.files import load_encoder
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.loading import load_registry
from ssl_pipeline.remedies import within_call
from ssl_pipeline.terminal import shown

__all__ = ["state_dict"]


def state_dict(model: str | os.PathLike[str], *, num_classes: int = 0) -> dict[str, Tensor]:
    """Return the weights of a trained backbone under the names of timm's, torchvision's or its own network.

    Build the receiving network with the options of `backbone` in model.json, such as timm's `img_size`, `patch_size`
    and `in_chans`. For `stem: small`, replace its first convolution by a 3x3 convolution with stride 1 and padding 1,
    and a following `maxpool` by `torch.nn.Identity()`. Pass it images (N, C, S, S) as usual in these libraries,
    normalised by the `mean` and `std` of model.json.

    Args:
        model: The folder of a trained model, with encoder.safetensors and model.json: `models/pretrain`, or what
            `ssl_pipeline.pretrain` was given as `out`.
        num_classes: The number of outputs of a new classifier, all of whose weights are 0, for a network that is built
            with one; 0: no classifier, as in `timm.create_model(..., num_classes=0)`.

    Returns:
        Name -> a tensor on the CPU.

    Raises:
        PipelineError: There is no such model, or it is damaged.
        ConfigError: The backbone has no classifier of its own to give.

    Examples:
        >>> import timm, torchvision
        >>> network = torchvision.models.resnet18(num_classes=10)
        >>> network.load_state_dict(state_dict("models/pretrain", num_classes=10), strict=True)  # doctest: +SKIP
        <All keys matched successfully>
        >>> network = timm.create_model("resnet18", num_classes=0)
        >>> network.load_state_dict(state_dict("models/pretrain"), strict=True)  # doctest: +SKIP
        <All keys matched successfully>
    """
    if num_classes < 0:
        raise ConfigError(f"num_classes must be at least 0, got {num_classes}.")
    folder = Path(model)
    if not (folder / CARD).is_file():
        raise PipelineError(
            f"there is no {CARD} in '{shown(str(folder), 200)}'. Name the folder of a trained model: models/pretrain "
            "of a project, or what ssl_pipeline.pretrain was given as out."
        )
    with within_call("Train again", "train it again, by `dvc repro --force pretrain` or by ssl_pipeline.pretrain"):
        encoder, card = load_encoder(load_registry(), folder)
    try:
        return encoder.backbone.library_state_dict(num_classes)
    except ValueError as error:
        raise ConfigError(f"backbone '{card.backbone.name}': {error}.") from error
