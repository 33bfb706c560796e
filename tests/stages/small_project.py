"""A small project of real digits with an untrained network: inputs of linear_eval and finetune, and how to run them."""

import json
from pathlib import Path

import click
import yaml
from click.testing import CliRunner, Result

from ssl_pipeline.artifacts.assembly import build_encoder, cut
from ssl_pipeline.artifacts.files import save_model
from ssl_pipeline.augment.policy import Policies, Policy
from ssl_pipeline.deployment.backbone_graph import export_backbone
from ssl_pipeline.loading import load_registry
from ssl_pipeline.products import record, write_product
from ssl_pipeline_stages.linear_eval import linear_eval
from tests.factories import BACKBONE, MEAN, STD, Relabel, as_they_are, digits_store, model_card

__all__ = [
    "BACKBONE",
    "MEAN",
    "OPSET",
    "QUICK_CLUSTERS",
    "REPORTS",
    "SIZES",
    "STD",
    "STORE",
    "Relabel",
    "as_they_are",
    "evaluate",
    "metrics",
    "run_stage",
    "write_models",
    "write_project",
    "write_store",
]

SIZES = {"train": 200, "val": 60, "test": 120}
OPSET = 19
STORE, REPORTS = Path("data/ingested/store"), Path("reports/linear_eval")
PARAMS = Path(__file__).parents[2] / "params.yaml"
POLICIES = Policies(seed=0, views={"plain": Policy(size=8)})
QUICK_CLUSTERS = {"images": 40, "runs": 2, "view": "plain"}
"""Quick settings of clusters, for tests of something else."""


def write_store(store: Path, relabel: Relabel) -> None:
    """Write digits in three splits; `relabel` returns the class names of a split, with "" for no label."""
    digits_store(store, SIZES, relabel)


def write_models(root: Path, layer: int | None = None) -> None:
    """Write models/pretrain and models/export/backbone.onnx, cut at a layer, of an untrained network."""
    encoder = build_encoder(load_registry(), BACKBONE, MEAN, STD, 0, 8).eval()
    card = model_card(embedding_dim=encoder.embedding_dim, params_sha256="0123", seedless_sha256="4567")
    (root / "models/pretrain").mkdir(parents=True, exist_ok=True)
    card = save_model(root / "models/pretrain", encoder, None, card)
    backbone = root / "models/export/backbone.onnx"
    export_backbone(*cut(encoder, card, layer), backbone, l2_normalize=True, opset=OPSET)
    record(backbone)


def write_project(root: Path, **changes: object) -> None:
    """Write the other inputs of linear_eval: params.yaml with changes to its section, the store and the policies."""
    params = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    params["linear_eval"] |= {"strengths": [0.01, 1.0], "bootstrap": 100} | changes
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    write_store(root / STORE, as_they_are)
    write_product(root / "data/augmented/policy.json", POLICIES.model_dump(mode="json"))


def run_stage(stage: click.Command, status: int = 0) -> Result:
    """Run a stage in this process and folder; check its exit status."""
    result = CliRunner().invoke(stage, [], catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result


def evaluate(status: int = 0) -> Result:
    return run_stage(linear_eval, status)


def metrics() -> dict:
    return json.loads((REPORTS / "details.json").read_text())
