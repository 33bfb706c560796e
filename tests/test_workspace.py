"""The user's workspace, also from within a copy that DVC made."""

from pathlib import Path

import pytest

from ssl_pipeline.errors import ConfigError
from ssl_pipeline.workspace import PRODUCTS, find_path, workspace
from ssl_pipeline_stages import paths


@pytest.fixture(params=["", "sub"])
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> tuple[Path, Path]:
    """Make a workspace and DVC's copy of it, and enter the copy; DVC may be set up in a subfolder of the repository."""
    folder = tmp_path / request.param
    inside = folder / ".dvc" / "tmp" / "exps" / "tmpabc123" / request.param
    (inside / ".dvc").mkdir(parents=True)
    monkeypatch.chdir(inside)
    return folder, inside


def test_a_folder_is_its_own_workspace_and_a_copy_has_another(
    copy: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, inside = copy
    assert workspace() == folder
    (inside / "deep").mkdir()
    monkeypatch.chdir(inside / "deep")
    assert workspace() == folder / "deep"
    monkeypatch.chdir(folder)
    assert workspace() == Path()


def test_a_copy_without_a_dvc_folder_is_a_copy_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workspace above the copy has such a folder, but it does not belong to the copy."""
    copy = tmp_path / ".dvc" / "tmp" / "exps" / "tmpabc123"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    assert workspace() == tmp_path


def test_the_folders_of_products_are_those_of_the_stages() -> None:
    models = {paths.PRETRAIN.parent, paths.EXPORT.parent}
    folders = {paths.INGESTED, paths.AUGMENTED, *models, paths.REPORTS, paths.LOCK_FOLDER}
    assert {Path(name) for name in PRODUCTS} == folders


def test_what_a_copy_lacks_is_found_in_the_workspace(copy: tuple[Path, Path]) -> None:
    folder, inside = copy
    assert find_path("images", "a.key") == Path("images")  # found nowhere: the path stays as it was written
    (folder / "images").mkdir()
    assert find_path("images", "a.key") == folder / "images"
    (inside / "images").mkdir()  # `dvc exp run --queue -C images`, or `dvc add images`
    assert find_path("images", "a.key") == Path("images")
    assert find_path(str(folder), "a.key") == folder


def test_paths_that_lead_nowhere_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="a.key: the path is empty"):
        find_path(" ", "a.key")
    with pytest.raises(ConfigError, match="a.key: 'xxx.*cannot be looked up"):
        find_path("x" * 5000, "a.key")
