"""Where this process runs: what the system does not tell is said to be unknown, and equals nothing."""

import getpass
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wal_runner.log import host


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc to ask")


@pytest.fixture(autouse=True)
def _no_memory():
    """Ask the system anew in each test, and after it."""
    host.boot_id.cache_clear()
    yield
    host.boot_id.cache_clear()


def test_boot_has_one_name_in_all_processes():
    """A mark that two processes left can be compared."""
    program = "from wal_runner.log.host import boot_id; print(boot_id())"
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)

    assert host.boot_id() == said.stdout.strip() != ""


def test_boot_without_a_name_is_none(monkeypatch, tmp_path):
    """As in a container that hides /proc."""
    monkeypatch.setattr(host, "_BOOT_ID", tmp_path / "hidden")

    assert "" == host.boot_id()


@pytest.mark.parametrize("error", [KeyError, OSError])
def test_user_without_a_name_is_a_number(monkeypatch, error):
    """As in a container whose user nobody named: Python raised KeyError there, and OSError since 3.13."""

    def fail():
        raise error

    monkeypatch.setattr(getpass, "getuser", fail)

    assert str(os.getuid()) == host.user_name()


def test_process_that_is_not_there_has_no_beginning():
    """Nor one that was reaped: its pid may be another's tomorrow."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()

    assert "" == host.process_started(ended.pid)


@needs_proc
def test_pid_is_told_from_its_reuse():
    """The same process began at the same moment whoever asks, and one that begins later began later."""
    program = "import sys; from wal_runner.log.host import process_started; print(process_started(int(sys.argv[1])))"
    said = subprocess.run([sys.executable, "-c", program, str(os.getpid())], check=True, capture_output=True, text=True)
    with subprocess.Popen(["sleep", "60"]) as later:
        began = host.process_started(later.pid)
        later.kill()

    assert int(host.process_started(os.getpid())) == int(said.stdout)
    assert int(said.stdout) < int(began)
