"""Plugins that misbehave at import are named, and users who do not need them are not affected."""

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from ssl_pipeline.config import Choice
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.loading import load_registry
from ssl_pipeline_stages.plugins import plugins
from tests.test_registry import LOSS, install, site

__all__ = ["site"]

HOOK = "from ssl_pipeline import hookimpl\n@hookimpl\ndef register_losses(register):\n    register("


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise SystemExit('usage: me')", "it ends Python at import (SystemExit: usage: me): its author must guard"),
        ("import sys; sys.exit(0)", "it ends Python at import (SystemExit: 0)"),
        ("raise KeyboardInterrupt", "astray: KeyboardInterrupt"),
        ("class Odd(BaseException): pass\nraise Odd('x' * 10**6)", "Odd: xxx"),
        ("raise RuntimeError('\\x1b[31mred')", "RuntimeError: \\x1b[31mred"),
        ("", "TypeError: it registers nothing: decorate its hooks with @ssl_pipeline.hookimpl"),
        (HOOK + "None, dict)", "it registers a loss under the name None; names have up to 100 letters"),
        (HOOK + "5, dict)", "it registers a loss under the name 5; names have"),
        (HOOK + "'a\\nb\\x1b[31m', dict)", r"it registers a loss under the name 'a\nb\x1b[31m'; names have"),
        (HOOK + "'', dict)", "under the name ''; names have"),
        (HOOK + "'fine', None)", "it registers loss 'fine' as None, which cannot be called"),
        (HOOK + "'fine', dict); register('not fine', dict)", "it registers a loss under the name 'not fine'"),
    ],
)
def test_a_plugin_that_misbehaves_is_named_and_takes_nobody_down(site: Path, code: str, reason: str):
    install(site, "astray", code)
    install(site, "bplugin", LOSS.replace("NAME", "mine"))
    registry = load_registry()
    (failure,) = map(str, registry.failures)
    assert failure.startswith("plugin 'astray' of astray: ")
    assert reason in failure
    assert len(failure) < 800
    assert failure.isprintable()
    assert registry.find("loss", "mine")
    assert registry.remarks == []
    assert "fine" not in registry.names("loss")  # a plugin is registered completely or not at all
    with pytest.raises(ConfigError, match="plugin 'astray' of astray"):
        registry.find("loss", "wanted")
    listed = CliRunner().invoke(plugins, [])
    assert listed.exit_code == 0
    assert f"failed to load: {failure}" in listed.stderr
    assert "\n  w_mse " in listed.stdout  # the last name of the list


def test_the_user_s_ctrl_c_at_import_stops(site: Path):
    install(site, "aslow", "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(9)")
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        load_registry()
    assert signal.getsignal(signal.SIGINT) is before


MEDDLE = """
import os, random, signal, numpy, torch
torch.set_default_dtype(torch.float64)
torch.set_default_device("meta")
torch.set_num_threads(torch.get_num_threads() + 1)
torch.manual_seed(7)
torch.set_grad_enabled(False)
torch.use_deterministic_algorithms(True)
torch.set_float32_matmul_precision("medium")
random.seed(7)
numpy.random.seed(7)
os.chdir("/")
signal.signal(signal.SIGINT, signal.SIG_IGN)
"""

READERS: dict[str, Callable[[], object]] = {
    "torch's default dtype": torch.get_default_dtype,
    "torch's default device": torch.get_default_device,
    "torch's threads": torch.get_num_threads,
    "torch's random numbers": lambda: torch.get_rng_state().tolist(),
    "torch's gradients": torch.is_grad_enabled,
    "torch's deterministic algorithms": torch.are_deterministic_algorithms_enabled,
    "torch's precision of products": torch.get_float32_matmul_precision,
    "Python's random numbers": random.getstate,
    "numpy's random numbers": lambda: str(np.random.get_state()),
    "the working folder": os.getcwd,
}


def test_states_that_all_code_shares_are_set_back_and_that_is_noted(site: Path):
    handler = signal.getsignal(signal.SIGINT)
    before = {name: read() for name, read in READERS.items()}
    install(site, "meddler", MEDDLE + LOSS.replace("NAME", "mine"))
    registry = load_registry()
    assert registry.failures == []
    assert registry.find("loss", "mine")
    assert {name: read() for name, read in READERS.items()} == before
    assert signal.getsignal(signal.SIGINT) is handler
    assert registry.remarks == [
        f"plugin 'meddler' of meddler changed {name} at import; this was undone" for name in READERS
    ]
    del registry
    listed = CliRunner().invoke(plugins, [])
    assert listed.exit_code == 0


TYPED = """
from __future__ import annotations
from typing import TYPE_CHECKING
from ssl_pipeline import hookimpl
if TYPE_CHECKING:
    from fractions import Fraction
    from ssl_pipeline.types import Encoder
def unknown(weight: Fraction | float = 1.0): return weight
def filled_in(encoder: Encoder, weight: float = 1.0): return weight
@hookimpl
def register_losses(register):
    register("a_unknown", unknown)
@hookimpl
def register_pretext_tasks(register):
    register("b_filled_in", filled_in)
"""


def test_types_that_are_not_there_at_run_time_are_told_by_who_uses_them_and_end_no_list(site: Path):
    install(site, "typed", TYPED)
    registry = load_registry()
    message = (
        r"pretrain.loss: loss 'a_unknown' of typed 0.3: the options cannot be read .*name 'Fraction' is not defined"
    )
    with pytest.raises(ConfigError, match=message):
        registry.build("loss", Choice(name="a_unknown", weight=2))
    assert registry.build("pretext_task", Choice(name="b_filled_in", weight=2), encoder=None) == 2.0
    listed = CliRunner().invoke(plugins, [])
    assert listed.exit_code == 0
    assert "\n  w_mse " in listed.stdout
    told = CliRunner().invoke(plugins, ["a_unknown"])
    assert told.exit_code == 0
    assert "the options cannot be read from its signature (NameError: name 'Fraction' is not defined)" in told.stdout
