"""Standard input as a source of items that come when they come (``tail -f requests | walrun run ...``).

Imported by the reader of items only. Invariant: it can always be asked whether a line is there, so that
items at hand are not held back until the next one comes, in an hour.
"""

from __future__ import annotations

import io
import os
import select
from typing import Final


# Looked through for a line end at each item.
BUFFER_BYTES: Final = 8 * 1024


class PatientInput:
    """The lines of a descriptor, and whether one is there."""

    def __init__(self, descriptor: int) -> None:
        self._raw = _Descriptor(descriptor)
        self._buffered = io.BufferedReader(self._raw, BUFFER_BYTES)
        self.readline = self._buffered.readline

    def would_block(self) -> bool:
        """Say whether there is no line to be had for sure.

        At the end of the input there is none, and where a part of one is at hand the rest is not looked for.
        """
        self._raw.waits = False
        try:
            return b"\n" not in self._buffered.peek(1)
        finally:
            self._raw.waits = True


class _Descriptor(io.RawIOBase):
    """A descriptor that is not waited for unless *waits*; as a non-blocking one, but for us alone.

    O_NONBLOCK itself would be set for everyone who shares the terminal or the pipe with us.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.waits = True

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int | None:  # type: ignore[override]
        """Read what is there; None where there is nothing and we do not wait."""
        if not self.waits and not select.select([self._descriptor], [], [], 0)[0]:
            return None
        return os.readv(self._descriptor, [buffer])
