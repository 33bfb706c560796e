"""How long `ssl-pipeline --help` takes, as a multiple of `python -c pass`: the two are measured in turns.

python -m benchmarks.start_up
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 20


def seconds(*words: str) -> float:
    """Return how long a command takes, s."""
    began = time.perf_counter()
    subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def main() -> None:
    command = str(Path(sys.executable).parent / "ssl-pipeline")
    pairs = [(seconds(sys.executable, "-c", "pass"), seconds(command, "--help")) for _ in range(RUNS)]
    nothing, help_text = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"python -c pass: {1000 * nothing:.0f} ms; ssl-pipeline --help: {1000 * help_text:.0f} ms")
    print(f"ratio of the medians of {RUNS}: {help_text / nothing:.1f}")


if __name__ == "__main__":
    main()
