"""Fixtures for tests of single modules of the log."""

import pytest

from tests.unit.log.children import own_namespace


@pytest.fixture(scope="session")
def own_mounts():
    """Give the command that runs another with mounts of its own, which end with it."""
    command = own_namespace("--mount")
    if command is None:
        pytest.skip("mounting takes root or user namespaces")
    return command


@pytest.fixture(scope="session")
def own_pids():
    """Give the command that runs another as pid 1 of its own PID namespace, as a container would."""
    command = own_namespace("--pid", "--fork", "--kill-child", "--mount-proc")
    if command is None:
        pytest.skip("PID namespaces take root or user namespaces")
    return command
