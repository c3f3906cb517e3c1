"""Fixtures of the runner tests: a log that is verified when the test has ended, and a server."""

from pathlib import Path

import pytest

from tests.runner.line_server import LineServer
from wal_runner import Runner, failpoints
from wal_runner.recovery.verifying import verify


@pytest.fixture
def path(tmp_path):
    """Yield the path of a log; if the test made one, it is sound in the end."""
    folder = tmp_path / "batch.wal"
    yield folder
    failpoints.disarm()
    if Path(folder).exists():
        assert [] == list(verify(folder))


@pytest.fixture
def runner(path):
    """Yield a Runner on a new log."""
    with Runner(path) as opened:
        yield opened


@pytest.fixture
def server():
    """Yield a `LineServer` that runs."""
    with LineServer() as started:
        yield started
