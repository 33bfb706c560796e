"""Distinguishing failures of the tools of onnx and onnxruntime from bugs in this project."""

import contextlib
import traceback
from collections.abc import Iterator

import onnx

from ssl_pipeline.errors import PipelineError
from ssl_pipeline.terminal import brief

__all__ = ["named"]

_TOOLS, _OURS = ("onnx", "onnxruntime", "onnxscript", "onnx_ir"), ("ssl_pipeline",)


@contextlib.contextmanager
def named(model: onnx.ModelProto, what: str) -> Iterator[None]:
    """Turn an error of a tool into one that names the operators concerned, and says what to do.

    The tools have no error type of their own; they even raise AttributeError. An error counts as a tool's if, of the
    frames that belong to a tool or to this project, the innermost one belongs to a tool. Errors from this project's own
    code pass unchanged, and so do a full disk and a lack of memory.

    Args:
        model: Model that the tool works on.
        what: Clause that says what failed, such as "cannot write this backbone as fp16".

    Raises:
        PipelineError: A tool has failed.
    """
    try:
        yield
    except (PipelineError, OSError, MemoryError):
        raise
    except Exception as error:  # what the tools raise has no narrower base
        if not _is_a_tools(error):
            raise
        operators = sorted({node.op_type for node in model.graph.node})
        meant = [operator for operator in operators if operator in str(error)] or operators
        raise PipelineError(
            f"onnxruntime's tools {what}, because of {', '.join(meant[:10])}: {brief(error)}. Another export.opset may "
            "help."
        ) from error


def _is_a_tools(error: Exception) -> bool:
    packages = [
        frame.f_globals.get("__name__", "").split(".")[0] for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    known = [package for package in packages if package in _TOOLS or package in _OURS]
    return bool(known) and known[-1] in _TOOLS
