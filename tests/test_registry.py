"""Names, their origins, and what happens when a plugin is wrong."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from ssl_pipeline import hookimpl, hookspecs
from ssl_pipeline.config import Choice
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.loading import load_registry
from ssl_pipeline.options import schema
from ssl_pipeline.plugin_sources import built_in
from ssl_pipeline.registry import KINDS, Registry
from ssl_pipeline.types import Factory, Register


def plugin(hook: str, **factories: Factory) -> ModuleType:
    def implementation(register: Register) -> None:
        for name, factory in factories.items():
            register(name, factory)

    module = ModuleType("someones_plugin")
    setattr(module, hook, hookimpl(specname=hook)(implementation))
    return module


def install(folder: Path, name: str, code: str, version: str = "0.3") -> None:
    """Lay out an installed distribution: a module, its metadata and its entry point."""
    (folder / f"{name}.py").write_text(code)
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[ssl_pipeline]\n{name} = {name}\n")


LOSS = """
from ssl_pipeline import hookimpl
def my_loss(temperature: float = 0.5, kind: str = "a"):
    return (temperature, kind)
@hookimpl
def register_losses(register):
    register("NAME", my_loss)
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:  # only modules of this test: others cannot be imported twice
        places = [getattr(sys.modules[name], "__file__", None), *getattr(sys.modules[name], "__path__", [])]
        if any(place and Path(place).is_relative_to(tmp_path) for place in places):
            del sys.modules[name]


def test_every_hook_has_a_kind_and_every_kind_a_built_in():
    hooks = {name for name in vars(hookspecs) if name.startswith("register_")}
    assert hooks == set(KINDS.values())
    registry = load_registry()
    assert {entry.kind for entry in registry.entries()} == set(KINDS)


def test_an_installed_plugin_is_found_with_its_distribution_and_version(site: Path):
    install(site, "aplugin", LOSS.replace("NAME", "mine"))
    registry = load_registry()
    entry = registry.find("loss", "mine")
    assert (entry.distribution, entry.version) == ("aplugin", "0.3")
    assert registry.build("loss", Choice(name="mine", temperature="1e-3")) == (0.001, "a")


def test_a_plugin_that_cannot_be_imported_is_reported_and_takes_nobody_down(site: Path):
    install(site, "abroken", "import nothing_of_this_name")
    install(site, "bplugin", LOSS.replace("NAME", "mine"))
    registry = load_registry()
    assert registry.find("loss", "mine")
    assert [str(failure) for failure in registry.failures] == [
        "plugin 'abroken' of abroken: ModuleNotFoundError: No module named 'nothing_of_this_name'"
    ]
    with pytest.raises(ConfigError, match="plugin 'abroken' of abroken: ModuleNotFoundError"):
        registry.find("loss", "wanted")


def test_a_misspelt_hook_is_caught(site: Path):
    install(site, "amisspelt", LOSS.replace("NAME", "mine").replace("register_losses", "register_loses"))
    registry = load_registry()
    assert "register_loses" in str(registry.failures[0])
    assert registry.find("loss", "info_nce")


def test_a_name_that_is_taken_names_both_distributions(site: Path):
    install(site, "aplugin", LOSS.replace("NAME", "info_nce"))
    registry = load_registry()
    assert len(registry.remarks) == 1
    assert registry.find("loss", "vicreg")  # a user who does not ask for the ambiguous name is not affected
    with pytest.raises(
        ConfigError, match=r"loss 'info_nce' is registered twice: by ssl-pipeline .* and by aplugin 0.3"
    ):
        registry.find("loss", "info_nce")


def test_an_unknown_name_lists_the_known_and_the_nearest():
    with pytest.raises(ConfigError, match=r"(?s)unknown name 'infonce'. Did you mean 'info_nce'\?.*Known: .*info_nce"):
        load_registry().find("loss", "infonce")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("resnet18", r"Did you mean 'timm/resnet18' or 'torchvision/resnet18'\?"),
        ("vit_b_16", r"Did you mean 'torchvision/vit_b_16'\?"),
        ("vit_tiny_patch16_224", r"Did you mean 'timm/vit_tiny_patch16_224'\?"),
        ("torchvison/resnet18", r"Did you mean 'torchvision/resnet18'\?"),
        ("resnet_cifr", r"Did you mean 'resnet_cifar'\?"),
    ],
)
def test_a_backbone_without_its_family_is_recognised(name: str, hint: str):
    with pytest.raises(ConfigError, match=f"pretrain.backbone: unknown name '{name}'. {hint}"):
        load_registry().find("backbone", name)


def test_a_family_serves_its_members():
    registry = Registry()
    registry.add(plugin("register_backbones", **{"zoo/": lambda model, depth=1: (model, depth)}), "zoo", "1")
    assert registry.build("backbone", Choice(name="zoo/lion", depth=2)) == ("lion", 2)
    with pytest.raises(ConfigError, match="unknown name 'zoo'"):
        registry.find("backbone", "zoo")


@pytest.mark.parametrize("trouble", [RuntimeError("their bug"), SystemExit(3), None, [1, None]])
def test_a_family_that_cannot_list_its_members_is_named_and_hides_nobody(trouble: object):
    class Zoo:
        def __call__(self, model: str) -> object:
            return model

        @staticmethod
        def members() -> object:
            if isinstance(trouble, BaseException):
                raise trouble
            return trouble

    registry = Registry()
    registry.add(plugin("register_backbones", lion=lambda: 1, **{"zoo/": Zoo()}), "zoo-plugin", "1")
    for _ in range(2):
        with pytest.raises(ConfigError, match="unknown name 'lino'. Did you mean 'lion'"):
            registry.find("backbone", "lino")
    remarks = 0 if isinstance(trouble, list) else 1
    assert len(registry.remarks) == remarks
    assert all("backbone 'zoo/' of zoo-plugin cannot list its members" in remark for remark in registry.remarks)


def test_options_are_checked_against_the_signature():
    def factory(encoder: object, size: int, low: float = 0.1) -> tuple[object, ...]:
        if low < 0:
            raise ValueError(f"low must not be negative, got {low}")
        return encoder, size, low

    registry = Registry()
    registry.add(plugin("register_pretext_tasks", task=factory), "someone", "1")
    assert list(schema(factory, "pretext_task").model_fields) == ["low"]
    assert registry.build("pretext_task", Choice(name="task", low="2"), encoder="e", size=4, loss=None) == ("e", 4, 2.0)
    for options, message in [
        ({"lo": 1}, "pretrain.pretext_task.lo: unknown key. Did you mean 'low'"),
        ({"low": "x"}, "pretrain.pretext_task.low: 'x' is not a number"),
        ({"low": -1}, "pretrain.pretext_task task: low must not be negative, got -1.0"),
    ]:
        with pytest.raises(ConfigError, match=message):
            registry.build("pretext_task", Choice(name="task", **options), encoder="e", size=4)


@pytest.mark.parametrize("kind", ["loss", "operation", "optimizer", "recipe"])
def test_an_option_may_be_named_like_what_is_filled_in_for_another_kind(kind: str):
    def factory(size: int = 3) -> int:
        return size

    registry = Registry()
    registry.add(plugin(KINDS[kind], sized=factory), "someone", "1")
    assert registry.build(kind, Choice(name="sized", size="5"), size=7) == 5
    assert list(registry.find(kind, "sized").schema().model_fields) == ["size"]


def test_a_source_s_options_may_have_any_name_as_nothing_is_filled_in():
    def factory(size: int, model: str = "a") -> tuple[object, ...]:
        return size, model

    registry = Registry()
    registry.add(plugin("register_sources", drawn=factory, **{"hub/": factory}), "someone", "1")
    assert registry.build("source", Choice(name="drawn", size="3", model="b"), "ingest.source") == (3, "b")
    assert registry.build("source", Choice(name="hub/cats", size=3), "ingest.source") == (3, "cats")
    with pytest.raises(ConfigError, match=r"ingest.source.size: missing; add it. \(source 'drawn'\)"):
        registry.build("source", Choice(name="drawn"), "ingest.source")


def test_a_factory_s_own_bug_keeps_its_traceback():
    def factory() -> None:
        raise KeyError("a bug")

    registry = Registry()
    registry.add(plugin("register_losses", buggy=factory), "someone", "1")
    with pytest.raises(KeyError):
        registry.build("loss", Choice(name="buggy"))


def test_registries_are_independent():
    first, second = Registry(), Registry()
    first.add(plugin("register_losses", only_here=lambda: 1), "someone", "1")
    assert second.names("loss") == []


def test_every_built_in_module_registers_something():
    for module in built_in():
        registry = Registry()
        registry.add(sys.modules[module], "ssl-pipeline", "1")
        assert registry.entries(), module
