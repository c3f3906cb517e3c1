"""What the command lines of the harnesses share: arguments that make sense, and an end in good order.

Imported by the tools. Invariant: what cannot be meant is refused before anything is done, with the code of a wrong
usage; and whoever ends a tool, by Ctrl-C or SIGTERM, leaves neither its processes nor its folders.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn


if TYPE_CHECKING:
    from collections.abc import Callable

NOTHING_DONE: Final = 2
"""What a tool exits with that looked at nothing: neither 0, all was well, nor 1, something was not."""

INTERRUPTED: Final = 128 + signal.SIGINT


def positive(text: str) -> int:
    """Read a number of things, one or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than one")
    return number


def minutes(text: str) -> float:
    """Read a time."""
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"{text} is no time")
    return number


def output(text: str) -> Path:
    """Read the path of a file that will be written at the end: a run of hours must not find out then that it cannot."""
    path = Path(text)
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text} cannot be written")
    return path


def folder(text: str) -> str:
    """Read the path of a folder that is there."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no folder")
    return text


def in_order(main: Callable[[], int]) -> int:
    """Call *main*; end it by an exception where a signal ends it, so that everything is put away."""
    signal.signal(signal.SIGTERM, _end)
    try:
        return main()
    except KeyboardInterrupt:
        interrupted()
        return INTERRUPTED


def interrupted() -> None:
    """Say so, and let no second Ctrl-C disturb the putting away, which takes no time."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("\nInterrupted.", file=sys.stderr)


def be_a_worker() -> None:
    """Leave signals to the process that was asked: Ctrl-C reaches all of them, and it ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)
