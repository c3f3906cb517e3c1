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

CANNOT_RUN: Final = 2
"""What a tool exits with that looked at nothing, for want of a compiler or by what it was asked: no 0, and no 1."""

INTERRUPTED: Final = 128 + signal.SIGINT


def positive(text: str) -> int:
    """Read a number of things, one or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than one")
    return number


def not_negative(text: str) -> int:
    """Read a number of things, none or more."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is less than none")
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


def existing_folder(text: str) -> str:
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
    """Leave signals to the process that was asked: it ends its workers, and with each what that has begun."""
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def end_worker(pid: int) -> None:
    """Kill the worker *pid*, which is still to be waited for, and whatever it has begun."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        os.kill(pid, signal.SIGKILL)  # it had not come so far as to lead a group


def _end(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)
