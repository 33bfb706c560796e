"""The stage `augment` turns views into data, graphs and a picture, from a store that another stage wrote."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from click.testing import CliRunner, Result

from ssl_pipeline.augment.policy import read_policies
from ssl_pipeline.data.image_spec import RGB8
from ssl_pipeline.data.writer import write_split
from ssl_pipeline.deployment import traces, view_graph
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import write_product
from ssl_pipeline_stages.augment import augment
from ssl_pipeline_stages.paths import AUGMENTED, STORE

PARAMS = Path(__file__).parents[2] / "params.yaml"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """A folder with params.yaml and a store of noise; calling it runs the stage with changes to its section."""
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    write_split(STORE / "train", np.arange(20, dtype=np.uint64), [images], 16)
    params = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    params["augment"]["views"] = {"global": {"size": 12, "horizontal_flip": {"p": 0.5}}}  # one small graph to export
    params["linear_eval"]["clusters"]["view"] = params["finetune"]["view"] = "global"

    def run(later: dict[str, dict[str, Any]] | None = None, **changes: Any) -> Result:
        changed = {name: params[name] | values for name, values in {**(later or {}), "augment": changes}.items()}
        Path("params.yaml").write_text(yaml.safe_dump(params | changed))
        return CliRunner().invoke(augment, [])

    return run


@pytest.fixture
def without_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the export of views, which takes seconds each, for tests of policies."""
    monkeypatch.setattr(view_graph, "export_views", lambda policy, canvas, path, *_: None)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_products_are_whole_and_the_same_each_time(
    project: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = contents(STORE)
    result = project(seed=3)
    assert result.exit_code == 0, result.output
    first = contents(AUGMENTED)
    assert set(first) == {"augment_global.onnx", "digests.json", "policy.json", "preview.png"}
    onnx.checker.check_model(onnx.load(AUGMENTED / "augment_global.onnx"))
    policies = read_policies(AUGMENTED / "policy.json")
    assert (policies.seed, list(policies.views)) == (3, ["global"])
    with monkeypatch.context() as patch:
        patch.setenv(traces.FOLDER, "")  # forces a new trace
        assert project(seed=3).exit_code == 0
    assert contents(AUGMENTED) == first
    assert project(seed=4).exit_code == 0
    changed = contents(AUGMENTED)
    assert {name for name in first if changed[name] != first[name]} == {"digests.json", "policy.json", "preview.png"}
    assert contents(STORE) == store


@pytest.mark.usefixtures("without_graphs")
def test_views_left_to_the_recipe_are_written_out(project: Callable[..., Result]) -> None:
    recipe = {"pretrain": {"recipe": "flip"}}
    plain = {"linear_eval": {"clusters": {"images": 100, "runs": 2, "view": "plain"}}, "finetune": {"view": "plain"}}
    result = project(recipe | plain, views="recipe")
    assert result.exit_code == 0, result.output
    views = read_policies(AUGMENTED / "policy.json").views
    assert list(views) == ["global", "plain"]
    assert (views["plain"].size, views["plain"].horizontal_flip) == (32, None)  # only the recipe has these values
    result = project({**recipe, **plain, "finetune": {"view": "plane"}}, views="recipe")
    assert result.exit_code == 2
    assert "finetune.view: no such kind in augment.views: 'plane'. Did you mean 'plain'?" in result.stderr


@pytest.mark.usefixtures("without_graphs")
def test_of_a_recipe_s_views_colours_are_left_alone_where_images_have_none(project: Callable[..., Result]) -> None:
    shutil.rmtree(STORE)
    grey = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 1), dtype=np.uint8)
    spec = RGB8.model_copy(update={"channels": 1, "rgb": None})
    write_split(STORE / "train", np.arange(20, dtype=np.uint64), [grey], 16, spec)
    result = project(views={"global": "recipe"})
    assert result.exit_code == 0, result.output
    view = read_policies(AUGMENTED / "policy.json").views["global"]
    assert view.grayscale is None
    assert view.color_jitter is not None
    assert (view.color_jitter.saturation, view.color_jitter.brightness) == (0.0, 0.4)


def test_each_policy_of_a_list_has_a_graph(project: Callable[..., Result]) -> None:
    views = {"global": [{"size": 8}, {"size": 8, "solarize": {"p": 1.0, "threshold": 0.5}}]}
    result = project(views=views)
    assert result.exit_code == 0, result.output
    policies = [
        json.loads({entry.key: entry.value for entry in onnx.load(path).metadata_props}["policy"])["solarize"]
        for path in sorted(AUGMENTED.glob("augment_*.onnx"))
    ]
    assert policies == [None, {"p": 1.0, "threshold": 0.5}]


def test_without_a_store_it_says_which_stage_makes_one(project: Callable[..., Result]) -> None:
    """Even if an earlier version left a store elsewhere, with policies that included the framing."""
    old = AUGMENTED / "store"
    AUGMENTED.mkdir()
    shutil.move(STORE, old)
    result = project()
    assert result.exit_code == 1
    assert result.stderr == (
        "error: data/ingested/store/train/split.json does not exist: the stage 'ingest' makes it. "
        "Run `dvc repro ingest` first.\n"
    )
    assert old.is_dir()


@pytest.mark.usefixtures("without_graphs")
def test_policies_of_an_earlier_version_are_named_and_not_read(project: Callable[..., Result]) -> None:
    assert project().exit_code == 0
    path = AUGMENTED / "policy.json"
    policies = read_policies(path)
    write_product(path, {"canvas": 16, "resize": "squash", **policies.model_dump(mode="json")})
    with pytest.raises(
        PipelineError, match=r"different format version \(canvas: unknown key.*`dvc repro --force augment`"
    ):
        read_policies(path)
