"""Memory of kNN and of clustering as the number of embeddings grows: `python -m benchmarks.embeddings`.

Each point is measured in a new process, which makes random embeddings of 512 dimensions and prints the peak memory that
kNN, or k-means with ten clusters, needs in addition to them. The last line of each study gives the slope over its
points, in bytes per embedding, and the memory for a million embeddings, which themselves take 2.0 GB.
"""

import json
import resource
import subprocess
import sys
import time

import click
import numpy as np
import numpy.typing as npt

from benchmarks.interleaved import machine
from benchmarks.project import ROOT, environment
from ssl_pipeline.evaluation.clusters.clustering import cluster
from ssl_pipeline.evaluation.features import unit
from ssl_pipeline.evaluation.linear import knn

DIM, QUERIES, CLASSES = 512, 1024, 10
COUNTS = {"knn": (16_384, 65_536, 262_144), "clusters": (8_192, 32_768, 131_072)}


def embeddings(count: int) -> npt.NDArray[np.float32]:
    """Return unit-norm embeddings (count, DIM), made in blocks so that no other large array is needed."""
    made, generator = np.empty((count, DIM), np.float32), np.random.default_rng(0)
    for start in range(0, count, 4096):
        rows = made[start : start + 4096]
        rows[:] = unit(generator.standard_normal(rows.shape, np.float32))
    return made


def held() -> int:
    """Return the peak memory of this process, bytes (Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def point(study: str, count: int) -> None:
    """Print the time of a study, and the memory that it needs in addition to its embeddings."""
    warm, stored = embeddings(256), embeddings(count)

    def run(these: npt.NDArray[np.float32]) -> None:
        if study == "knn":
            knn.predict(these, np.arange(len(these)) % CLASSES, warm.repeat(QUERIES // 256, axis=0), 20, 0.07)
        else:
            cluster(these, these, np.arange(len(these)), [CLASSES], 2, 0)

    run(warm)  # load its imports before memory is measured
    before, began = held(), time.process_time()
    run(stored)
    found = {"study": study, "embeddings": count, "bytes": held() - before}
    print(json.dumps(found | {"seconds": round(time.process_time() - began, 2)}), flush=True)


@click.command()
@click.option("--one", type=(str, int), hidden=True)
def main(one: tuple[str, int] | None) -> None:
    """Print the memory of each study for each number of embeddings, and its slope."""
    if one:
        point(*one)
        return
    print(json.dumps(machine() | {"date": time.strftime("%Y-%m-%d"), "dim": DIM}), flush=True)
    for study, counts in COUNTS.items():
        points = []
        for count in counts:
            words = [sys.executable, "-m", "benchmarks.embeddings", "--one", study, str(count)]
            said = subprocess.run(words, cwd=ROOT, env=environment(), check=True, stdout=subprocess.PIPE, text=True)
            print(said.stdout, end="", flush=True)
            points.append(json.loads(said.stdout)["bytes"])
        slope, constant = np.polyfit(counts, points, 1)
        line = {"what": f"memory of {study} beside the embeddings", "bytes_per_embedding": round(slope, 1)}
        share = {"share_of_embeddings": round(slope / (4 * DIM), 3)}
        print(
            json.dumps(line | share | {"gigabytes_at_a_million": round((constant + slope * 1e6) / 1e9, 2)}), flush=True
        )


if __name__ == "__main__":
    main()
