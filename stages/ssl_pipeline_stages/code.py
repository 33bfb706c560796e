"""Code that each stage depends on: one file of digests per stage, which changes only if that code changes."""

from dataclasses import asdict
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ssl_pipeline.config import RECIPE, Config
from ssl_pipeline.loading import load_source
from ssl_pipeline.plugin_sources import OWN
from ssl_pipeline.products import sha256
from ssl_pipeline.provenance import plugins as provenance
from ssl_pipeline.provenance.modules import folder_digest, installed
from ssl_pipeline.provenance.notes import note, told
from ssl_pipeline.provenance.plugins import TRAINING, Found, Used, Uses
from ssl_pipeline_stages import STAGES, others, paths

if TYPE_CHECKING:
    from ssl_pipeline.data.decode import Canvas
    from ssl_pipeline.data.source import Source
    from ssl_pipeline.registry import Registry

PACKAGES = installed("ssl_pipeline", "ssl_pipeline_plugins", "ssl_pipeline_stages") | {OWN.name: OWN}

CORE = (
    "deployment.rehearsal",
    "disk",
    "errors",
    "guard",
    "isolation",
    "loading",
    "processes",
    "progress",
    "provenance",
    "provenance.cards",
    "provenance.modules",
    "provenance.notes",
    "provenance.plugins",
    "remedies",
    "terminal",
    "workspace",
)
SHAPES_NOTHING = {
    *(f"ssl_pipeline.{name}" for name in CORE),
    *(
        "ssl_pipeline_plugins",
        "ssl_pipeline_stages",
        *map("ssl_pipeline_stages.{}".format, ("checks", "code", "command", "guarded", "others", "params", "paths")),
        "ssl_pipeline_stages.room",
    ),
}
"""Modules that only print, wait, refuse, or find files and plugins. No number that a stage writes passes through them,
so editing them re-runs nothing."""

DECODERS = {
    "av": "av",
    "imagehash": "imagehash",
    "numpy": "numpy",
    "pillow": "PIL",
    "pillow-heif": "pillow_heif",
    "tifffile": "tifffile",
}
"""Decoding libraries: distribution -> module."""

TEMPLATES = {"report": "page/templates", "bundle": "bundle/templates"}
"""Stage -> folder in the core of the templates that shape what the stage writes."""

LEFT_ASIDE = {"ingest": {"ssl_pipeline.augment.policy"}}
"""Stage -> modules that the stage imports only because params.yaml is read as a whole, and never uses."""


def used(registry: "Registry", config: Config) -> list[Used]:
    """Return the plugins that pretraining and all later stages use: those of the method and of its views.

    Raises:
        ConfigError: A plugin is missing. The message names the distribution that it came with, if plugins.lock has it.
    """
    with provenance.missing_is_told(paths.PLUGINS_LOCK):
        return [*provenance.method(registry, config.pretrain), *provenance.operations(registry, config)]


def source(config: Config) -> "Source":
    """Return the source of images that ingest reads.

    Raises:
        ConfigError: The plugin of the source is missing; see `used`.
    """
    with provenance.missing_is_told(paths.PLUGINS_LOCK):
        return load_source(config.ingest.source)


def training_code(used: list[Used]) -> dict[str, str]:
    """Return the code that shapes the weights: module or plugin -> digest."""
    return provenance.code(PACKAGES, TRAINING, used, SHAPES_NOTHING)


def decoding(canvas: "Canvas") -> dict[str, object]:
    """Return everything that decoded images depend on: inventory and code by hash, library versions, the canvas."""
    files = {str(path): sha256(path) for path in (paths.INVENTORY, paths.CODE / "ingest.json") if path.exists()}
    installed = {name: version(name) for name in DECODERS if find_spec(DECODERS[name])}
    shape = asdict(canvas) | {"pixels": canvas.pixels.model_dump(mode="json")}
    return {"files": files, "libraries": installed, "canvas": shape}


def refresh(config: Config) -> str:
    """Update the digests of each stage's code and plugins.lock; return a line that names what has changed."""
    state = [
        [folder_digest(folder) for folder in PACKAGES.values()],
        provenance.distributions(),
        config.ingest.source.name,
        config.pretrain.model_dump(mode="json"),
        config.linear_eval.model_dump(mode="json"),
        config.augment.model_dump(mode="json"),
        others.files(config),
    ]
    uses, code = provenance.remembered(paths.work() / "plugins.json", state, lambda: _ask(config))
    code["pretrain"] |= others.learned_from(config)
    provenance.lock(paths.PLUGINS_LOCK, PACKAGES, [plugin for stage in uses.values() for plugin in stage])
    return told({name: note(paths.CODE / f"{name}.json", digests) for name, digests in code.items()})


def _ask(config: Config) -> Found:
    uses = _uses(config)
    return Found(uses, {name: _code(name, uses.get(name, [])) for name in STAGES if name != "inventory"})


def _code(stage: str, used: list[Used]) -> dict[str, str]:
    without = SHAPES_NOTHING | LEFT_ASIDE.get(stage, set())
    found = provenance.code(PACKAGES, [f"ssl_pipeline_stages.{stage}"], used, without)
    templates = TEMPLATES.get(stage)
    return found | ({templates: folder_digest(PACKAGES["ssl_pipeline"] / templates)} if templates else {})


def _uses(config: Config) -> Uses:
    from ssl_pipeline.loading import load_registry

    registry = load_registry()
    method = used(registry, config)
    foreign = others.used_by(registry, config)
    written = config.augment.views
    left = isinstance(written, str) or RECIPE in written.values()  # some views come from the recipe
    views = provenance.views(registry, config.pretrain) if left else []
    return {
        "ingest": [provenance.used_plugin(registry.find("source", config.ingest.source.name, "ingest.source"))],
        "augment": [*views, *(plugin for plugin in method if plugin.kind == "operation")],
        "pretrain": [*method, *foreign["pretrain"]],
        "export": method,
        "linear_eval": [*method, *foreign["linear_eval"]],
        "finetune": method,
    }
