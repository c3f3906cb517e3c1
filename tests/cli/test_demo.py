"""``walrun demo``: what it claims is true, and it would say so if it were not."""

import json

import pytest
from click.testing import CliRunner

from tests.cli.terminal import walrun
from wal_runner.cli import demo
from wal_runner.cli.demo_sender import WORKERS


# A user waits for so long, on two cores that others use too.
SECONDS_MAX = 20


@pytest.mark.slow
def test_demo_tells_the_whole_story_in_time(tmp_path):
    """10,000 items, a real kill -9 at about 8,000, and each item once in the server's own ledger."""
    ended = walrun("demo", "--json", env={"TMPDIR": str(tmp_path)})
    numbers = ended.json

    assert 0 == ended.code, ended.err
    assert {"lines": 10_000, "items": 10_000, "more_than_once": 0} == numbers["ledger"]
    assert numbers["exactly_once"]
    assert 8_000 <= numbers["killed_at"] <= numbers["repeated_without_log"] < 9_000
    assert 0 < numbers["in_doubt"] <= WORKERS
    assert numbers["in_doubt_happened"] == numbers["repeated_with_done_list"]
    assert numbers["repeated_without_log"] == numbers["done_in_log"] + numbers["in_doubt_happened"]
    assert 10_000 == numbers["repeated_without_log"] + numbers["executed_by_rerun"]
    assert numbers["seconds"] < SECONDS_MAX
    assert [] == list(tmp_path.iterdir())


@pytest.mark.slow
def test_demo_is_told_as_text(tmp_path):
    """Five chapters, with what `walrun inspect` really prints; --keep leaves the log to look at."""
    ended = walrun("demo", "--items", "1000", "--keep", env={"TMPDIR": str(tmp_path)})
    [folder] = tmp_path.iterdir()
    status = walrun("status", "--json", folder / "demo.wal")

    assert (0, "") == (ended.code, ended.err)
    for words in ("1. The outside world", "kill -9", "| In doubt:", "reconciler", "Each item happened exactly once."):
        assert words in ended.out
    assert str(folder / "demo.wal") in ended.out.splitlines()[-1]
    assert 1000 == status.json["counts"]["succeeded"]


@pytest.mark.slow
def test_demo_sees_an_effect_that_happened_twice(monkeypatch):
    """Positive control: let the second run start from nothing, and the ledger gives it away."""
    start = demo._sender

    def on_another_log(folder, log, port, count):
        return start(folder, log if not log.exists() else folder / "other.wal", port, count)

    monkeypatch.setattr(demo, "_sender", on_another_log)
    told = CliRunner().invoke(demo.command, ["--items", "1000"], standalone_mode=False)
    counted = CliRunner().invoke(demo.command, ["--items", "1000", "--json"], standalone_mode=False)

    assert (1, 1) == (told.return_value, counted.return_value)
    assert "THAT IS WRONG" in told.output
    assert json.loads(counted.output)["ledger"]["more_than_once"] >= 800


def test_program_that_does_not_start_is_an_error(monkeypatch, tmp_path):
    """The demo ends, with what the program said last, instead of waiting for ever."""
    monkeypatch.setattr(demo.demo_sender, "__name__", "wal_runner.no_such_module")
    monkeypatch.setattr(demo.tempfile, "tempdir", str(tmp_path))
    ended = CliRunner().invoke(demo.command, ["--items", "1000"])

    assert isinstance(ended.exception, demo.DemoFailed)
    assert "no_such_module" in str(ended.exception)
    assert [] == list(tmp_path.iterdir())
