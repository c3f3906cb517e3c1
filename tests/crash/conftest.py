"""What the crash tests share: a plan over a log and a ledger of their own."""

import functools
import os

import pytest

from tests.crash.child import Plan


if not hasattr(os, "pidfd_open"):
    collect_ignore_glob = ["test_*.py"]  # the nursery needs Linux


@pytest.fixture
def plan(tmp_path):
    """Give a maker of plans, all over one log and one ledger."""
    return functools.partial(Plan, str(tmp_path / "batch.wal"), str(tmp_path / "ledger"))
