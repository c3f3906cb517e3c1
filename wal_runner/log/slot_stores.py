"""What stands in for the mapped memory of the slots: writes, where a store could fail, and refusals.

Imported by `wal_runner.log.scratch`. Invariant: nothing is written by a descriptor that the program closed.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Final

from wal_runner.errors import DiskFull, LogClosed, LogForked


if TYPE_CHECKING:
    from wal_runner.log.files import HeldFile

_WORD: Final = struct.Struct("<Q")


class Forked:
    """What a forked child finds in place of its parent's slots."""

    def __setitem__(self, place: object, value: object) -> None:
        raise LogForked("This item was started by the parent process. Leave the child with os._exit(), or exec.")

    def __getitem__(self, place: object) -> int:
        raise LogForked("This item was started by the parent process. Leave the child with os._exit(), or exec.")


class Closed:
    """What stands in place of the slots once their session has ended."""

    def __setitem__(self, place: object, value: object) -> None:
        raise LogClosed("The Runner was closed while it ran items. Close it when the run has ended.")

    def __getitem__(self, place: object) -> int:
        raise LogClosed("The Runner was closed while it ran items. Close it when the run has ended.")


class Written:
    """What stands in for mapped memory where a store must be a write."""

    def __init__(self, file: HeldFile) -> None:
        self._file = file

    def __setitem__(self, place: slice, payload: bytes) -> None:
        _write(self._file, payload, place.start)


class WrittenWords:
    """As `Written`, by words of eight bytes."""

    def __init__(self, file: HeldFile) -> None:
        self._file = file

    def __setitem__(self, word: int, value: int) -> None:
        _write(self._file, _WORD.pack(value), word * 8)

    def __getitem__(self, word: int) -> int:
        stored = os.pread(self._file.descriptor, _WORD.size, word * 8)
        return int.from_bytes(stored, "little") if len(stored) == _WORD.size else 0


def _write(file: HeldFile, payload: bytes, at: int) -> None:
    file.check()
    try:
        written = os.pwrite(file.descriptor, payload, at)
    except OSError as error:
        raise DiskFull(
            f"A session's slots cannot be written ({error.strerror}). Nothing more was started. Free some space, then "
            "run the same again."
        ) from error
    if written < len(payload):
        raise DiskFull(
            "A session's slots cannot be written whole. Nothing more was started. Free some space, then run the same "
            "again."
        )
