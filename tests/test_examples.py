"""The examples in docstrings run, and every class that a plugin author subclasses or calls has an example."""

import doctest
import importlib
import inspect
import pkgutil
from types import ModuleType

import pytest
import torch

import ssl_pipeline.contrast
import ssl_pipeline.data.source
import ssl_pipeline.parts
import ssl_pipeline.types


def modules() -> list[ModuleType]:
    """Return all modules of the core that contain an example."""
    names = [module.name for module in pkgutil.walk_packages(ssl_pipeline.__path__, "ssl_pipeline.")]
    found = [importlib.import_module(name) for name in names]
    return [module for module in found if ">>> " in inspect.getsource(module)]


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.__name__)
def test_examples_give_what_they_say(module: ModuleType):
    torch.manual_seed(0)
    ran = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert ran.attempted
    assert ran.failed == 0


def public_classes() -> list[type]:
    rooms = [ssl_pipeline.types]
    rooms += [
        importlib.import_module(f"ssl_pipeline.parts.{module.name}")
        for module in pkgutil.iter_modules(ssl_pipeline.parts.__path__)
    ]
    rooms.append(ssl_pipeline.data.source)
    public = {getattr(room, name) for room in rooms for name in getattr(room, "__all__", ())}
    return sorted(filter(inspect.isclass, public), key=lambda kind: kind.__qualname__)


@pytest.mark.parametrize("kind", public_classes(), ids=lambda kind: kind.__name__)
def test_what_plugin_authors_build_on_has_an_example(kind: type):
    assert "Examples:\n    >>> " in (inspect.getdoc(kind) or ""), f"add an example to {kind.__module__}.{kind.__name__}"
