"""The weights of a trained backbone under the names that another library's network uses."""

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
    """Return the weights of a trained backbone under the names that timm, torchvision or its own network uses.

    Build the receiving network with the options of `backbone` in model.json, such as timm's `img_size`, `patch_size`
    and `in_chans`. For `stem: small`, replace its first convolution with a 3x3 convolution of stride 1 and padding 1,
    and the `maxpool` that follows it, if any, with `torch.nn.Identity()`. Feed it images (N, C, S, S), as usual in
    these libraries, normalised by the `mean` and `std` of model.json.

    Args:
        model: The folder of a trained model, with encoder.safetensors and model.json: `models/pretrain`, or the `out`
            of `ssl_pipeline.pretrain`.
        num_classes: The number of outputs of a new classifier, all of whose weights are 0, for a network that is built
            with one; 0: no classifier, as in `timm.create_model(..., num_classes=0)`.

    Returns:
        A mapping from names to tensors on the CPU.

    Raises:
        PipelineError: The model does not exist or is damaged.
        ConfigError: `num_classes` is negative, or the backbone's network has no classifier.

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
            f"there is no {CARD} in '{shown(str(folder), 200)}'. Give the folder of a trained model: models/pretrain "
            "of a project, or the `out` of ssl_pipeline.pretrain."
        )
    with within_call("Train again", "train it again, by `dvc repro --force pretrain` or by ssl_pipeline.pretrain"):
        encoder, card = load_encoder(load_registry(), folder)
    try:
        return encoder.backbone.library_state_dict(num_classes)
    except ValueError as error:
        raise ConfigError(f"backbone '{card.backbone.name}': {error}.") from error
