"""The page of plugin contracts names only hooks, members and checks that exist, and its code runs."""

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ssl_pipeline
import ssl_pipeline.testing
from benchmarks.project import ROOT
from ssl_pipeline import types
from ssl_pipeline.contrast.similarity import cosines, log_mass
from ssl_pipeline.data.source import Source
from ssl_pipeline.registry import KINDS

PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*)\n((?:(?!## ).*\n?)*)", PAGE, re.MULTILINE))
BASES = {
    "Source": Source,
    "Operation": types.ViewOperation,
    "Pretext task": types.PretextTask,
    "Loss with negatives": types.Loss,
    "Loss without negatives": types.ViewLoss,
    "Negative-sampling strategy": types.NegativeStrategy,
    "Backbone": types.Backbone,
}


def code_of(section: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", SECTIONS[section], re.DOTALL)


def test_every_kind_and_every_hook_is_on_the_page():
    assert set(SECTIONS) >= {"What holds for all kinds", *BASES, "Optimizer", "Recipe"}
    assert set(re.findall(r"\bregister_\w+", PAGE)) == set(KINDS.values())


def test_every_check_is_named_and_exists():
    assert set(re.findall(r"\bcheck_\w+", PAGE)) == set(ssl_pipeline.testing.__all__)


def test_full_names_lead_to_something():
    names = re.findall(r"`(ssl_pipeline(?:\.\w+)+)`", PAGE)
    assert len(names) > 10
    for name in names:
        module, _, last = name.rpartition(".")
        assert hasattr(importlib.import_module(module), last) or importlib.util.find_spec(name), name


@pytest.mark.parametrize("section", BASES)
def test_members_in_a_table_are_those_of_the_base_class(section: str):
    base = BASES[section]
    for cell in re.findall(r"^\| (`.*?`) \|", SECTIONS[section], re.MULTILINE):
        for name, parameters in re.findall(r"`(\w+)(?:\((.*?)\))?`", cell):
            assert hasattr(base, name) or name in inspect.get_annotations(base), name
            if parameters and name in vars(base) and name != "__init__":  # torch's own forward names no parameters
                found = [
                    parameter for parameter in inspect.signature(getattr(base, name)).parameters if parameter != "self"
                ]
                assert parameters.split(", ") == found, name


def test_attributes_that_the_page_names_exist():
    for section, names in {
        "Operation": ["needs", "uniforms"],
        "Pretext task": ["forbidden", "needs", "objective", "uniforms", "parts", "energy_head", "views", "encoder"],
        "Loss with negatives": ["fit_to", "after_step", "energy", "refuses", "remedy", "needs_many_negatives"],
        "Loss without negatives": ["least_std"],
        "Negative-sampling strategy": ["traits", "select", "after_step"],
        "Backbone": ["embedding_dim", "map_channels", "patch_size", "small_options"],
    }.items():
        annotated = {name for base in BASES[section].__mro__ for name in inspect.get_annotations(base)}
        for name in names:
            assert (
                f"`{name}" in SECTIONS[section] or f".{name}`" in SECTIONS[section] or f"{name} =" in SECTIONS[section]
            )
            assert name in annotated or hasattr(BASES[section], name), name


@pytest.mark.parametrize(
    ("section", "name", "check"),
    [
        ("Operation", "Fade", "check_operation"),
        ("Loss with negatives", "Softmax", "check_loss"),
        ("Negative-sampling strategy", "Distant", "check_negatives"),
    ],
)
def test_the_code_passes_its_check(section: str, name: str, check: str):
    defined: dict[str, Any] = {**vars(types), "torch": torch, "cosines": cosines, "log_mass": log_mass}
    (code,) = code_of(section)
    exec(code, defined)
    getattr(ssl_pipeline.testing, check)(defined[name])


def test_the_source_passes_its_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (code,) = code_of("Source")
    defined: dict[str, Any] = {}
    exec(code, defined)
    stack = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)
    np.save("stack.npy", stack)
    ssl_pipeline.testing.check_source(
        defined["Stack"], path="stack.npy", change=lambda: np.save("stack.npy", 255 - stack)
    )


def test_the_loss_of_views_computes():
    defined: dict[str, Any] = {**vars(types)}
    (code,) = code_of("Loss without negatives")
    exec(code, defined)
    views = torch.tensor([[[0.0, 1.0]], [[0.0, 3.0]]])
    assert defined["Together"]()(views, views, None).loss.item() == 1.0


def test_the_recipe_registers():
    defined: dict[str, Any] = {"hookimpl": ssl_pipeline.hookimpl}
    (code,) = code_of("Recipe")
    exec(code, defined)
    found: dict[str, Any] = {}
    defined["register_recipes"](lambda name, factory: found.update({name: factory()}))
    assert found["my_recipe"]["pretext_task"] == {"name": "rotation"}
