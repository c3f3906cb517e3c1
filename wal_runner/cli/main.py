"""``walrun``: the commands put together, and what becomes of their errors.

Imported by the console script and ``python -m wal_runner``. Invariant: an error of ours ends in one
line on stderr and the exit code of `wal_runner.cli.exits`; stdout holds data only.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from wal_runner.cli import compact, demo, inspect, replay, resolve, retry, run, status, verify
from wal_runner.cli.exits import Exit, exit_of
from wal_runner.cli.output import guard, say, say_click_error, say_error
from wal_runner.errors import WalRunnerError
from wal_runner.version import __version__


if TYPE_CHECKING:
    from collections.abc import Sequence

# In the order in which they are met on a bad day.
COMMANDS: Final = (run, status, inspect, resolve, retry, replay, verify, compact, demo)


class _Told(click.Group):
    """A group whose help lists the commands in the order in which they were added, each with its whole sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the names in that order; click would sort them."""
        del ctx
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list; click would cut the sentences."""
        del ctx
        sentences = [(name, command.get_short_help_str(SENTENCE_CHARS_MAX)) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl(sentences)


SENTENCE_CHARS_MAX: Final = 500


_EPILOG: Final = "\b\nExit codes:\n" + "\n".join(f"  {code.value:>3}  {code.meaning}" for code in Exit)


@click.group(
    "walrun",
    cls=_Told,
    commands=[module.command for module in COMMANDS],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EPILOG,
)
@click.version_option(__version__, prog_name="walrun")
def walrun() -> None:
    """Run a batch whose effects must survive a crash: nothing twice, nothing lost, doubt shown.

    \b
    Example:
      walrun run emails.wal --items emails.csv --key id -- ./send {id} {address}
    """  # noqa: D301 - click reads the backslash


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run ``walrun`` and end the process with its exit code."""
    sys.exit(_outcome_of(arguments))


def _outcome_of(arguments: Sequence[str] | None) -> int:
    guard()
    try:
        code = _code(walrun.main(arguments, prog_name="walrun", standalone_mode=False))
        sys.stdout.flush()
    except click.ClickException as error:
        say_click_error(error)
        return exit_of(error) if isinstance(error, click.UsageError) else error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        # click turns a KeyboardInterrupt into an Abort; an Interrupted of ours is still its cause.
        say(str(error.__cause__ or error) or "Interrupted.")
        return Exit.INTERRUPTED
    except WalRunnerError as error:
        say_error(str(error))
        return exit_of(error)
    except OSError as error:
        if error.errno != errno.EPIPE:
            say_error(f"{error.filename or 'the system'}: {error.strerror or error}.")
            return Exit.ERROR
        return _hang_up()
    return code


def _code(returned: Any) -> int:  # noqa: ANN401 - whatever a command returned
    return returned if isinstance(returned, int) else Exit.DONE


def _hang_up() -> int:
    """End quietly: whoever read our stdout has had enough (``| head``)."""
    # What is still buffered must not be tried again, and complained about, when Python shuts down.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Exit.ERROR
