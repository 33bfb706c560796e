"""List everything that params.yaml can name, or show a recipe."""

from io import StringIO

import click

from ssl_pipeline.errors import ConfigError
from ssl_pipeline.terminal import shown
from ssl_pipeline_stages.guarded import guarded


@click.command()
@click.option("--recipe", metavar="NAME", help="Show what a recipe says in both of its sizes, as params.yaml would.")
def plugins(recipe: str | None) -> None:
    """List all registered names with their distribution, version and options."""
    raise SystemExit(guarded((lambda: _show(recipe)) if recipe else _list))


def _show(name: str) -> None:
    from ruamel.yaml import YAML

    from ssl_pipeline.config import SIZES
    from ssl_pipeline.loading import load_registry
    from ssl_pipeline.recipes import said_by

    registry, yaml, text = load_registry(), YAML(), StringIO()
    yaml.default_flow_style, yaml.width = None, 120  # innermost values on one line
    for size in SIZES:
        parts, settings = said_by(registry, name, size)
        said = {kind: choice.model_dump() for kind, choice in parts.items()}
        text.write(f"# pretrain.recipe: {name}, pretrain.recipe_size: {size}\n")
        yaml.dump(said | settings.model_dump(mode="json", exclude_none=True), text)
    click.echo(text.getvalue(), nl=False)


def _list() -> None:
    from ssl_pipeline.loading import load_registry

    registry = load_registry()
    for entry in registry.entries():
        click.echo(f"{entry.kind:13} {entry.name:18} {entry.distribution} {entry.version}")
        try:
            options = entry.schema().model_fields
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
