"""The modules that a piece of code reaches, found by reading sources, without importing anything or using git.

Every `import` is followed, wherever it stands, except those that only type checkers see. A module that is reached
through a string, by `importlib` or another process, is not found; its name has to be passed as well.
"""

import ast
import functools
import hashlib
import importlib.util
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from ssl_pipeline.products import sha256

__all__ = ["Packages", "closure", "folder_digest", "imported", "installed"]

Packages = Mapping[str, Path]
"""Top-level package -> folder of its sources. Imports of other packages are not followed."""

_CODE = (".py", ".yaml", ".html", ".css", ".js")


def installed(*names: str) -> dict[str, Path]:
    """Return the folders of the sources of top-level packages, in a clone or an installed wheel."""
    places = {}
    for name in names:
        spec = importlib.util.find_spec(name)
        assert spec is not None, name
        places[name] = Path(next(iter(spec.submodule_search_locations or ())))
    return places


def closure(packages: Packages, modules: Iterable[str], without: Collection[str] = ()) -> dict[str, str]:
    """Return the modules that some modules reach, including these, in order of their names.

    A module includes the packages around it, because their `__init__.py` runs with it.

    Args:
        packages: Packages in which modules are looked up.
        modules: Full names of the modules to begin with.
        without: Modules that are left out, together with modules that are reached only through them.

    Returns:
        Full name of a module -> SHA-256 of its source, in hex.
    """
    sources: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = None if name in sources or name in without else _source(packages, name)
        if path is not None:
            sources[name] = path
            waiting += [*_around(name), *imported(packages, path, name)]
    return {name: sha256(sources[name]) for name in sorted(sources)}


def imported(packages: Packages, path: Path, module: str = "") -> list[str]:
    """Return the modules of some packages that a file imports.

    Args:
        packages: Packages whose modules to return.
        path: Path of a Python file; a file that cannot be parsed imports nothing.
        module: Full name of the file's module, from which relative imports start.
    """
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    names = [name for name in _names(path, package) if name.partition(".")[0] in packages]
    return [name for name in names if _source(packages, name)]


def folder_digest(folder: Path) -> str:
    """Return the SHA-256 of the names and bytes of a folder's code, YAML files and templates, in hex."""
    total = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.suffix in _CODE):
        total.update(f"{file.relative_to(folder).as_posix()}\0".encode())
        total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def _source(packages: Packages, module: str) -> Path | None:
    """Return the file of a module, or None if there is none."""
    top, *names = module.split(".")
    if top not in packages:
        return None
    place = packages[top].joinpath(*names)
    files = [place / "__init__.py"] + ([place.with_name(f"{place.name}.py")] if names else [])
    return next((file for file in files if file.is_file()), None)


def _around(module: str) -> Iterator[str]:
    """Yield the packages that contain a module."""
    while module := module.rpartition(".")[0]:
        yield module


def _names(path: Path, package: str) -> Iterator[str]:
    """Yield every name by which a file may import a module: for `from a import b`, both `a` and `a.b`."""
    for base, level, name in _imports(path, path.stat().st_mtime_ns):
        if level:  # relative to the package or to one around it
            around = package.rsplit(".", level - 1)[0] if level > 1 else package
            base = f"{around}.{base}" if base else around
        yield base
        if name:
            yield f"{base}.{name}"


@functools.cache
def _imports(path: Path, _changed: int) -> tuple[tuple[str, int, str], ...]:
    """Return the module, the level of a relative import, and the imported name ("" for `import a`) of each import."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # importing it raises the error
        return ()
    imports: list[tuple[str, int, str]] = []
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            imports += [(alias.name, 0, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imports += [(node.module or "", node.level, alias.name) for alias in node.names]
        elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)
    return tuple(imports)
