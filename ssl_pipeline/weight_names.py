"""Names that `pretrain.init` accepts: weights files by their endings, and published weights by their backbone."""

from typing import TYPE_CHECKING

from ssl_pipeline.workspace import find_path

if TYPE_CHECKING:
    from ssl_pipeline.registry import Registry

__all__ = ["FILES_OF_WEIGHTS", "PICKLED", "SAFE", "named_weights"]

SAFE = ".safetensors"
"""Ending of files that contain nothing but tensors."""
PICKLED = (".pth", ".pt", ".bin", ".ckpt", ".tar")
"""Endings of files written by `torch.save`."""
_ENDINGS = (SAFE, *PICKLED)
FILES_OF_WEIGHTS = "a .safetensors file, or a .pth or .pt file of a state_dict"
"""Description of the files that weights are read from, for messages."""


def named_weights(registry: "Registry", init: str) -> str:
    """Return the name of the backbone whose published weights `pretrain.init` names; "" for anything else.

    `FAMILY/NAME.TAG` selects one of several published weights of `FAMILY/NAME`. A file of that name takes precedence.
    """
    if init.lower().endswith(_ENDINGS):
        return ""
    names = set(registry.names("backbone"))
    name = init if init in names else init.partition(".")[0]
    known = name in names or ("/" in name and f"{name.partition('/')[0]}/" in names)
    return name if known and not find_path(init, "pretrain.init").is_file() else ""
