"""List every name that params.yaml can hold, describe one of them, or show a recipe."""

import json
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Any

import click

from ssl_pipeline.errors import ConfigError
from ssl_pipeline.terminal import shown
from ssl_pipeline_stages.guarded import guarded

Row = dict[str, Any]
"""Registered name as JSON values: its kind, description, distribution and options."""


@click.command()
@click.argument("name", required=False)
@click.option("--kind", help="List one kind only, such as loss.")
@click.option("--json", "as_json", is_flag=True, help="Print all details as JSON.")
@click.option("--recipe", metavar="NAME", help="Show a recipe's settings in both sizes, as in params.yaml.")
def plugins(name: str | None, kind: str | None, as_json: bool, recipe: str | None) -> None:
    """List all names that params.yaml can hold, with descriptions; for a NAME, also describe its options."""
    raise SystemExit(guarded((lambda: _show(recipe)) if recipe else (lambda: _list(name, kind, as_json))))


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


def _list(name: str | None, kind: str | None, as_json: bool) -> None:
    rows, remarks = _remembered()
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    if kind and kind not in kinds:
        raise ConfigError(f"--kind: there is no '{shown(kind, 60)}'. Kinds: {', '.join(kinds)}.")
    chosen = [row for row in rows if kind in (None, row["kind"])]
    if name:
        known, family = {row["name"] for row in chosen}, name.partition("/")[0] + "/"
        wanted = name if name in known or "/" not in name else family
        if wanted not in known:
            near = get_close_matches(name[:100], known, n=3)
            hint = f" Did you mean {' or '.join(near)}?" if near else " `ssl-pipeline plugins` lists them all."
            lines = [f"there is no plugin '{shown(name, 60)}'.{hint}", *remarks]  # a plugin that fails may provide it
            raise ConfigError("\n".join(lines))
        chosen = [row for row in chosen if row["name"] == wanted]
    if as_json:
        click.echo(json.dumps(chosen, indent=1, ensure_ascii=False))
    elif name:
        click.echo("\n\n".join(_in_full(row) for row in chosen))
    else:
        listed = ((one, [row for row in chosen if row["kind"] == one]) for one in kinds)
        click.echo("\n\n".join(_in_lines(one, some) for one, some in listed if some))
    for line in remarks:
        click.echo(line, err=True)


def _in_lines(kind: str, rows: list[Row]) -> str:
    lines, width = [click.style(kind, bold=True)], max(len(row["name"]) for row in rows) + 2
    for row in rows:
        whose = "" if row["built_in"] else f" [{row['distribution']} {row['version']}]"
        lines.append(f"  {click.style(row['name'].ljust(width), fg='cyan')} {row['does']}{whose}")
    return "\n".join(lines)


def _in_full(row: Row) -> str:
    head = click.style(f"{row['kind']} {row['name']}", bold=True) + f", of {row['distribution']} {row['version']}"
    lines = [head, f"  {row['does']}", *([f"  {row['trouble']}"] if row["trouble"] else [])]
    for option in row["options"]:
        told = "required" if option["required"] else f"default {option['default']}"
        lines.append(f"  {click.style(option['name'], fg='cyan')}: {option['type']}, {told}")
        lines += [f"      {option['means']}"] if option["means"] else []
    if row["kind"] == "recipe":
        lines.append(f"  `ssl-pipeline plugins --recipe {row['name']}` shows its settings.")
    return "\n".join(lines)


def _remembered() -> tuple[list[Row], list[str]]:
    """Return all rows, and remarks; in a project from a cache unless code has changed, as importing torch is slow."""
    from ssl_pipeline.products import digest, write_json
    from ssl_pipeline.provenance import plugins as provenance
    from ssl_pipeline.provenance.modules import folder_digest
    from ssl_pipeline_stages import paths
    from ssl_pipeline_stages.code import PACKAGES

    path = paths.work() / "plugins_listed.json"
    state = digest([[folder_digest(folder) for folder in PACKAGES.values()], provenance.distributions()])
    try:
        before, rows, remarks = json.loads(path.read_bytes())
        if before == state:
            return rows, remarks
    except (OSError, ValueError, TypeError):  # no cache yet, or a damaged one
        pass
    rows, remarks = _ask()
    if Path("params.yaml").is_file():
        write_json(path, [state, rows, remarks])
    return rows, remarks


def _ask() -> tuple[list[Row], list[str]]:
    from ssl_pipeline.described import does, option_texts
    from ssl_pipeline.loading import load_registry
    from ssl_pipeline.plugin_sources import HOME

    registry = load_registry()
    rows = []
    for entry in registry.entries():
        row: Row = {"kind": entry.kind, "name": entry.name, "does": does(entry.factory), "options": [], "trouble": ""}
        row |= {"distribution": entry.distribution, "version": entry.version, "built_in": entry.distribution == HOME}
        texts = option_texts(entry.factory)
        try:
            fields = entry.schema().model_fields
        except ConfigError as error:
            fields, row["trouble"] = {}, str(error)
        for name, field in fields.items():
            required = field.is_required()
            default = None if required else shown(repr(field.default), 80)
            kind = getattr(field.annotation, "__name__", None) or str(field.annotation)
            kind = str(field.annotation).replace("typing.", "") if kind in ("Literal", "Union") else kind
            option = {"name": name, "type": kind, "required": required, "default": default}
            row["options"].append(option | {"means": texts.get(name, "")})
        rows.append(row)
    return rows, [f"failed to load: {failure}" for failure in registry.failures] + registry.remarks
