"""The modules that code reaches: compared with grimp, and for every form of import."""

from pathlib import Path

import grimp  # import-linter is built on it
import pytest

from ssl_pipeline.provenance import plugins as provenance
from ssl_pipeline.provenance.modules import closure, installed
from ssl_pipeline_stages import STAGES, code


def around(modules: set[str]) -> set[str]:
    """Return modules together with the packages that contain them."""
    return {name for module in modules for name in (module, *prefixes(module))}


def prefixes(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_reaches_what_another_library_finds(stage: str):
    graph = grimp.build_graph(
        "ssl_pipeline_stages", "ssl_pipeline_plugins", "ssl_pipeline", exclude_type_checking_imports=True
    )
    expected = around({f"ssl_pipeline_stages.{stage}", *graph.find_upstream_modules(f"ssl_pipeline_stages.{stage}")})
    assert set(closure(code.PACKAGES, [f"ssl_pipeline_stages.{stage}"])) == expected


@pytest.fixture
def package(tmp_path: Path) -> dict[str, Path]:
    files = {
        "__init__.py": "",
        "start.py": "import a.sub.deep\nfrom . import near\nfrom .sub import other as another, a_name\nimport json, torch",
        "near.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a.typed\nelse:\n    import a.untyped",
        "typed.py": "",
        "untyped.py": "def later():\n    from a.late import thing",
        "late.py": "import a.start  # a circle",
        "sub/__init__.py": "a_name = 1",
        "sub/deep.py": "from ..broken import x",
        "sub/other.py": "",
        "broken.py": "import a.unused\ndef (",
        "unused.py": "",
    }
    for name, text in files.items():
        (tmp_path / "a" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "a" / name).write_text(text)
    return {"a": tmp_path / "a"}


def test_imports_of_every_form_count_but_those_for_type_checkers(package: dict[str, Path]):
    names = ["a", "a.broken", "a.late", "a.near", "a.start", "a.sub", "a.sub.deep", "a.sub.other", "a.untyped"]
    assert list(closure(package, ["a.start"])) == names


def test_what_is_left_out_takes_along_what_only_it_reaches(package: dict[str, Path]):
    assert list(closure(package, ["a.start"], {"a.near", "a.sub.deep"})) == ["a", "a.start", "a.sub", "a.sub.other"]


def test_an_edit_changes_one_digest(package: dict[str, Path]):
    before = closure(package, ["a.start"])
    (package["a"] / "late.py").write_text("import a.start, a.unused")
    after = closure(package, ["a.start"])
    assert {name for name in before if before[name] != after[name]} == {"a.late"}
    assert set(after) - set(before) == {"a.unused"}


def test_every_module_that_is_said_to_shape_nothing_is_there():
    assert (
        set(closure(installed("ssl_pipeline", "ssl_pipeline_plugins", "ssl_pipeline_stages"), code.SHAPES_NOTHING))
        >= code.SHAPES_NOTHING
    )


def test_training_depends_on_no_code_that_comes_after_it():
    trained = closure(code.PACKAGES, provenance.TRAINING, code.SHAPES_NOTHING)
    assert "ssl_pipeline.training.optimization" in trained
    later = (
        "ssl_pipeline.evaluation",
        "ssl_pipeline.testing",
        "ssl_pipeline.deployment",
        "ssl_pipeline_stages",
        "ssl_pipeline_plugins",
    )
    assert [name for name in trained if name.startswith(later)] == []
