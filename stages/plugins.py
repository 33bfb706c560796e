"""List everything that params.yaml can name, and lock the plugins that a run uses."""

from pathlib import Path

import click

from ssl_pipeline.config import load
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.terminal import shown
from stages.guarded import guarded
from stages.paths import PLUGINS_LOCK


@click.command()
@click.option(
    "--params", default="params.yaml", type=click.Path(path_type=Path), show_default=True, help="The parameters."
)
@click.option("--lock", is_flag=True, help="Write plugins.lock: the third-party plugins that params.yaml uses.")
def plugins(params: Path, lock: bool) -> None:
    """List all registered names with their distribution, version and options."""
    raise SystemExit(guarded((lambda: _lock(params)) if lock else _list))


def _lock(params: Path) -> None:
    from importlib.metadata import entry_points

    from ssl_pipeline.hookspecs import GROUP

    config = load(params)
    if not entry_points(group=GROUP) and PLUGINS_LOCK.is_file() and PLUGINS_LOCK.read_bytes() == b"{}\n":
        return  # nobody's plugin is installed or expected: no need to load torch to find that out
    from plugins import load_registry
    from ssl_pipeline import lock

    lock.refresh(PLUGINS_LOCK, load_registry(), config.pretrain)


def _list() -> None:
    from plugins import load_registry
    from ssl_pipeline.registry import schema

    registry = load_registry()
    for entry in registry.entries():
        click.echo(f"{entry.kind:13} {entry.name:18} {entry.distribution} {entry.version}")
        try:
            options = schema(entry.factory).model_fields
        except ConfigError as error:
            click.echo(f"{'':13}   {error}")
            continue
        for name, field in options.items():
            default = "required" if field.is_required() else f"default {shown(repr(field.default), 80)}"
            kind = getattr(field.annotation, "__name__", None) or str(field.annotation)
            kind = str(field.annotation).replace("typing.", "") if kind == "Literal" else kind
            click.echo(f"{'':13}   {name}: {kind}, {default}")
    for line in [f"failed to load: {failure}" for failure in registry.failures] + registry.remarks:
        click.echo(line, err=True)


if __name__ == "__main__":
    plugins()
