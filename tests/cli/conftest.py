"""Logs for the tests of the command line, made once and copied."""

import pytest

from tests.cli.terminal import crash
from tests.support.logs import copy_log
from wal_runner.recovery.verifying import verify


@pytest.fixture(scope="session")
def crashed_template(tmp_path_factory):
    """Make a log whose session died and was not recorded yet; see CRASHING_PROGRAM."""
    log = tmp_path_factory.mktemp("template") / "emails.wal"
    crash(log)
    return log


@pytest.fixture
def crashed(crashed_template, tmp_path):
    """Give a copy of that log. It is verified at the end: whatever a command did, the log is sound."""
    log = tmp_path / "emails.wal"
    copy_log(crashed_template, log)
    yield log
    assert [] == list(verify(log))


@pytest.fixture
def damageable(crashed_template, tmp_path):
    """Give a copy of that log that a test may damage."""
    log = tmp_path / "emails.wal"
    copy_log(crashed_template, log)
    return log
