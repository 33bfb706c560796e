"""The plugins that each stage uses, whose edits run it again."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from ssl_pipeline.config import Config, load
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.provenance import plugins as provenance
from ssl_pipeline_stages import STAGES
from ssl_pipeline_stages.code import PACKAGES, SHAPES_NOTHING, _ask, used
from tests.test_registry import install, site

__all__ = ["site"]

PARAMS = Path(__file__).parents[2] / "params.yaml"
OPERATION = """
from ssl_pipeline import hookimpl
from ssl_pipeline.types import ViewOperation
class Fade(ViewOperation):
    def forward(self, images, uniforms):
        return images * 0.5
@hookimpl
def register_operations(register):
    register("NAME", Fade)
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def configured(tmp_path: Path, views: Any = None, **changes: dict[str, Any]) -> Config:
    params = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    for name, values in changes.items():
        params[name] |= values
    if views is not None:
        params["augment"]["views"] = views
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    return load(tmp_path / "params.yaml")


def with_operations(**operations: dict[str, Any]) -> dict[str, Any]:
    return {"global": {"size": 16, **operations}, "plain": {"size": 16}}


def digests(config: Config) -> dict[str, dict[str, str]]:
    uses, _ = _ask(config)
    return {
        name: provenance.code(PACKAGES, [f"ssl_pipeline_stages.{name}"], uses.get(name, []), SHAPES_NOTHING)
        for name in STAGES
        if name != "inventory"
    }


def named(plugins: list[provenance.Used]) -> set[str]:
    return {f"{plugin.kind} {plugin.name}" for plugin in plugins}


def test_each_stage_uses_the_method_and_augment_only_what_makes_views(tmp_path: Path):
    uses, _ = _ask(configured(tmp_path, linear_eval={"rivals": ["timm/resnet18"]}))
    method = {"recipe simclr", "pretext_task joint_embedding", "loss info_nce", "negatives in_batch"}
    method |= {"backbone resnet_cifar", "optimizer adamw"}
    assert {stage: named(plugins) for stage, plugins in uses.items()} == {
        "ingest": {"source digits"},
        "augment": set(),
        "pretrain": method,
        "export": method,
        "linear_eval": method | {"backbone timm/"},
        "finetune": method,
    }


def test_views_that_are_left_to_the_recipe_make_augment_depend_on_it(tmp_path: Path):
    plain = {"plain": {"size": 16}}
    for views in ("recipe", {"global": "recipe", **plain}):
        assert named(_ask(configured(tmp_path, views))[0]["augment"]) == {"views of recipe simclr"}
    assert named(_ask(configured(tmp_path, {"global": {"size": 16}, **plain}))[0]["augment"]) == set()


def test_an_edit_of_an_operation_in_use_reaches_augment_and_what_follows_and_of_another_none(
    tmp_path: Path, site: Path
):
    install(site, "fading", OPERATION.replace("NAME", "fade"))
    install(site, "bystander", OPERATION.replace("NAME", "not_received"))
    config = configured(tmp_path, with_operations(fade={"p": 0.5}, not_received={"p": 0.0}))
    before = digests(config)
    (site / "bystander.py").write_text(OPERATION.replace("NAME", "not_received").replace("0.5", "0.6"))
    assert digests(config) == before
    (site / "fading.py").write_text(OPERATION.replace("NAME", "fade").replace("0.5", "0.6"))
    after = digests(config)
    changed = {stage: {key for key in before[stage] if before[stage][key] != after[stage][key]} for stage in before}
    reached = ("augment", "pretrain", "export", "linear_eval", "finetune")
    assert changed == {stage: {"fading 0.3"} if stage in reached else set() for stage in before}


def test_a_built_in_operation_counts_where_it_is_in_use(tmp_path: Path):
    module = "ssl_pipeline_plugins.operations.random_erasing"
    without, found = (digests(configured(tmp_path, with_operations(random_erasing={"p": p}))) for p in (0.0, 0.1))
    reached = ["augment", "pretrain", "export", "linear_eval", "finetune"]  # curate and report read only what ships
    assert [stage for stage in found if module in found[stage]] == reached
    assert not any(module in stage for stage in without.values())


def test_an_operation_of_a_plugin_that_is_gone_is_told_with_what_it_came(tmp_path: Path):
    from ssl_pipeline.loading import load_registry

    lock = '{"gone-plugin": {"version": "1.2", "provides": ["operation fade"]}}'
    (tmp_path / "plugins.lock").write_text(lock)
    config = configured(tmp_path, with_operations(fade={"p": 0.5}))
    with pytest.raises(ConfigError, match=r"(?s)global\.fade: unknown name 'fade'.*came with gone-plugin 1\.2: pip"):
        used(load_registry(), config)
