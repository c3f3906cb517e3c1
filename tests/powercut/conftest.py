"""What the tests of the power-cut harness share: a machine that can watch system calls."""

import pytest

from tools.harness import interposer


@pytest.fixture(scope="session")
def watched_environment():
    """Give the environment of a process that is watched; skip where there can be none."""
    try:
        return interposer.environment()
    except interposer.Unavailable as error:
        pytest.skip(str(error))
