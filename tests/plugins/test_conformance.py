"""The conformance kit passes every built-in plugin: they keep the contract that others' plugins have to keep."""

from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from ssl_pipeline import testing
from ssl_pipeline.config import load
from ssl_pipeline.loading import load_registry
from ssl_pipeline.options import injected
from ssl_pipeline.recipes import resolve
from ssl_pipeline.registry import KINDS
from ssl_pipeline.testing.graphs import text_tower_exports

REGISTRY = load_registry()
DEFAULTS = load(Path(__file__).parents[2] / "params.yaml").pretrain
CHECKS = {kind: getattr(testing, f"check_{kind}") for kind in KINDS if kind not in ("recipe", "source")}
JOINT = {"hidden_dim": 32, "out_dim": 16}
TEXT = {"vocabulary": 300, "context": 8, "width": 16, "depth": 1, "heads": 2}
# cases that neither a recipe nor a default covers, or that they cover only in a larger size
CASES: dict[tuple[str, str], list[dict[str, Any]]] = {
    ("pretext_task", "joint_embedding"): [
        JOINT | {"predictor_dim": 32, "momentum": 0.9, "symmetric": False, "local_views": 2},
        JOINT | {"neighbours": 96, "keys": "other_view", "layers": 3, "batch_norms": "none"},
    ],
    ("pretext_task", "non_contrastive"): [
        JOINT | {"global_views": 3},
        JOINT
        | {"predictor_dim": 32, "momentum": 0.9, "layers": 3, "last_norm": True, "local_views": 2, "ships": "teacher"},
    ],
    ("pretext_task", "denoise"): [{"blur": 1.0}],
    ("pretext_task", "distill"): [{"hidden_dim": 32, "views": 2, "views_weight": 0.5, "targets": "views"}],
    ("pretext_task", "image_text"): [TEXT | {"out_dim": 8}],
    ("pretext_task", "image_text_views"): [TEXT | {"out_dim": 8, "hidden_dim": 16, "views_dim": 8, "layers": 2}],
    ("pretext_task", "mae"): [{"width": 16, "depth": 1, "heads": 2}],
    ("pretext_task", "masked"): [{"mask_size": 4}],
    ("pretext_task", "masked_tokens"): [{"words": 12, "patch_size": 2, "mask_size": 4}],
    ("pretext_task", "frame_order"): [{}, {"asks": "permutation"}],
    ("pretext_task", "missing_frame"): [{"words": 12, "patch_size": 4, "frames": 5}],
    ("pretext_task", "flip"): [{}, {"view": "global"}],
    ("pretext_task", "jigsaw"): [
        {"tiles": 2, "permutations": 12},
        {"size": 24, "permutations": 16, "hidden_dim": 32, "gap": 0.0, "channels": "all"},
    ],
    ("pretext_task", "relative_patch"): [{}, {"size": 24, "hidden_dim": 32, "jitter": 0.2, "channels": "all"}],
    ("pretext_task", "colorization"): [{"channels": 16}],
    ("loss", "decoupled"): [{"temperature": 0.2}, {"temperature": 0.2, "sigma": 0.5}],
    ("loss", "dino"): [{"prototypes": 12, "momentum": 0.99}],
    ("loss", "negative_log_likelihood"): [{"beta": 2.5}, {"beta": 2.5, "energy": "network"}],
    ("loss", "info_nce"): [{"temperature": 0.05}, {"temperature": 0.07, "learned_temperature": True}],
    ("loss", "nce"): [{"temperature": 0.2}, {"temperature": 0.2, "normaliser": "estimated"}],
    ("loss", "prototype_distillation"): [{"prototypes": 40}],
    ("loss", "sigmoid"): [{"bias": -6.0}],
    ("loss", "similarity_distillation"): [{}, {"queue_size": 48, "own": False}],
    ("loss", "spectral"): [{"radius": 10.0}],
    ("loss", "square_exponential"): [{"energy": "cosine"}],
    ("loss", "swav"): [{"prototypes": 12}, {"prototypes": 12, "queue_size": 24}],
    ("loss", "triplet"): [{"margin": 0.3}, {"margin": 0.3, "distance": "squared_euclidean", "soft": True}],
    ("loss", "truncated_triplet"): [{"margin": 1.0, "rank": 3, "band": 2}],
    ("loss", "w_mse"): [{"shrinkage": 0.1}],
    ("negatives", "cross_batch"): [{"memory_size": 96}],
    ("negatives", "debiased"): [{"class_prior": 0.1}],
    ("negatives", "false_negative"): [{"count": 2}, {"count": 2, "threshold": 0.5, "mode": "attract"}],
    ("negatives", "hard"): [{"beta": 2.0}],
    ("negatives", "hard_debiased"): [{"beta": 2.0, "class_prior": 0.1}],
    ("negatives", "queue"): [{"queue_size": 96}],
    ("negatives", "ring"): [{"lower": 0.2, "upper": 0.9}],
    ("negatives", "semi_hard"): [{"margin": 0.3}],
    ("negatives", "truncated"): [{"drop": 2}],
    ("optimizer", "adamw"): [{}, {"momentum": 0.0, "second_beta": 0.95}],
    ("optimizer", "sgd"): [{}, {"nesterov": False}, {"momentum": 0.0}],
    ("optimizer", "lars"): [{}, {"trust_coefficient": 0.02, "clip": True}],
    ("backbone", "resnet_cifar"): [{"depth": 8, "width": 4}],
    ("backbone", "timm/"): [{"model": "test_resnet"}, {"model": "test_vit", "size": 32, "patch_size": 8}],
    ("backbone", "torchvision/"): [{"model": "shufflenet_v2_x0_5", "size": 16}],
}


BUILT_IN = [(entry.kind, entry.name) for entry in REGISTRY.entries() if entry.distribution == "ssl-pipeline"]


RECIPES = [resolve(REGISTRY, DEFAULTS.model_copy(update={"recipe": recipe})) for recipe in REGISTRY.names("recipe")]


def cases(kind: str, name: str) -> list[dict[str, Any]]:
    """Return the options to check a built-in with: those above, or else those of a recipe, or else its defaults."""
    choices = [
        choice for recipe in RECIPES for part, choice in recipe.parts().items() if (part, choice.name) == (kind, name)
    ]
    return CASES.get((kind, name)) or [choices[0].options if choices else {}]


def test_options_are_of_built_ins_and_every_kind_is_checked():
    assert set(CASES) <= set(BUILT_IN)
    # test_pretext_tasks.py covers recipes, which are data; test_sources.py covers sources, which need some
    assert {kind for kind, _ in BUILT_IN} - set(CHECKS) == {"recipe", "source"}


@pytest.mark.parametrize(
    ("kind", "name", "options"),
    [(kind, name, options) for kind, name in BUILT_IN if kind in CHECKS for options in cases(kind, name)],
)
def test_a_built_in_is_as_promised(kind: str, name: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    if name == "image_text_views":  # its text tower is that of image_text, and takes seconds to export
        others = [check for check in testing._PRETEXT_TASK if check is not text_tower_exports]
        monkeypatch.setattr(testing, "_PRETEXT_TASK", others)
    CHECKS[kind](REGISTRY.find(kind, name).factory, **options)


def test_options_are_given_by_name():
    entries = [
        entry
        for entry in REGISTRY.entries()
        if entry.kind in ("pretext_task", "loss", "negatives", "backbone", "operation", "optimizer")
    ]
    by_place = [
        f"{entry.kind} {entry.name}: {name}"
        for entry in entries
        for name, parameter in signature(entry.factory).parameters.items()
        if name not in injected(entry.kind, entry.family) and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    assert entries
    assert not by_place, f"put a * before these options, so that every call names them: {by_place}"
