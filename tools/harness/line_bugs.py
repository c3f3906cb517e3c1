"""Bugs for the line sweep: lines of an acquire or a release as a careless change would leave them.

Imported by tools/line_sweep.py and its tests. Invariant: a bug is changed text of one function of the package, with as
many lines as before: the sweep passes the lines of the bug as it passes all others.
"""

from __future__ import annotations

import inspect
import textwrap
from types import CodeType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tools.harness.line_trials import Place, passes_of, places_in, trial
from wal_runner.log.lmdb_log import LmdbLog
from wal_runner.recovery.recover import keep_writer
from wal_runner.recovery.writer import LogWriter
from wal_runner.runner.one_run import OneRun, _Place


if TYPE_CHECKING:
    from collections.abc import Callable

_DRIVER: Final = "serial"


class Bug(NamedTuple):
    """Changed text of a function, and the function whose lines show the bug."""

    function: Callable[..., Any]
    text: str
    changed: str
    shown_by: Callable[..., Any]

    def plant(self) -> None:
        """Change the function in this process."""
        function = inspect.unwrap(self.function)
        source = textwrap.dedent(inspect.getsource(function))
        assert source.count(self.text) == 1, f"{function.__qualname__} was changed: adapt {self.text!r}"
        assert self.text.count("\n") == self.changed.count("\n")
        lines_before = "\n" * (function.__code__.co_firstlineno - 1)
        module = compile(lines_before + source.replace(self.text, self.changed), function.__code__.co_filename, "exec")
        function.__code__ = next(
            part for part in module.co_consts if isinstance(part, CodeType) and part.co_name == function.__name__
        )

    def found_at(self) -> tuple[Place, list[str]] | None:
        """Sweep the lines that show the bug; return the first that does and what is broken, or None."""
        code = inspect.unwrap(self.shown_by).__code__
        lines = {line for _, _, line in code.co_lines()}
        for place in places_in(passes_of(_DRIVER)):
            if code.co_filename.endswith(place.file) and place.line in lines:
                faults = trial(_DRIVER, place, self.plant).faults
                if faults:
                    return place, faults
        return None


BUGS: Final = {
    "an opening is undone after errors, not after a KeyboardInterrupt": Bug(
        keep_writer,
        "except BaseException:",
        "except Exception:",
        shown_by=keep_writer,
    ),
    "closing again does nothing, also if the first time was broken off": Bug(
        LogWriter.close,
        "opening.close(self.log, writer=True)  # an",
        "pass  # an",
        shown_by=LogWriter.close,
    ),
    "a run is over once nothing refers to it, as a traceback may": Bug(
        _Place.is_over.fget,  # type: ignore[attr-defined]
        "holder is None or getgeneratorstate(holder) == GEN_CLOSED",
        "holder is None",
        shown_by=OneRun._holding,  # noqa: SLF001 - what a run is in
    ),
    "a run that an exception ends leaves the log lock to the next run": Bug(
        OneRun._holding,  # noqa: SLF001
        "comes back to the log.\n        self._writer.break_off()",
        "comes back to the log.\n        pass",
        shown_by=LmdbLog.exclusive,
    ),
}
"""By what each does wrong."""
