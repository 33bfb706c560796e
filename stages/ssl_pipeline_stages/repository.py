"""Turn a folder into a project for git and DVC."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ssl_pipeline.errors import PipelineError
from ssl_pipeline.terminal import shown

__all__ = ["initialise"]

DVC_CONFIG = """\
[core]
    analytics = false
    check_update = false
{scm}[cache]
    # store each product once on the disk, though it is in the project and in DVC's cache
    type = "hardlink,copy"
"""


def initialise(folder: Path, anchor: Path) -> None:
    """Make a folder a DVC project, and a git repository unless it lies in one or git is not installed.

    Args:
        folder: Folder of the project, which contains a .dvcignore.
        anchor: Existing folder from which to search upwards for a git repository.

    Raises:
        PipelineError: git or DVC fails.
    """
    git = shutil.which("git")
    if git and not _run([git, "rev-parse", "--is-inside-work-tree"], anchor, needed=False):
        _run([git, "init", "--quiet"], folder)
    ignored = (folder / ".dvcignore").read_text(encoding="utf-8")
    # with git, DVC would add the files to the index of a surrounding repository before they are moved into place
    _run([sys.executable, "-m", "dvc", "init", "--quiet", "--no-scm", "--force"], folder)
    (folder / ".dvcignore").write_text(ignored, encoding="utf-8")
    config = DVC_CONFIG.format(scm="" if git else "    no_scm = true\n")
    (folder / ".dvc" / "config").write_text(config, encoding="utf-8")


def _run(words: Sequence[str], folder: Path, needed: bool = True) -> bool:
    """Run a command, and return whether it succeeded.

    Raises:
        PipelineError: The command is needed and failed.
    """
    variables = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(words, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    if done.returncode and needed:
        raise PipelineError(f"`{' '.join(words[-3:])}` failed: {shown(done.stderr.strip(), 500)}")
    return not done.returncode
