"""Check a bundle on the machine where it will run: python verify.py [FOLDER] [--providers cuda,cpu]

1. No file is missing, none is there that does not belong to it, and each has the digest that checksums.txt gives.
   Outputs would not tell: with one bit of the weights flipped, the cosine of embeddings was still 0.9999999.
2. Each graph computes from the golden inputs what it computed where it was made, within the bounds of its precision.

Checksums find damage, not forgery: compare the digest of checksums.txt, which is printed, with what its sender says.

Exit status: 0, all is well; 1, the folder is damaged, or a graph computes something else here; 2, what was asked for is
not here: the folder, a library, an execution provider.

It needs numpy, onnxruntime and Python 3.9, and nothing of the package that made the bundle, in which it lies as well.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CHECKSUMS, CONTENTS, GOLDEN = "checksums.txt", "bundle.json", "golden.npz"
FORMAT = 1
"""The format of bundle.json and golden.npz."""
DEFAULT_PROVIDERS = "cpu"
_LISTED = 10
"""Problems that are told, at most."""
_EXACT = {
    "CUDAExecutionProvider": {"use_tf32": "0"},
    "OpenVINOExecutionProvider": {
        "device_type": "CPU",
        "load_config": json.dumps({"CPU": {"INFERENCE_PRECISION_HINT": "f32"}}),
    },
}
"""Provider -> options without which it may round more than the graph asks for: to TF32, or to bfloat16."""
_ERRORS_ONLY = 3

Say = Callable[[str], None]


class BundleError(Exception):
    """The bundle is damaged, or computes something else here; the message has a line for each problem."""

    status = 1


class NotHereError(BundleError):
    """Something that was asked for is not here."""

    status = 2


def verify(folder: Path, providers: str = DEFAULT_PROVIDERS, say: Say = print) -> None:
    """Check a bundle.

    Args:
        folder: The folder of the bundle.
        providers: Names of onnxruntime's execution providers, the preferred one first, with commas: "cuda,cpu".
        say: Takes a line about each part that is well.

    Raises:
        BundleError: The bundle is damaged, or computes something else here.
        NotHereError: There is no bundle, no such provider, or no numpy and onnxruntime.
    """
    files = check_files(folder)
    digest = _sha256(folder / CHECKSUMS)
    say(f"{_shown(str(folder))}: {files} files are as they were written; SHA-256 of {CHECKSUMS}: {digest}")
    contents = read_contents(folder)
    chosen = choose_providers(providers)
    golden, problems = _read_golden(folder), []
    for name, graph in contents["graphs"].items():
        try:
            say(f"{name}: {check_graph(folder / name, graph, golden, chosen)}")
        except NotHereError:
            raise
        except BundleError as error:
            problems.append(f"{name}: {error}")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            problems.append(f"{name}: {CONTENTS} or {GOLDEN} lacks what proves it ({_shown(repr(error))})")
    if problems:
        raise BundleError("\n".join(problems))


def check_files(folder: Path) -> int:
    """Hold the files of a bundle against its checksums; return how many there are.

    Raises:
        BundleError: A file is missing, damaged or not of the bundle.
        NotHereError: The folder is no bundle.
    """
    expected = _read_checksums(folder)
    there = set(_files(folder)) - {CHECKSUMS}
    problems = [f"{name}: is missing" for name in sorted(set(expected) - there)]
    problems += [f"{_shown(name)}: does not belong to the bundle" for name in sorted(there - set(expected))]
    for name in sorted(there & set(expected)):
        try:
            if _sha256(folder / name) != expected[name]:
                problems.append(f"{name}: is damaged: it has another SHA-256 than {CHECKSUMS} says")
        except OSError as error:
            problems.append(f"{name}: cannot be read ({error.strerror})")
    if problems:
        more = len(problems) - _LISTED
        raise BundleError("\n".join(problems[:_LISTED] + ([f"and {more} more"] if more > 0 else [])))
    return len(expected) + 1


def read_contents(folder: Path) -> Any:
    """Return what bundle.json says, whose checksum is right.

    Raises:
        BundleError: It is damaged, or tells of other graphs than there are: each has to be proved, and no other file.
        NotHereError: It is of a format that this script does not know.
    """
    try:
        contents = json.loads((folder / CONTENTS).read_text(encoding="utf-8"))
        form, graphs = contents["format"], set(contents["graphs"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise BundleError(f"{CONTENTS}: is damaged ({_shown(repr(error))})") from error
    if form != FORMAT:
        raise NotHereError(f"{CONTENTS} is of format {_shown(str(form))}: run the verify.py that lies in the bundle.")
    strange = sorted(graphs ^ {name for name in _read_checksums(folder) if name.endswith(".onnx")})
    if strange:
        raise BundleError(f"{CONTENTS}: tells of other graphs than there are: {_shown(', '.join(strange))}")
    return contents


def choose_providers(names: str) -> list[Any]:
    """Return execution providers for a session, by names such as "cuda,cpu" or "CUDAExecutionProvider".

    Raises:
        NotHereError: onnxruntime or numpy is not installed, or has no such provider.
    """
    try:
        import numpy  # noqa: F401
        import onnxruntime
    except ImportError as error:
        raise NotHereError(f"{error}: pip install numpy onnxruntime") from error
    suffix, chosen = "ExecutionProvider", []
    known = {name[: -len(suffix)].lower(): name for name in onnxruntime.get_available_providers()}
    for name in names.split(","):
        short = name.strip().lower()
        short = short[: -len(suffix)] if short.endswith(suffix.lower()) else short
        if short not in known:
            raise NotHereError(
                f"--providers: onnxruntime {onnxruntime.__version__} has no '{_shown(name.strip())}' here; it has "
                f"{', '.join(sorted(known))}. Another package of it may have it, such as onnxruntime-gpu."
            )
        chosen.append((known[short], _EXACT.get(known[short], {})))
    return chosen


def check_graph(path: Path, graph: Any, golden: Any, providers: list[Any]) -> str:
    """Run a graph on the golden inputs; say in a few words how near it came to the golden outputs.

    Args:
        path: The ONNX file.
        graph: What bundle.json says of it.
        golden: The arrays of golden.npz.
        providers: Execution providers, the preferred one first.

    Raises:
        BundleError: It cannot be run, or an output is beyond a bound.
        NotHereError: The preferred provider does not work here.
    """
    session = _open(path, providers)
    largest, least = 0.0, 1.0
    for number, case in enumerate(graph["cases"]):
        inputs = {name: golden[key] for name, key in case["inputs"].items()}
        try:
            outputs = session.run(list(case["outputs"]), inputs)
        except Exception as error:  # onnxruntime's exceptions share no narrower base
            raise BundleError(f"cannot be run on case {number}: {_shown(str(error))}") from error
        for place, (name, key) in enumerate(case["outputs"].items()):
            difference, cosine = compare(outputs[place], golden[key], graph["every"].get(name, 1))
            if not (difference <= graph["max_difference"] and cosine >= graph["min_cosine"]):
                raise BundleError(
                    f"computes something else here: case {number}, {name}: difference {difference:.1e} of the largest "
                    f"component, bound {graph['max_difference']:.0e}; cosine {cosine:.7f}, bound {graph['min_cosine']}"
                )
            largest, least = max(largest, difference), min(least, cosine)
    return (
        f"{graph['precision']} on {session.get_providers()[0]}: {len(graph['cases'])} cases, largest difference "
        f"{largest:.1e} (bound {graph['max_difference']:.0e}), least cosine {least:.7f} (bound {graph['min_cosine']})"
    )


def compare(found: Any, golden: Any, every: int = 1) -> tuple[float, float]:
    """Return how far outputs are from golden ones: the largest difference and the least cosine of their rows.

    Args:
        found: Outputs (N, ...).
        golden: The golden outputs (N, values).
        every: Step between the values of a row that these are: every first, second, third, ... one.

    Returns:
        The difference in units of the largest component of the golden row, and the cosine. Outputs of another shape,
        and such with values that are not finite, are infinitely far away.
    """
    import numpy as np

    rows = np.asarray(found, np.float64).reshape(len(found), -1)[:, ::every] if len(found) == len(golden) else None
    wanted = np.asarray(golden, np.float64)
    if rows is None or rows.shape != wanted.shape or not np.isfinite(rows).all():
        return float("inf"), -1.0
    tiny = np.finfo(np.float64).tiny
    unit = np.maximum(np.abs(wanted).max(axis=1), tiny)
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(wanted, axis=1)
    cosines = np.where((rows == wanted).all(axis=1), 1.0, (rows * wanted).sum(axis=1) / np.maximum(lengths, tiny))
    return float((np.abs(rows - wanted).max(axis=1) / unit).max()), float(cosines.min())


def _read_golden(folder: Path) -> dict[str, Any]:
    """Return the arrays of golden.npz, whose checksum is right."""
    import numpy as np

    try:
        with (folder / GOLDEN).open("rb") as file, np.load(file, allow_pickle=False) as golden:
            return dict(golden)
    except (EOFError, OSError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise BundleError(f"{GOLDEN}: cannot be read ({_shown(str(error))})") from error


def _open(path: Path, providers: list[Any]) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's exceptions share no narrower base
        raise BundleError(f"onnxruntime {onnxruntime.__version__} cannot load it: {_shown(str(error))}") from error
    preferred, used = providers[0][0], session.get_providers()[0]
    if used != preferred:
        raise NotHereError(f"--providers: {preferred} does not work here: onnxruntime took {used} in its place.")
    return session


def _read_checksums(folder: Path) -> dict[str, str]:
    """Return name -> SHA-256, in hex."""
    try:
        text = (folder / CHECKSUMS).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise NotHereError(
            f"{_shown(str(folder))} is no bundle: {CHECKSUMS} cannot be read ({error.strerror})."
        ) from error
    pairs = [line.split("  ", 1) for line in text.splitlines()]
    whole = all(len(pair) == 2 and len(pair[0]) == 64 and _is_inside(pair[1]) for pair in pairs)
    if not whole or CONTENTS not in [pair[-1] for pair in pairs]:
        raise BundleError(f"{CHECKSUMS}: is damaged: its lines are not a digest and a name each")
    return {name: digest for digest, name in pairs}


def _is_inside(name: str) -> bool:
    """Say whether a name leads to a file of the folder, and to no other."""
    return not os.path.isabs(name) and ".." not in name.split("/") and "\\" not in name and name.isprintable()


def _files(folder: Path) -> Iterator[str]:
    """Return the names of all files of a folder and of its folders."""
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_dir():
            yield path.relative_to(folder).as_posix()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()  # onnxruntime reads the whole of a graph, too


def _shown(text: str) -> str:
    """Return a stranger's text as a part of one line."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text[:500])


def main() -> int:
    """Check the bundle that the command line names, or else the one in which this file lies."""
    parser = argparse.ArgumentParser(description="Check a bundle on the machine where it will run.")
    parser.add_argument("bundle", nargs="?", type=Path, default=Path(__file__).parent, help="default: this file's")
    parser.add_argument(
        "--providers",
        default=DEFAULT_PROVIDERS,
        help="onnxruntime's execution providers, the preferred one first, such as cuda,cpu or openvino (default: cpu)",
    )
    options = parser.parse_args()
    try:
        verify(options.bundle, options.providers)
    except BundleError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    print("ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
