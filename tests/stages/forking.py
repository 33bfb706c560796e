"""A process that has made the slow imports of pretrain, and that runs the stage in forks of itself.

Each line of its input names a project's folder, a patch and a file; the patch is executed before the stage, and the
file receives the output of the stage. The process prints the exit status, which is negative if a signal ended the fork.
"""

import json
import os
import sys

import matplotlib.backends.backend_agg  # noqa: F401  # draws the curves
import torch._dynamo  # noqa: F401  # an optimizer imports it

import ssl_pipeline_stages.code  # noqa: F401
from ssl_pipeline_stages.pretrain import pretrain

for line in sys.stdin:
    folder, patch, said = json.loads(line)
    if fork := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]), flush=True)
        continue
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.chdir(folder)
    exec(patch, {})
    pretrain([])  # exits the fork
