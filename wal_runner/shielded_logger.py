"""Log calls of the library: a handler, a filter or a formatter that raises never changes the outcome of a run.

Everything may import this module; it imports the standard library only. Invariant: no call of a logger raises an
Exception. `logging` itself catches what a formatter raises, and nothing else: an `emit` of the program's own, or a
filter, raises into the line that logs, which may be the one that ends a run.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Final


# The frames between the line that logs and the logger: a record names the former.
STACK_LEVEL: Final = 3


class ShieldedLogger:
    """A logger of the standard library, whose calls do not raise."""

    def __init__(self, name: str) -> None:
        self.logger = logging.getLogger(name)

    def debug(self, message: str, *arguments: object, exc_info: bool = False) -> None:
        """Log *message* for someone who looks for a fault."""
        self._log(logging.DEBUG, message, arguments, exc_info=exc_info)

    def warning(self, message: str, *arguments: object) -> None:
        """Log *message* for someone who runs the program."""
        self._log(logging.WARNING, message, arguments)

    def _log(self, level: int, message: str, arguments: tuple[object, ...], *, exc_info: bool = False) -> None:
        with suppress(Exception):
            self.logger.log(level, message, *arguments, exc_info=exc_info, stacklevel=STACK_LEVEL)
