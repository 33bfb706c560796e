"""The code of the plugins that a run uses, and the lock file that records their origin."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.project import copy_code
from ssl_pipeline import hookimpl
from ssl_pipeline.config import PretrainSection, load
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.loading import load_registry
from ssl_pipeline.provenance import plugins as provenance
from ssl_pipeline.types import Register
from ssl_pipeline_stages.code import PACKAGES, SHAPES_NOTHING
from tests.test_registry import LOSS, install, site

__all__ = ["site"]

DEFAULTS = load(Path(__file__).parents[2] / "params.yaml").pretrain
GONE = '{"gone-plugin": {"version": "1.2", "provides": ["loss mine"]}}'


def configured(**changes: Any) -> PretrainSection:
    return PretrainSection.model_validate({**DEFAULTS.model_dump(), **changes})


def used(config: PretrainSection) -> list[provenance.Used]:
    return provenance.method(load_registry(), config)


def plugins_code(config: PretrainSection) -> dict[str, str]:
    return provenance.code(PACKAGES, [], used(config))


def test_a_run_depends_on_the_plugins_that_it_uses_and_on_what_they_are_made_of():
    names = set(plugins_code(configured(recipe="jigsaw")))
    assert {
        "recipe jigsaw",
        "ssl_pipeline_plugins.pretext.jigsaw",
        "ssl_pipeline_plugins.backbones.resnet_cifar",
    } <= names
    assert "ssl_pipeline.parts.tiles" in names
    assert not {"ssl_pipeline_plugins.losses.info_nce", "ssl_pipeline_plugins.pretext.rotation"} & names


def test_a_recipe_counts_by_what_it_says():
    simclr, dcl = (plugins_code(configured(recipe=name)) for name in ("simclr", "dcl"))
    assert len(simclr["recipe simclr"]) == 64
    assert simclr["recipe simclr"] != dcl["recipe dcl"]
    assert simclr["ssl_pipeline_plugins.recipes"] == dcl["ssl_pipeline_plugins.recipes"]


def test_third_party_code_counts_by_its_distribution_and_by_what_it_imports(site: Path):
    install(site, "aplugin", LOSS.replace("NAME", "mine") + "\ndef later():\n    import ssl_pipeline.parts.holes\n")
    install(site, "bystander", LOSS.replace("NAME", "not_used"))
    config = configured(loss={"name": "mine"})
    before = plugins_code(config)
    assert "ssl_pipeline.parts.holes" in before
    assert "bystander 0.3" not in before
    (site / "aplugin.py").write_text(LOSS.replace("NAME", "mine").replace("0.5", "0.6"))  # edited, same version
    after = plugins_code(config)
    assert before["aplugin 0.3"] != after["aplugin 0.3"]
    assert list(provenance.distributions()) == ["aplugin 0.3", "bystander 0.3"]


@pytest.mark.parametrize("module", ["acme.losses.mine", "acme.mine"])
def test_edits_of_a_plugin_in_a_namespace_package_count(site: Path, module: str):
    """The package acme has no __init__.py: it has no single owner, and several distributions may contribute to it."""
    install(site, "anamespace", "")
    (site / "anamespace.py").unlink()
    (site / "anamespace-0.3.dist-info" / "entry_points.txt").write_text(f"[ssl_pipeline]\na = {module}\n")
    file = site.joinpath(*module.split(".")).with_suffix(".py")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(LOSS.replace("NAME", "mine"))
    if module == "acme.losses.mine":
        (file.parent / "__init__.py").touch()
    before = plugins_code(configured(loss={"name": "mine"}))["anamespace 0.3"]
    file.write_text(LOSS.replace("NAME", "mine").replace("0.5", "0.6"))
    assert plugins_code(configured(loss={"name": "mine"}))["anamespace 0.3"] != before


def test_the_lock_names_third_party_plugins_and_is_written_where_it_differs(site: Path, tmp_path: Path):
    path = tmp_path / "plugins.lock"
    provenance.lock(path, PACKAGES, used(DEFAULTS))
    assert path.read_text() == "{}\n"
    before = path.stat().st_mtime_ns
    provenance.lock(path, PACKAGES, used(DEFAULTS))
    assert path.stat().st_mtime_ns == before
    install(site, "aplugin", LOSS.replace("NAME", "mine"))
    config = configured(loss={"name": "mine"})
    provenance.lock(path, PACKAGES, used(config))
    assert json.loads(path.read_text()) == {"aplugin": {"version": "0.3", "provides": ["loss mine"]}}
    assert provenance.origins(used(config)) == {"aplugin": "0.3"}


@pytest.mark.parametrize("lock", [GONE, GONE.replace('"1.2"', '"1.2", "code": "0"')])
def test_a_locked_plugin_that_is_gone_is_named(tmp_path: Path, lock: str):
    (tmp_path / "plugins.lock").write_text(lock)
    with (
        pytest.raises(ConfigError, match=r"(?s)unknown name 'mine'.*came with gone-plugin 1.2: pip install it again"),
        provenance.missing_is_told(tmp_path / "plugins.lock"),
    ):
        used(configured(loss={"name": "mine"}))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"3", b'{"a": 1}', b'{"a": {"version": 1}}'])
def test_a_damaged_lock_counts_as_none_and_is_made_anew(tmp_path: Path, content: bytes):
    path = tmp_path / "plugins.lock"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"^mistake$"), provenance.missing_is_told(path):
        raise ConfigError("mistake")
    provenance.lock(path, PACKAGES, [])
    assert path.read_text() == "{}\n"


def test_a_folder_in_the_place_of_the_lock_is_told(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory\): remove it, then run `dvc repro`"):
        provenance.lock(tmp_path, PACKAGES, [])


def test_what_was_found_is_remembered_until_something_changes(tmp_path: Path):
    path, asked = tmp_path / "plugins.json", []
    uses = {"pretrain": [provenance.Used("loss", "mine", "aplugin", "aplugin", "0.3")]}
    answer = provenance.Found(uses, {"pretrain": {"aplugin": "digest"}})

    def ask() -> provenance.Found:
        asked.append(1)
        return answer

    for state, times in [("a", 1), ("a", 1), ("b", 2), ("b", 2)]:
        assert provenance.remembered(path, state, ask) == answer
        assert len(asked) == times
    path.write_text("[]")
    assert provenance.remembered(path, "b", ask) == answer
    assert len(asked) == 3


def test_only_what_a_run_takes_from_a_recipe_counts():
    """The run takes epochs that are left to the recipe; the stage that makes views takes the recipe's views."""

    def digests(left: dict[str, Any], **values: Any) -> tuple[str, str]:
        class Plugin:
            @hookimpl
            def register_recipes(self, register: Register) -> None:
                register("odd", lambda: {"pretext_task": "rotation", "small": values})

        registry, config = load_registry(), configured(recipe="odd", **left)
        registry.add(Plugin(), "odd-plugin", "1")
        recipe, *_ = provenance.method(registry, config)
        (views,) = provenance.views(registry, config)
        return recipe.content, views.content

    written, left = {}, {"epochs": "recipe"}
    assert digests(written) == digests(written, epochs=50)
    assert digests(left)[0] != digests(left, epochs=50)[0]
    assert digests(left) == digests(left, batch_size=8)
    other = digests(written, views={"global": {"size": 16}})
    assert other[0] == digests(written)[0]
    assert other[1] != digests(written)[1]


@pytest.mark.parametrize(
    ("edited", "in_force"),
    [
        ("ssl_pipeline_plugins/losses/vicreg.py", True),  # another loss
        ("ssl_pipeline_plugins/optimizers/lars.py", True),  # another optimizer
        ("ssl_pipeline_plugins/optimizers/adamw.py", False),
        ("ssl_pipeline/evaluation/linear/knn.py", True),
        ("ssl_pipeline/deployment/rehearsal.py", True),
        ("ssl_pipeline_plugins/losses/info_nce.py", False),
        ("ssl_pipeline/training/optimization.py", False),
        ("ssl_pipeline/parts/heads.py", False),  # the parts that the task consists of
    ],
)
def test_a_checkpoint_stays_in_force_unless_code_that_shapes_the_run_is_edited(copy: Path, edited: str, in_force: bool):
    packages = {name: copy / name for name in ("ssl_pipeline", "ssl_pipeline_plugins", "ssl_pipeline_stages")}
    plugins = used(DEFAULTS)
    before = provenance.code(packages, provenance.TRAINING, plugins, SHAPES_NOTHING)
    original = (copy / edited).read_text()
    (copy / edited).write_text(original + "# a comment\n")
    after = provenance.code(packages, provenance.TRAINING, plugins, SHAPES_NOTHING)
    (copy / edited).write_text(original)
    assert (after == before) is in_force


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project's code; no test may change it."""
    folder = tmp_path_factory.mktemp("copy") / "project"
    copy_code(folder)
    return folder
