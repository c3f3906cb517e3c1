"""What runner tests share: a log that is verified when the test has ended."""

from pathlib import Path

import pytest

from wal_runner import Runner, failpoints
from wal_runner.recovery.verifying import verify


@pytest.fixture
def path(tmp_path):
    """Give the path of a log; if the test made one, it is sound in the end."""
    folder = tmp_path / "batch.wal"
    yield folder
    failpoints.disarm()
    if Path(folder).exists():
        assert [] == list(verify(folder))


@pytest.fixture
def runner(path):
    """Give a Runner on a new log."""
    with Runner(path) as opened:
        yield opened
