"""What every command tells its user, and which errors keep Python's traceback."""

import errno

import pytest

from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline_stages import guarded as guarded_module
from ssl_pipeline_stages.guarded import guarded


def raising(error: BaseException) -> int:
    def action() -> None:
        raise error

    return guarded(action)


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (PipelineError("no images"), 1, "error: no images\n"),
        (ConfigError("no such key"), 2, "error: no such key\n"),
        (OSError(errno.ENOSPC, "No space left", ".work/a.tmp"), 1, "error: .work/a.tmp could not be written because"),
        (
            OSError(errno.EROFS, "Read-only file system", ".work"),
            1,
            "error: .work cannot be read or written (Read-only",
        ),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_is_the_user_s_to_mend_is_said(
    error: BaseException, status: int, message: str, capsys: pytest.CaptureFixture[str]
):
    assert raising(error) == status
    assert capsys.readouterr().err.startswith(message)


@pytest.mark.parametrize(
    "error", [KeyError("a bug"), OSError(errno.ENOENT, "No such file", "x"), OSError("unexplained")]
)
def test_a_bug_keeps_its_traceback(error: Exception):
    with pytest.raises(type(error)):
        raising(error)


def test_an_error_of_a_single_rank_names_the_rank(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(guarded_module, "_PATIENCE_SECONDS", 0.0)
    monkeypatch.setenv("RANK", "2")
    assert raising(PipelineError("no images")) == 1
    assert capsys.readouterr().err == "rank 2: error: no images\n"


def test_the_first_rank_alone_tells_of_an_interrupt(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("RANK", "2")
    assert raising(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == ""
