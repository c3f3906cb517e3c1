"""What every test shares: the hypothesis profiles, a log that is verified, and logs in each engine.

`ci` is used where the environment says CI, and finds the same examples on each run; `dev` looks
for new ones. ``--hypothesis-profile`` on the command line wins over both.
"""

import os

import pytest
from hypothesis import settings

from tests.support import engines
from wal_runner import failpoints
from wal_runner.recovery.verifying import verify


# No deadline: a commit waits for the disk, and the disk for the neighbours.
settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile("ci", max_examples=200, deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture
def log(tmp_path):
    """Give the path of a log that a test may create. Whatever the test did, the log is sound at its end."""
    path = tmp_path / "emails.wal"
    yield path
    if path.exists():
        assert [] == list(verify(path))


@pytest.fixture(params=engines.NAMES)
def bench(request, tmp_path):
    """Give a new, empty log in each engine, to be opened by ``bench.open()``."""
    made = engines.make_bench(request.param, tmp_path)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _no_failpoint_stays_armed():
    """Keep a crash point that one test armed from another test."""
    yield
    failpoints.disarm()
