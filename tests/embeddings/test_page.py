"""The commands and the code of docs/embeddings.md run one after the other."""

import re
import shlex
import shutil
import zipfile
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from benchmarks.project import ROOT
from ssl_pipeline_stages.main import main

BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", (ROOT / "docs/embeddings.md").read_text(), re.DOTALL)
OURS = ("ssl-pipeline embed", "ssl-pipeline search")
CODE = ("pyarrow", "neighbours", "runtime")


def test_the_page_runs(model: Path, pile: Path):
    Path("models").mkdir()
    shutil.copytree(model.parent, "models/export")
    Path("images").rename("photos")
    shutil.copy("photos/a/00.png", "one.jpg")
    with zipfile.ZipFile("more.zip", "w") as archive:
        archive.write("photos/b/01.png", "cat/1.jpg")
    space: dict[str, Any] = {}
    ran = []
    for language, block in BLOCKS:
        if language == "python" and any(word in block for word in CODE):
            exec(compile(block, "docs/embeddings.md", "exec"), space)
            ran.append("python")
        for line in block.splitlines() if language == "bash" else ():
            if line.startswith(OURS):
                done = CliRunner().invoke(main, shlex.split(line)[1:], catch_exceptions=False)
                assert done.exit_code == 0, done.stderr
                ran.append(shlex.split(line)[1])
    assert ran == ["embed", "python", "search", "python", "python"]
    assert len(space["paths"]) == len(space["ids"]) == 25
    assert space["rows"].shape == (2, 48)
    assert Path("neighbours.png").exists()
