"""List everything that params.yaml can name."""

import click

from ssl_pipeline.errors import ConfigError
from ssl_pipeline.terminal import shown
from stages.guarded import guarded


@click.command()
def plugins() -> None:
    """List all registered names with their distribution, version and options."""
    raise SystemExit(guarded(_list))


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
