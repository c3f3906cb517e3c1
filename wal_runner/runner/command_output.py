"""What becomes of a command's output: kept up to a limit, passed on, its last words remembered.

Imported by the command's effect. Invariant: a pipe is always read, even when nothing more of it
is kept, so that a command never waits for us with its effect half done.
"""

from __future__ import annotations

import codecs
import os
import selectors
import threading
import time
from typing import TYPE_CHECKING, Final, Protocol


if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO, TextIO

READ_BYTES: Final = 64 * 1024

# Lines are passed on whole, so that commands that run at once do not mix within a line.
PASSED_LINE_BYTES_MAX: Final = 64 * 1024

_passing = threading.Lock()


class Sink(Protocol):
    """Something that is given what a pipe brings."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""


class Capture:
    """Keep the first *bytes_max* bytes, and count the rest."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._kept = bytearray()
        self._dropped = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        room = self._bytes_max - len(self._kept)
        self._kept += data[:room]
        self._dropped += max(0, len(data) - room)

    def text(self) -> str | None:
        """Return what was kept, without its last line end; None if there was nothing."""
        if not self._dropped:
            text = self._kept.decode("utf-8", "replace")
            return text.removesuffix("\n").removesuffix("\r") if text else None
        # An incremental decoder leaves out a character that the limit cut in two.
        text = codecs.getincrementaldecoder("utf-8")("replace").decode(self._kept)
        return f"{text}\n[walrun: output over {self._bytes_max:,} bytes; {self._dropped:,} more were dropped]"


class Tail:
    """Keep the last *bytes_max* bytes."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._kept = b""
        self._cut = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        kept = self._kept + data
        self._cut = self._cut or len(kept) > self._bytes_max
        self._kept = kept[-self._bytes_max :]

    def text(self) -> str:
        """Return what was kept, marked where the beginning is missing."""
        text = self._kept.decode("utf-8", "replace").strip()
        return f"...{text}" if self._cut else text


class Passage:
    """Pass whole lines on to one of our own streams."""

    def __init__(self, stream_now: Callable[[], TextIO | None]) -> None:
        # Asked for at each write: a progress bar puts its own stream in place of sys.stderr.
        self._stream_now = stream_now
        self._line = b""

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        lines, newline, self._line = (self._line + data).rpartition(b"\n")
        if len(self._line) > PASSED_LINE_BYTES_MAX:
            lines, newline, self._line = lines + newline + self._line, b"\n", b""
        if newline:
            self._write(lines + newline)

    def finish(self) -> None:
        """Pass on a last line that has no end."""
        if self._line:
            self.feed(b"\n")

    def _write(self, lines: bytes) -> None:
        stream = self._stream_now()
        if stream is None:
            return
        encoding = getattr(stream, "encoding", None) or "utf-8"
        text = lines.decode("utf-8", "replace").encode(encoding, "backslashreplace").decode(encoding)
        with _passing:
            try:
                stream.write(text)
                stream.flush()
            except (OSError, ValueError):
                # Our reader is gone (`walrun run 2>&1 | head`). That is no fault of the command,
                # and its outcome must still be known.
                return


class Pipes:
    """Read several pipes at once, each into its sinks."""

    def __init__(self) -> None:
        self._selector = selectors.PollSelector()  # takes no descriptor of its own
        self._files: dict[int, IO[bytes]] = {}

    def add(self, file: IO[bytes], *sinks: Sink) -> None:
        """Read *file* from now on, and close it at its end."""
        self._selector.register(file.fileno(), selectors.EVENT_READ, sinks)
        self._files[file.fileno()] = file

    @property
    def open(self) -> bool:
        """Whether anyone can still write to one of the pipes."""
        return bool(self._files)

    def wait(self, timeout_s: float) -> None:
        """Read what there is, waiting at most *timeout_s* for some of it to come."""
        if not self._files:
            time.sleep(max(0.0, timeout_s))
            return
        for key, _ in self._selector.select(max(0.0, timeout_s)):
            data = os.read(key.fd, READ_BYTES)
            if not data:
                self._selector.unregister(key.fd)
                self._files.pop(key.fd).close()
            for sink in key.data:
                sink.feed(data)

    def close(self) -> None:
        """Stop reading. Whoever still writes is told so by the operating system."""
        self._selector.close()
        for file in self._files.values():
            file.close()
        self._files.clear()
