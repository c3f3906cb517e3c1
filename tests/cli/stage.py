"""A stage for commands: they say when they begin, and wait until the test lets them go on.

Everything is pipes and locks: a test that waits on the stage waits for what it waits for, and never sleeps.
"""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from tests.cli.terminal import Ended, environment
from wal_runner import Runner


if TYPE_CHECKING:
    import signal
    from pathlib import Path

# A bound for what should take milliseconds; a test that reaches it fails.
PATIENCE_S = 60


class Stage:
    """The folder in which ``walrun`` runs SCRIPT for each item, and the pipes to its commands."""

    # Says "I began" with its pid, waits for a line, and notes in the ledger that its effect happened.
    SCRIPT = 'echo "$1 $$" > began; read line < "go-$1"; echo "$1" >> ledger'
    # The same, for a command that does not want to end.
    STUBBORN = f"trap '' TERM INT; {SCRIPT}"

    def __init__(self, folder: Path, items: str) -> None:
        self.folder = folder
        self.items = items
        self._stack = ExitStack()
        self._heard = b""
        (folder / "items.txt").write_text("".join(f"{item}\n" for item in items))
        (folder / "ledger").touch()
        self._began = self._pipe("began")
        self._gates = {item: self._pipe(f"go-{item}") for item in items}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Whoever still waits for a line gets the end of the file, and ends.
        self._stack.close()

    @property
    def log(self) -> Path:
        """Give where the log is."""
        return self.folder / "a.wal"

    @property
    def ledger(self) -> list[str]:
        """Give the effects that happened, in order."""
        return (self.folder / "ledger").read_text().split()

    def start(self, *options: str, script: str = SCRIPT) -> Shell:
        """Start ``walrun run`` in a process of its own, as from a shell."""
        words = ["run", "a.wal", "--items", "items.txt", *options, "--", "sh", "-c", script, "sh", "{}"]
        return self.walrun(*words)

    def walrun(self, *words: str) -> Shell:
        """Start any ``walrun``."""
        return self._stack.enter_context(Shell(self.folder, words))

    def hear(self, count: int) -> dict[str, int]:
        """Wait until so many commands began; give their items and pids."""
        while self._heard.count(b"\n") < count:
            ready, _, _ = select.select([self._began], [], [], PATIENCE_S)
            assert ready, f"{count} commands should have begun; heard {self._heard!r}"
            self._heard += os.read(self._began, 1000)
        lines = self._heard.split(b"\n")
        self._heard = b"\n".join(lines[count:])
        return {item.decode(): int(pid) for item, pid in (line.split() for line in lines[:count])}

    def let(self, items: str) -> None:
        """Let the commands of *items* go on."""
        for item in items:
            os.write(self._gates[item], b"\n")

    def wait_for_death_of_session(self, number: int) -> None:
        """Wait until neither the owner of the session nor a command of it holds one of its locks."""
        sessions = self.log / "sessions"
        for held in (sessions / str(number), *sessions.glob(f"{number}.*")):
            with held.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH)

    def statuses(self) -> dict[str, str]:
        """Give what the log says of each item."""
        with Runner.open_read(self.log) as view:
            return {item.item_id: item.status.word for item in view.items()}

    def _pipe(self, name: str) -> int:
        os.mkfifo(self.folder / name)
        # Both ends in one: neither side ever waits for the other to come.
        descriptor = os.open(self.folder / name, os.O_RDWR)
        self._stack.callback(os.close, descriptor)
        return descriptor


class Shell:
    """A ``walrun`` that runs, and what it has said so far."""

    def __init__(self, folder: Path, words: tuple[str, ...] | list[str]) -> None:
        self.said = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "wal_runner", *words],
            cwd=folder,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        self.process.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.__exit__(None, None, None)

    def wait_to_say(self, words: str) -> None:
        """Wait until it has said *words* on stderr."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said += line
            if words in line:
                return
        raise AssertionError(f"it never said {words!r}, but: {self.said}")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self) -> Ended:
        """Wait until it has ended."""
        out, err = self.process.communicate(timeout=PATIENCE_S)
        self.said += err
        return Ended(self.process.returncode, out, self.said)
