"""Versions as numbers, and which of them reads which format."""

import pytest

from wal_runner.core.versions import FORMAT_INTRODUCED, parse, reads_format
from wal_runner.log.format import FORMAT_VERSION
from wal_runner.version import __version__


OWN = "9.9.9"

# From the oldest to the newest; those of one line are the same version.
IN_ORDER = [
    ["0", "0+local"],
    ["0.1", "0.1.0", "v0.1.0"],
    ["0.2.0a1", "0.2.0.dev3", "0.2.0rc1", "0.2.0-beta.2", "0.2.0rc1.dev2"],
    ["0.2.0", "0.2", "0.2.0.post1", "0.2.0+deb12"],
    ["0.9.9"],
    ["0.10.0rc2"],
    ["0.10.0"],
    ["1.0"],
    ["2026.11"],
]

UNREADABLE = [
    "",
    "unknown",
    "0.2.x",
    "1..2",
    "0.2.0 final",
    "-1",
    "0.2.0\n0.3",
    "\u0663.1",
    "0+unknown",
    "9" * 1_000_000,
    "1." * 50 + "1",
]


def test_versions_compare_as_numbers():
    """Ten is more than nine, and a pre-release is older than its release."""
    numbers = [[parse(version) for version in same] for same in IN_ORDER]

    assert all(None not in same and 1 == len(set(same)) for same in numbers)
    assert sorted(same[0] for same in numbers) == [same[0] for same in numbers]
    assert len(numbers) == len({same[0] for same in numbers})


@pytest.mark.parametrize("version", UNREADABLE, ids=lambda version: f"{version:.12}")
def test_unreadable_version_counts_as_older(version):
    """Nothing is written that a process of an unknown version might not be able to read."""
    assert None is parse(version)
    assert not reads_format(version, 1, own=OWN)


@pytest.mark.parametrize("version", ["", "0+unknown", "0.2.0.dev1", "a fork"])
def test_own_version_text_is_never_older(version):
    """Two processes of one source tree run the same code, whatever it calls itself."""
    assert reads_format(version, 2, own=version)
    assert not reads_format(version, 2, own=OWN)


def test_own_version_text_of_an_older_release_is_older():
    """What an installation that was not renewed says of itself proves nothing about another process."""
    assert not reads_format("0.1.0", 2, own="0.1.0")


@pytest.mark.parametrize(
    ("version", "reads_it"),
    [("0.1.0", False), ("0.1.99", False), ("0.2.0rc1", False), ("0.2.0", True), ("0.10", True), ("0.3.0a1", True)],
)
def test_version_0_2_0_introduced_format_2(version, reads_it):
    """Every version from 0.2.0 on reads it, and no earlier one."""
    assert reads_it is reads_format(version, 2, own=OWN)
    assert reads_format(version, 1, own=OWN)


def test_every_format_has_the_version_that_introduced_it():
    """What this version reads was introduced by it or by an earlier one."""
    assert list(range(1, FORMAT_VERSION + 1)) == sorted(FORMAT_INTRODUCED)
    assert all(reads_format(__version__, wanted, own=__version__) for wanted in FORMAT_INTRODUCED)
