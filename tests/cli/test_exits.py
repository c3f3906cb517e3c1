"""Exit codes: each error has its number, and the numbers stay."""

import click
import pytest

from wal_runner import errors
from wal_runner.cli.exits import Exit, exit_of
from wal_runner.errors import Interrupted, WalRunnerError
from wal_runner.runner import report


def all_errors(root=WalRunnerError):
    """Give every error class of the package."""
    return {root}.union(*(all_errors(kind) for kind in root.__subclasses__()))


def test_codes_are_the_documented_ones():
    """Scripts test these numbers; none is ever changed."""
    assert {
        "DONE": 0,
        "ERROR": 1,
        "USAGE": 2,
        "SOME_FAILED": 3,
        "SOME_IN_DOUBT": 4,
        "ELSEWHERE": 5,
        "ENDED_EARLY": 6,
        "NO_LOG": 10,
        "BUSY": 11,
        "CORRUPT": 12,
        "INTERRUPTED": 130,
    } == {code.name: code.value for code in Exit}
    assert all(code.meaning for code in Exit)


def test_report_uses_the_same_numbers():
    """The library cannot import the command line, so its numbers are compared."""
    assert (
        report.EXIT_DONE,
        report.EXIT_SOME_FAILED,
        report.EXIT_SOME_IN_DOUBT,
        report.EXIT_ELSEWHERE,
        report.EXIT_ENDED_EARLY,
    ) == (Exit.DONE, Exit.SOME_FAILED, Exit.SOME_IN_DOUBT, Exit.ELSEWHERE, Exit.ENDED_EARLY)


@pytest.mark.parametrize("kind", sorted(all_errors(), key=lambda kind: kind.__name__))
def test_every_error_has_its_code(kind):
    """What says that there is no log, that it is busy, or that it is damaged has a code of its own; the rest is 1."""
    special = {
        errors.LogMissing: Exit.NO_LOG,
        errors.NotALog: Exit.NO_LOG,
        errors.LogBusy: Exit.BUSY,
        errors.OlderVersionRunning: Exit.BUSY,
        errors.LogCorrupt: Exit.CORRUPT,
        errors.LogLost: Exit.CORRUPT,
        errors.LogWentBack: Exit.CORRUPT,
        errors.LogTooNew: Exit.CORRUPT,
    }

    assert special.get(kind, Exit.ERROR) == exit_of(kind("why"))


def test_usage_and_interruption_have_their_codes():
    """A usage error is 2, and whatever was interrupted is 130."""
    assert Exit.USAGE == exit_of(click.BadParameter("why"))
    assert Exit.INTERRUPTED == exit_of(KeyboardInterrupt())
    assert Exit.INTERRUPTED == exit_of(Interrupted("why", report=None))
