"""Verify a bundle on the machine where it will run: python verify.py [FOLDER] [--providers cuda,cpu]

1. The files: none is missing, none is foreign, and each has the digest that checksums.txt lists. Outputs alone would
   not reveal all damage: with one bit of the weights flipped, the cosine of embeddings was still 0.9999999.
2. The graphs: each reproduces its golden outputs from the golden inputs, within the tolerance of its precision.

Checksums detect damage, not forgery: compare the printed digest of checksums.txt with the one that the sender states.

Exit status: 0 if the bundle passes; 1 if a file is damaged or a graph computes something else on this machine; 2 if the
bundle, a library or an execution provider is missing.

It needs Python 3.9, numpy and onnxruntime, but not the package that made the bundle, which also contains this file.
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
"""Version of the format of bundle.json and golden.npz."""
DEFAULT_PROVIDERS = "cpu"
_LISTED = 10
"""Largest number of problems that are listed."""
_EXACT = {
    "CUDAExecutionProvider": {"use_tf32": "0"},
    "OpenVINOExecutionProvider": {
        "device_type": "CPU",
        "load_config": json.dumps({"CPU": {"INFERENCE_PRECISION_HINT": "f32"}}),
    },
}
"""Provider -> options that keep it from rounding more than the graph asks for: to TF32, or to bfloat16."""
_ERRORS_ONLY = 3

Say = Callable[[str], None]


class BundleError(Exception):
    """A bundle that is damaged or computes something else on this machine; the message has one line per problem."""

    status = 1


class NotHereError(BundleError):
    """A bundle, library or execution provider that does not exist on this machine."""

    status = 2


def verify(folder: Path, providers: str = DEFAULT_PROVIDERS, say: Say = print) -> None:
    """Verify a bundle.

    Args:
        folder: Folder of the bundle.
        providers: Comma-separated names of onnxruntime's execution providers, the preferred one first: "cuda,cpu".
        say: Function that takes one line about each part that passes.

    Raises:
        BundleError: The bundle is damaged, or computes something else on this machine.
        NotHereError: The bundle, the provider, numpy or onnxruntime is missing.
    """
    files = check_files(folder)
    digest = _sha256(folder / CHECKSUMS)
    say(f"{_shown(str(folder))}: {files} files are intact; SHA-256 of {CHECKSUMS}: {digest}")
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
            problems.append(f"{name}: {CONTENTS} or {GOLDEN} lacks its golden outputs ({_shown(repr(error))})")
    if problems:
        raise BundleError("\n".join(problems))


def check_files(folder: Path) -> int:
    """Compare the files of a bundle with its checksums; return the number of files.

    Raises:
        BundleError: A file is missing, damaged or foreign.
        NotHereError: The folder is not a bundle.
    """
    expected = _read_checksums(folder)
    there = set(_files(folder)) - {CHECKSUMS}
    problems = [f"{name}: missing" for name in sorted(set(expected) - there)]
    problems += [f"{_shown(name)}: not part of the bundle" for name in sorted(there - set(expected))]
    for name in sorted(there & set(expected)):
        try:
            if _sha256(folder / name) != expected[name]:
                problems.append(f"{name}: damaged: its SHA-256 differs from that in {CHECKSUMS}")
        except OSError as error:
            problems.append(f"{name}: cannot be read ({error.strerror})")
    if problems:
        more = len(problems) - _LISTED
        raise BundleError("\n".join(problems[:_LISTED] + ([f"and {more} more"] if more > 0 else [])))
    return len(expected) + 1


def read_contents(folder: Path) -> Any:
    """Return the contents of bundle.json, whose checksum has been verified.

    Raises:
        BundleError: It is damaged, or does not list exactly the graphs in the folder, each of which has to be proved.
        NotHereError: Its format is unknown to this script.
    """
    try:
        contents = json.loads((folder / CONTENTS).read_text(encoding="utf-8"))
        form, graphs = contents["format"], set(contents["graphs"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise BundleError(f"{CONTENTS}: damaged ({_shown(repr(error))})") from error
    if form != FORMAT:
        raise NotHereError(f"{CONTENTS} has format {_shown(str(form))}: run the verify.py in the bundle itself.")
    strange = sorted(graphs ^ {name for name in _read_checksums(folder) if name.endswith(".onnx")})
    if strange:
        raise BundleError(f"{CONTENTS}: does not match the graphs in the folder: {_shown(', '.join(strange))}")
    return contents


def choose_providers(names: str) -> list[Any]:
    """Return execution providers for a session, from names such as "cuda,cpu" or "CUDAExecutionProvider".

    Raises:
        NotHereError: onnxruntime or numpy is not installed, or has no such provider.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import: onnxruntime would report to Microsoft
    try:
        import numpy  # noqa: F401
        import onnxruntime
    except ImportError as error:
        raise NotHereError(f"{error}: run `pip install numpy onnxruntime`") from error
    suffix, chosen = "ExecutionProvider", []
    known = {name[: -len(suffix)].lower(): name for name in onnxruntime.get_available_providers()}
    for name in names.split(","):
        short = name.strip().lower().removesuffix(suffix.lower())
        if short not in known:
            raise NotHereError(
                f"--providers: onnxruntime {onnxruntime.__version__} has no '{_shown(name.strip())}' here; it has "
                f"{', '.join(sorted(known))}. Other packages: onnxruntime-gpu (cuda), onnxruntime-openvino (openvino)."
            )
        chosen.append((known[short], _EXACT.get(known[short], {})))
    return chosen


def check_graph(path: Path, graph: Any, golden: Any, providers: list[Any]) -> str:
    """Run a graph on the golden inputs; return a line that says how close it came to the golden outputs.

    Args:
        path: Path of the ONNX file.
        graph: Entry of the graph in bundle.json.
        golden: Arrays of golden.npz.
        providers: Execution providers, the preferred one first.

    Raises:
        BundleError: The graph cannot be run, or an output exceeds a bound.
        NotHereError: The preferred provider does not work on this machine.
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
        f"{largest:.1e} (bound {graph['max_difference']:.0e}), lowest cosine {least:.7f} (bound {graph['min_cosine']})"
    )


def compare(found: Any, golden: Any, every: int = 1) -> tuple[float, float]:
    """Return the largest difference and the lowest cosine between rows of outputs and golden rows.

    Args:
        found: Outputs (N, ...).
        golden: Golden outputs (N, values).
        every: Stride of the golden values within a row: 1 for all values, 2 for every second one, and so on.

    Returns:
        The difference in units of the largest component of the golden row, and the cosine. If shapes differ or a value
        is not finite, the difference is infinite and the cosine -1.
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
    """Return the arrays of golden.npz, whose checksum has been verified."""
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
        raise NotHereError(f"--providers: {preferred} does not work here: onnxruntime fell back to {used}.")
    return session


def _read_checksums(folder: Path) -> dict[str, str]:
    """Return name -> SHA-256, in hex."""
    try:
        text = (folder / CHECKSUMS).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise NotHereError(
            f"{_shown(str(folder))} is not a bundle: {CHECKSUMS} cannot be read ({error.strerror})."
        ) from error
    pairs = [line.split("  ", 1) for line in text.splitlines()]
    whole = all(len(pair) == 2 and len(pair[0]) == 64 and _is_inside(pair[1]) for pair in pairs)
    if not whole or CONTENTS not in [pair[-1] for pair in pairs]:
        raise BundleError(f"{CHECKSUMS}: damaged: not every line is a digest and a name")
    return {name: digest for digest, name in pairs}


def _is_inside(name: str) -> bool:
    """Return whether a name can only lead to a file inside the folder."""
    return not os.path.isabs(name) and ".." not in name.split("/") and "\\" not in name and name.isprintable()


def _files(folder: Path) -> Iterator[str]:
    """Yield the names of all files in a folder and its subfolders."""
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_dir():
            yield path.relative_to(folder).as_posix()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()  # onnxruntime reads a whole graph into memory, too


def _shown(text: str) -> str:
    """Return untrusted text, cut to 500 characters, with unprintable ones escaped so that it stays on one line."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text[:500])


def main() -> int:
    """Verify the bundle that the command line names, by default the one that contains this file."""
    parser = argparse.ArgumentParser(description="Verify a bundle on the machine where it will run.")
    parser.add_argument("bundle", nargs="?", type=Path, default=Path(__file__).parent, help="default: this folder")
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
