"""tools/older_version.py notices what an older version would write otherwise."""

import shutil

import pytest

from tools.older_version import ROOT, differences


@pytest.fixture
def older(tmp_path):
    """Copy the package of today as an older tree."""
    shutil.copytree(ROOT / "wal_runner", tmp_path / "older" / "wal_runner")
    return tmp_path / "older"


def test_same_code_writes_the_same_bytes(older, tmp_path):
    """The run is the same each time: clock, names and ids are fixed, and nothing else is in the log."""
    # Each log is made in a folder of its own, whose place it holds.
    assert [] == differences(older, tmp_path, {"place"})


def test_changed_code_is_noticed(older, tmp_path):
    """A tree that leaves out no defaults writes other records, and the tool names what differs."""
    path = older / "wal_runner" / "core" / "arrays.py"
    text = path.read_text()
    planted = text.replace("return (STARTED, item_id)", "return (STARTED, item_id, 1)")
    path.write_text(planted)
    found = differences(older, tmp_path, set())

    assert text != planted
    assert "after crash: log differs" in found
