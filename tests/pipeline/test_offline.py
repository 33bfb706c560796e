"""No process of a run tries to reach a network."""

import os
import subprocess
import sys
from pathlib import Path

from ssl_pipeline_stages import STAGES
from tests.pipeline.conftest import NETWORK_LOG, WATCH


def test_a_run_of_the_pipeline_tries_no_connection(finished: Path):
    watched, tried = split(finished.parent / NETWORK_LOG)
    for stage in STAGES:
        assert any(f"ssl-pipeline {stage}" in line for line in watched)
    assert any("ssl_pipeline reference" in line for line in watched)
    assert tried == []


def test_a_connection_would_be_noticed(tmp_path: Path):
    log = tmp_path / NETWORK_LOG
    code = "import socket; socket.socket().connect_ex(('127.0.0.1', 9))"
    variables = {**os.environ, "PYTHONPATH": str(WATCH), "NETWORK_LOG": str(log)}
    subprocess.run([sys.executable, "-c", code], env=variables, check=True)
    watched, tried = split(log)
    assert len(watched) == len(tried) == 1
    assert "127.0.0.1" in tried[0]


def split(log: Path) -> tuple[list[str], list[str]]:
    """Return the processes that were logged and the connections that they tried to make."""
    lines = log.read_text().splitlines()
    watched = [line for line in lines if line.startswith("watching")]
    return watched, [line for line in lines if not line.startswith(("watching", "opened"))]
