"""A graph that was traced before comes from the cache, as long as nothing that it depends on has changed."""

import pytest

from ssl_pipeline.deployment import traces

MODULE = "ssl_pipeline.augment.geometry"


@pytest.fixture
def traced(tmp_path, monkeypatch):
    """Return a function of settings that returns the graph and whether it was traced for this call."""
    monkeypatch.setenv(traces.FOLDER, str(tmp_path / "cache"))

    def once(settings="16 px", module=MODULE):
        calls = []

        def trace():
            calls.append(settings)
            return settings.encode()

        return traces.traced_once(module, settings, trace), bool(calls)

    return once


def test_it_is_traced_once_for_the_same_settings_and_code(traced):
    assert [traced(), traced(), traced("32 px"), traced("32 px")] == [
        (b"16 px", True),
        (b"16 px", False),
        (b"32 px", True),
        (b"32 px", False),
    ]
    assert traced(module="ssl_pipeline.augment.plain") == (b"16 px", True)


@pytest.mark.parametrize("changed", ["code", "torch"])
def test_other_code_or_another_version_traces_it_again(changed, traced, monkeypatch):
    traced()
    if changed == "code":
        monkeypatch.setattr(traces, "closure", lambda *_: {MODULE: "other bytes"})
    else:
        monkeypatch.setattr(traces, "version", lambda name: "3.0" if name == "torch" else "1.0")
    assert traced() == (b"16 px", True)
    assert traced() == (b"16 px", False)


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: b"", lambda content: content + b"?"])
def test_what_is_damaged_is_traced_again(damage, traced, tmp_path):
    traced()
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_bytes(damage(kept.read_bytes()))
    assert traced() == (b"16 px", True)
    assert traced() == (b"16 px", False)


def test_a_folder_that_cannot_be_written_to_stops_nothing(traced, tmp_path):
    (tmp_path / "cache").write_text("a file")
    assert [traced(), traced()] == [(b"16 px", True)] * 2


def test_without_a_folder_nothing_is_kept(traced, tmp_path, monkeypatch):
    monkeypatch.setenv(traces.FOLDER, "")
    assert [traced(), traced()] == [(b"16 px", True)] * 2
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_in_the_cache_of_the_user(traced, tmp_path, monkeypatch):
    monkeypatch.delenv(traces.FOLDER)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    traced()
    assert len(list((tmp_path / "ssl-pipeline").iterdir())) == 1


def test_the_oldest_make_room(traced, tmp_path, monkeypatch):
    monkeypatch.setattr(traces, "MOST", 2)
    for settings in ("1", "2", "3", "4"):
        traced(settings)
    assert len(list((tmp_path / "cache").iterdir())) == 2
    assert traced("4") == (b"4", False)
