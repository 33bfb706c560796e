"""How often finetune reports an effect although nothing was learned: `python -m benchmarks.null_study digits|clothing`.

Untrained encoders replace the pretrained one, a different encoder for each seed, so every verdict that pretraining
helped or hurt is wrong. No more than 5 of 40 verdicts may be wrong. The script prints a line of JSON for each seed and
one for all seeds, and exits with status 1 if more are wrong. `clothing` needs the option `--folder`, the folder that
contains clothing.zip; its images have 32 px, and the digits have 16 px. Networks and schedules are small: 40 seeds take
about ten minutes on one core.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import yaml

from benchmarks.project import ROOT, copy_project, environment
from benchmarks.real_images import prepare
from ssl_pipeline.artifacts.assembly import build_encoder
from ssl_pipeline.artifacts.card import ModelCard, versions
from ssl_pipeline.augment.policy import Policies, read_policies
from ssl_pipeline.config import Choice, FinetuneConfig
from ssl_pipeline.data.labelled import LabelledSplits, read_labelled
from ssl_pipeline.data.store import Split
from ssl_pipeline.evaluation.budgets.budget_verdicts import judge_budgets, overall
from ssl_pipeline.evaluation.budgets.contest import compete
from ssl_pipeline.evaluation.budgets.inputs import BudgetInputs
from ssl_pipeline.evaluation.budgets.outcome import Outcome
from ssl_pipeline.loading import load_registry
from ssl_pipeline.randomness import hash64
from ssl_pipeline.recipes import Recipe
from ssl_pipeline.training.precision import Precision

BACKBONE = Choice.model_validate({"name": "resnet_cifar", "depth": 8, "width": 8})
SMALL: dict[str, Any] = {"strengths": [0.1], "batch_size": 32, "epochs": 1}
SETTINGS: dict[str, dict[str, Any]] = {
    "digits": {"budgets": [5, 20], "draws": 4, "steps": 36, "learning_rates": [1e-2]},
    "clothing": {"budgets": [10, 40], "draws": 3, "steps": 16, "learning_rates": [3e-3]},
}
ALLOWED = 5 / 40


def card_of(pool: Split, size: int) -> ModelCard:
    """Return the model card of an encoder that stands in for a pretrained one."""
    return ModelCard(
        backbone=BACKBONE,
        recipe=Recipe(name="none", pretext_task=Choice(name="none")),
        embedding_dim=32,
        size=size,
        resize="squash",  # irrelevant here, because nothing is exported
        background=(255, 255, 255),
        mean=pool.mean,
        std=pool.std,
        seed=0,
        batch_size=0,
        weights_sha256="",
        params_sha256="",
        plugins={},
        versions=versions(),
    )


def study_null(settings: dict[str, Any], data: LabelledSplits, policies: Policies, seed: int) -> list[Outcome]:
    """Run the study of label budgets with an untrained encoder.

    Args:
        settings: Values of the section `finetune` that differ from params.yaml.
        data: Labelled images of all splits.
        policies: Policies of views, including the kind that the section names.
        seed: Seed of the encoder and of the study.
    """
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["finetune"]
    config = FinetuneConfig.model_validate({**params, **SMALL, **settings, "seed": seed})
    policy, registry, pool = policies.views[config.view], load_registry(), data.train.split
    never_trained = int(hash64("null", seed)) >> 1  # differs from the seeds of the study's random weights
    encoder = build_encoder(registry, BACKBONE, pool.mean, pool.std, never_trained, policy.size)
    card, precision = card_of(pool, policy.size), Precision("fp32", torch.device("cpu"))
    return compete(config, BudgetInputs(data, encoder, card, registry, policy, precision))


def make_store(name: str, project: Path, folder: Path | None) -> None:
    """Make the store of a set of images, and the policies of its views."""
    if name == "digits":
        copy_project(project)
    elif folder is None:
        raise click.UsageError("clothing needs --folder FOLDER, the folder that contains clothing.zip")
    else:
        prepare(name, folder, project, ())
    for stage in ("ingest", "augment"):
        subprocess.run([sys.executable, "-m", "ssl_pipeline", stage], cwd=project, check=True, env=environment())


def row_of(seed: int, outcomes: list[Outcome], data: LabelledSplits) -> dict[str, Any]:
    """Return the verdict of the study, and the figures that it is based on."""
    verdicts = judge_budgets(outcomes, data.test.groups)
    return {
        "seed": seed,
        "wrong": any(verdict.finding for verdict in verdicts),
        "headline": overall(verdicts),
        "accuracy": {str(v.budget): round(v.accuracy["finetune"].value, 4) for v in verdicts},
        "over_random": {str(v.budget): round(v.gains["random"].mean, 4) for v in verdicts},
        "margin": {str(v.budget): round(v.gains["random"].margin, 4) for v in verdicts},
        "over_scratch": {str(v.budget): round(v.gains["scratch"].mean, 4) for v in verdicts},
        "p": {str(v.budget): round(v.p, 4) for v in verdicts},
    }


@click.command()
@click.argument("name", type=click.Choice(list(SETTINGS)))
@click.option("--folder", type=click.Path(exists=True, path_type=Path), help="Folder that contains clothing.zip.")
@click.option("--seeds", default=40, show_default=True, help="Number of encoders, one per seed.")
@click.option("--first", default=0, show_default=True, help="First seed.")
def main(name: str, folder: Path | None, seeds: int, first: int) -> None:
    """Run the null study on digits or clothing."""
    torch.set_num_threads(1)  # more threads do not make such small networks faster
    rows, start = [], time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        project = Path(temporary) / "project"
        make_store(name, project, folder)
        data = read_labelled(project / "data/ingested/store")
        policies = read_policies(project / "data/augmented/policy.json")
        for seed in range(first, first + seeds):
            rows.append(row_of(seed, study_null(SETTINGS[name], data, policies, seed), data))
            click.echo(json.dumps(rows[-1]))
    wrong = sum(row["wrong"] for row in rows)
    budgets = rows[0]["over_random"]
    summary = {
        "data": name,
        "seeds": seeds,
        "wrong": wrong,
        "allowed": int(ALLOWED * seeds),
        "mean_over_random": {
            budget: float(np.mean([row["over_random"][budget] for row in rows])) for budget in budgets
        },
        "spread_over_random": {
            budget: float(np.std([row["over_random"][budget] for row in rows])) for budget in budgets
        },
        "mean_margin": {budget: float(np.mean([row["margin"][budget] for row in rows])) for budget in budgets},
        "cpu_seconds": round(time.process_time()),
        "seconds": round(time.perf_counter() - start),
    }
    click.echo(json.dumps(summary))
    sys.exit(wrong > ALLOWED * seeds)


if __name__ == "__main__":
    main()
