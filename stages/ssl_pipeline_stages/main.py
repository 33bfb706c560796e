"""The command `ssl-pipeline`: stages, tools and the commands of plugins, each imported only when it is run."""

import atexit
import gc
import importlib
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from ssl_pipeline_stages import STAGES

COMMANDS = {
    "init": "Create a project of your own, with settings fitted to your images.",
    "plan": "Fit params.yaml to your images, machine and time, and explain each value.",
    "check": "Check images, settings, export and disk in seconds; estimate time and memory.",
    "plugins": "List all names that params.yaml can hold, with their options.",
    "watch": "Evaluate the newest checkpoint of a pretraining run in progress.",
    "embed": "Embed images with an exported backbone: files, folders, archives.",
    "search": "Find the images of an index that are most similar to a query.",
    "verify": "Check a bundle: its files by their checksums, its graphs by golden outputs.",
    "drift": "Test whether images still resemble those that a bundle was made for.",
    "summary": "Print the results of the last run and where to find its products.",
    "skeleton": "Write a new plugin: a package with tests.",
    "reference": "",
}
"""Commands that are not stages: name -> description; "" hides a command that only the pipeline itself calls."""

GROUP = "ssl_pipeline.commands"
"""Entry-point group in which plugins register commands: name -> click command."""

_OBJECTS_PER_COLLECTION = 100_000
"""Number of new objects after which Python collects garbage. With its default of 700, imports and exporters, whose
hundreds of thousands of objects stay in use, would take a fifth longer."""


class Commands(click.Group):
    """Group of commands that are listed without being imported, so that help appears at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names: stages in their order, tools, and commands of plugins."""
        return [*STAGES, *COMMANDS, *(name for name in _brought() if name not in {*STAGES, *COMMANDS})]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; None if there is none. A built-in one hides a plugin's of the same name."""
        if cmd_name in STAGES or cmd_name in COMMANDS:
            module = importlib.import_module(f"ssl_pipeline_stages.{cmd_name}")
            command: click.Command = getattr(module, cmd_name)
            return command
        point = _brought().get(cmd_name)
        return None if point is None else _loaded(point)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first word names.

        Raises:
            click.UsageError: There is no such command; the message names the nearest ones.
        """
        names = self.list_commands(ctx) if args and args[0] not in (*STAGES, *COMMANDS) else []
        if names and args[0] not in names and not args[0].startswith("-"):
            near = get_close_matches(args[0], names, n=3)
            hint = f"did you mean {', '.join(near)}?" if near else "`ssl-pipeline --help` lists them all"
            ctx.fail(f"no such command '{args[0]}': {hint}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the names and options that begin with a word, without importing any command."""
        hidden = {name for name, does in COMMANDS.items() if not does}
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete) and name not in hidden]
        return [*map(CompletionItem, names), *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the description of each command, in three sections."""
        own = {*STAGES, *COMMANDS}
        brought = {
            name: f"from {point.dist.name} {point.dist.version}" if point.dist else "from a plugin"
            for name, point in _brought().items()
            if name not in own
        }
        sections = {
            "Stages, in the order in which `dvc repro` runs them": {name: stage.does for name, stage in STAGES.items()},
            "Tools": {name: does for name, does in COMMANDS.items() if does},
            "Commands of plugins": brought,
        }
        for title, rows in sections.items():
            if rows:
                with formatter.section(click.style(title, bold=True)):
                    formatter.write_dl([(click.style(name, fg="cyan"), does) for name, does in rows.items()])


def _brought() -> dict[str, Any]:
    """Return the entry points of plugins' commands by name."""
    from importlib.metadata import entry_points  # takes as long as all of click

    return {point.name: point for point in entry_points(group=GROUP)}


def _loaded(point: Any) -> click.Command:
    """Import the command of a plugin.

    Raises:
        click.ClickException: The command cannot be imported, or is not a click command.
    """
    whose = f"{point.dist.name} {point.dist.version}" if point.dist else "a plugin"
    try:
        command = point.load()
    except Exception as error:  # a plugin's module may raise anything at import
        raise click.ClickException(f"'{point.name}' of {whose} cannot be loaded: {error}") from error
    if not isinstance(command, click.Command):
        raise click.ClickException(f"'{point.name}' of {whose} is not a click command: {point.value}")
    return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="ssl-pipeline", prog_name="ssl-pipeline")
def main() -> None:
    """Learn an image backbone without labels, and ship it as one verified ONNX file.

    `ssl-pipeline COMMAND --help` describes a command. For completion in bash, add
    `eval "$(_SSL_PIPELINE_COMPLETE=bash_source ssl-pipeline)"` to ~/.bashrc; zsh and fish work in the same way.
    """
    gc.set_threshold(_OBJECTS_PER_COLLECTION)
    # without this, the interpreter scans all objects several times as it exits, which takes a second
    atexit.register(gc.freeze)
    sys.path.append(str(Path.cwd()))  # decoding processes import sources in my_plugins by name
