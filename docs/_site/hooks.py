"""Generate the pages of the site that are not in docs/: the files of the root, and the reference.

mkdocs calls the functions `on_...` because mkdocs.yml lists this file under `hooks`.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from ssl_pipeline_stages.main import main

ROOT = Path(__file__).parents[2]


def modules_in(folder: str) -> list[str]:
    """Return the names of the public modules of a folder of the project."""
    return sorted(path.stem for path in (ROOT / folder).glob("[!_]*.py"))


ROOT_PAGES = {"README.md": "readme.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""File in the root -> its page on the site."""
PLUGINS = {
    "sources": "Sources",
    "operations": "Operations on views",
    "pretext": "Pretext tasks",
    "losses": "Losses",
    "negatives": "Negative-sampling strategies",
    "backbones": "Backbones",
    "optimizers": "Optimizers",
}
"""Folder of built-in plugins -> the title of its page."""
NO_HOOKS = "\n    options:\n      filters: ['!^_', '!^register_']"
"""Options of a directive that leave out the hooks of built-in plugins, which all look the same."""
ROOMS = ("parts", "contrast")
"""Packages of the core whose modules are building blocks for plugins."""
MODULES = {
    "library": (
        "Library",
        "Functions and classes for programs and notebooks; [As a library](../library.md) shows how to use them.",
        [
            f"ssl_pipeline.library.{name}"
            for name in (
                "embedding.embed",
                "views.Views",
                "criterion.loss",
                "criterion.Criterion",
                "pretraining.pretrain",
                "pretraining.Pretrained",
                "weights.state_dict",
            )
        ],
    ),
    "runtime": (
        "Runtime",
        "Run exported models on arrays and texts, and find nearest neighbours, all without torch.",
        ["ssl_pipeline.runtime", "ssl_pipeline.text_runtime", "ssl_pipeline.neighbours", "ssl_pipeline.errors"],
    ),
    "contracts": (
        "Contracts",
        "The base classes of plugins and their arguments; [Write a plugin](../plugins.md) summarises them.",
        ["ssl_pipeline.types", "ssl_pipeline.data.source", "ssl_pipeline.hookspecs"],
    ),
    "parts": (
        "Building blocks",
        "Parts of built-in methods to use in your own: heads, memories, teachers, prototypes, sums over negatives.",
        [
            *(f"ssl_pipeline.{room}.{name}" for room in ROOMS for name in modules_in(f"ssl_pipeline/{room}")),
            "ssl_pipeline.randomness",
        ],
    ),
    "testing": ("Conformance kit", "Checks to call from the tests of a plugin.", ["ssl_pipeline.testing"]),
}
"""Page -> title, opening sentence, and the modules or names whose docstrings the page shows."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that have no file in docs/, and the notebook."""
    pages = dict(generated())
    for name, target in ROOT_PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
        for other, page_of_it in ROOT_PAGES.items():
            text = text.replace(f"]({other}", f"]({page_of_it}")
        pages[target] = text
    for path, text in pages.items():
        quiet = "---\nsearch:\n  boost: 0.3\n---\n" if path.startswith("reference/") else ""  # guides are found first
        files.append(File.generated(config, path, content=quiet + text))
    notebook = File.generated(config, "examples/library.ipynb", abs_src_path=str(ROOT / "examples/library.ipynb"))
    files.append(notebook)
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Redirect links that leave docs/ to the corresponding pages of the site."""
    for name, target in ROOT_PAGES.items():
        markdown = markdown.replace(f"](../{name}", f"]({target}")
    return re.sub(r"\]\(\.\./(examples/library\.ipynb)", r"](\1", markdown)


def generated() -> Iterator[tuple[str, str]]:
    """Yield the path and the text of each page of the reference."""
    for name, (title, opening, modules) in MODULES.items():
        yield f"reference/{name}.md", page(title, opening, modules)
    for folder, title in PLUGINS.items():
        opening = "The built-in ones, with one module each; `ssl-pipeline plugins NAME` prints the options of a plugin."
        package = f"ssl_pipeline_plugins.{folder}"
        built_in = [f"{package}.{name}" for name in modules_in(f"plugins/ssl_pipeline_plugins/{folder}")]
        yield f"reference/{folder}.md", page(title, opening, built_in, without=NO_HOOKS)
    yield "reference/index.md", "\n".join(index())
    yield "reference/recipes.md", "\n".join(recipes())
    yield "reference/commands.md", "\n".join(commands())
    params = (ROOT / "params.yaml").read_text(encoding="utf-8")
    opening = "# params.yaml\n\nAll keys, with their defaults and their meaning."
    yield "reference/params.md", f"{opening}\n\n```yaml\n{params}```\n"


def page(title: str, opening: str, modules: list[str], without: str = "") -> str:
    """Return the text of a page of docstrings; `without` is appended to each directive."""
    return f"# {title}\n\n{opening}\n\n" + "\n\n".join(f"::: {module}{without}" for module in modules) + "\n"


def index() -> Iterator[str]:
    """Yield the lines of the list of all pages of the reference."""
    yield "# Reference\n\nAll public names, from their docstrings, and all commands, keys and recipes, from the code.\n"
    yield "- [Commands](commands.md)\n- [params.yaml](params.md)\n- [Recipes](recipes.md)"
    for name, title in [(name, entry[0]) for name, entry in MODULES.items()] + list(PLUGINS.items()):
        yield f"- [{title}]({name}.md)"


def recipes() -> Iterator[str]:
    """Yield the lines of a table of the built-in recipes, with the comment at the top of each."""
    yield "# Recipes\n\n`ssl-pipeline plugins --recipe NAME` prints all values of a recipe, in both sizes.\n"
    yield "| recipe | description |\n|---|---|"
    for path in sorted((ROOT / "plugins/ssl_pipeline_plugins/recipes").glob("*.yaml")):
        first = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        yield f"| `{path.stem}` | {first} |"


def commands() -> Iterator[str]:
    """Yield the `--help` of each command."""
    yield "# Commands\n\n`ssl-pipeline COMMAND --help` prints the same text.\n"
    context = click.Context(main, info_name="ssl-pipeline", terminal_width=100, max_content_width=100)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context, terminal_width=100, max_content_width=100)
        yield f"## {name}\n\n```text\n{command.get_help(inner)}\n```\n"
