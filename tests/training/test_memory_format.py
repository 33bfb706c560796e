"""Narrow networks train to the end: oneDNN does not overwrite torch's memory."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from ssl_pipeline.training.memory_format import memory_format

CPU = torch.device("cpu")

TRAINED = """
import sys
from functools import partial
from pathlib import Path
import numpy as np, torch
from ssl_pipeline.loading import load_registry
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.config import PretrainConfig
from ssl_pipeline.data.store import open_split
from ssl_pipeline.recipes import resolve
from ssl_pipeline.training import checkpoint, preparation, pretraining
from ssl_pipeline.data.labelled import Labelled
from ssl_pipeline.training.finetuning import Classifier, Lessons, finetune
from ssl_pipeline.training.optimization import build_optimizer
from ssl_pipeline.training.precision import Precision

store, work, section = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
config, registry = PretrainConfig.model_validate_json(section), load_registry()
floats, policies = Precision("fp32", torch.device("cpu")), {"global": Policy(size=16)}
pool = open_split(store, "train")
task = preparation.build(registry, resolve(registry, config), config, pool, policies)
make_optimizer = partial(build_optimizer, registry, config.optimizer)
pretraining.train(task, pool, policies, config, make_optimizer, floats, checkpoint.Checkpoints(work, "0" * 16, {}))
classifier = Classifier(task.encoder, torch.zeros(2, task.encoder.embedding_dim), torch.zeros(2))
rows = np.arange(len(pool))
data = Labelled(pool, rows, rows % 2, rows)
lessons = Lessons(data, policies["global"], 60, 16, 0)
finetune(classifier, lessons, 1e-3, 0.0, keep_statistics=False, precision=floats)
print("done")
"""


def test_a_narrow_network_is_pretrained_and_fine_tuned_to_the_end(pool, configure, tmp_path):
    """It runs in its own process, because overwritten memory kills it, and with AVX2, where this happens."""
    config = configure(epochs=24, backbone={"name": "resnet_cifar", "depth": 8, "width": 4})  # 72 steps
    store = pool.files[0].parents[1]
    command = [sys.executable, "-c", TRAINED, store, tmp_path / "work", config.model_dump_json()]
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()[-1:]) == (0, ["done"]), done.stderr


@pytest.mark.parametrize(
    ("convolution", "safe"),
    [
        (nn.Conv2d(7, 16, 1, stride=2), False),
        (nn.Conv2d(8, 16, 1, stride=2), True),
        (nn.Conv2d(4, 8, 1), True),
        (nn.Conv2d(3, 8, 3, stride=2), True),
    ],
)
def test_channels_come_last_but_where_that_is_not_safe(convolution, safe):
    network = nn.Sequential(nn.Identity(), nn.Sequential(convolution))
    assert memory_format(network, CPU) is (torch.channels_last if safe else torch.contiguous_format)
    assert memory_format(network, torch.device("cuda")) is torch.channels_last
