"""What `pretrain.init` may name: files of weights by their endings, and published weights by their backbone."""

from typing import TYPE_CHECKING

from ssl_pipeline.workspace import find_path

if TYPE_CHECKING:
    from ssl_pipeline.registry import Registry

__all__ = ["FILES_OF_WEIGHTS", "PICKLED", "SAFE", "named_weights"]

SAFE = ".safetensors"
"""The ending of files that hold nothing but tensors."""
PICKLED = (".pth", ".pt", ".bin", ".ckpt", ".tar")
"""Endings of files that `torch.save` wrote."""
_ENDINGS = (SAFE, *PICKLED)
FILES_OF_WEIGHTS = "a .safetensors file, or a .pth or .pt file of a state_dict"
"""The files that weights are read from, in words."""


def named_weights(registry: "Registry", init: str) -> str:
    """Return the name of the backbone whose published weights `pretrain.init` asks for by name; "" for all else.

    `FAMILY/NAME.TAG` are some of several published weights of `FAMILY/NAME`. A file of that name comes first.
    """
    if init.lower().endswith(_ENDINGS):
        return ""
    names = set(registry.names("backbone"))
    name = init if init in names else init.partition(".")[0]
    known = name in names or ("/" in name and f"{name.partition('/')[0]}/" in names)
    return name if known and not find_path(init, "pretrain.init").is_file() else ""
