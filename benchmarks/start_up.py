"""How long `ssl-pipeline --help` takes, as a multiple of `python -c pass`: the two are measured in turns.

python -m benchmarks.start_up
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import click

RUNS = 20


def seconds(*words: str) -> float:
    """Return how long a command takes, s."""
    began = time.perf_counter()
    subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


@click.command()
def main() -> None:
    """Print the ratio of the medians, as JSON."""
    command = str(Path(sys.executable).parent / "ssl-pipeline")
    pairs = [(seconds(sys.executable, "-c", "pass"), seconds(command, "--help")) for _ in range(RUNS)]
    nothing, help_text = (statistics.median(times) for times in zip(*pairs, strict=True))
    line = {"what": "ssl-pipeline --help, to python -c pass", "ratio": round(help_text / nothing, 2), "runs": RUNS}
    print(json.dumps(line | {"s": {"help": round(help_text, 4), "nothing": round(nothing, 4)}}))


if __name__ == "__main__":
    main()
