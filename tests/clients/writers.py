"""Threads that have effects through a client as quickly as they can, and keep what they were told of each.

Imported by the tests that end connections under them. Invariant: each effect has a token of its own, tried once.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from tests.clients.proxy import HOST
from wal_runner.core.lost_reply import connection_unusable, lost_reply


if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.clients.case import Case

WORKERS: Final = 4
PATIENCE_S: Final = 30.0


@dataclass
class Tally:
    """What the writers were told, token by token."""

    done: set[str] = field(default_factory=set)
    failed: dict[str, BaseException] = field(default_factory=dict)
    in_doubt: dict[str, BaseException] = field(default_factory=dict)
    tries: Iterator[int] = field(default_factory=itertools.count)


class Writers:
    """Threads that have effects as quickly as they can, each on a connection of its own, renewed when it must be."""

    def __init__(self, case: Case, port: int) -> None:
        self.tally = Tally()
        self._case, self._port = case, port
        self._stopped = threading.Event()
        self._progress = threading.Condition()
        self._threads = [threading.Thread(target=self._write, daemon=True) for _ in range(WORKERS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def wait_for_effects(self, count: int) -> None:
        """Return when *count* more effects were reported as done."""
        with self._progress:
            wanted = len(self.tally.done) + count
            assert self._progress.wait_for(lambda: len(self.tally.done) >= wanted, PATIENCE_S), "the writers are stuck"

    def _write(self) -> None:
        connection = self._connected()
        while not self._stopped.is_set():
            token = f"effect{next(self.tally.tries)}"
            try:
                self._case.act(connection, token)
            except Exception as error:  # noqa: BLE001 - whatever the client raises is what is looked at
                (self.tally.in_doubt if lost_reply(error) else self.tally.failed)[token] = error
                if connection_unusable(error):
                    self._close(connection)
                    connection = self._connected()
            else:
                with self._progress:
                    self.tally.done.add(token)
                    self._progress.notify_all()
        self._close(connection)

    def _connected(self) -> Any:
        while not self._stopped.is_set():
            try:
                return self._case.connect(HOST, self._port)
            except Exception:  # noqa: BLE001 - the server is down
                self._stopped.wait(0.02)
        return None

    def _close(self, connection: Any) -> None:
        with contextlib.suppress(Exception):
            self._case.close(connection)
