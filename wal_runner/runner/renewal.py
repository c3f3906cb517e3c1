"""Renewed connections: when a worker's ``per_worker`` context is replaced, and how long that may take.

Imported by the run and its drivers; the contexts themselves are in `connection` and `connection_async`. Invariant: a
worker that reconnects has no item in hand. Items that were started ahead stay started, not begun, and are released if
the run ends first.
"""

from __future__ import annotations

import inspect
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from wal_runner.core.lost_reply import connection_unusable, is_connection_error
from wal_runner.log.results import class_name, printable
from wal_runner.shielded_logger import ShieldedLogger


# A function that makes a context manager, synchronous or asynchronous.
PerWorker: TypeAlias = Callable[[], Any]

# What `renew=` takes.
Renew: TypeAlias = Callable[[BaseException], bool] | bool | None

logger = ShieldedLogger("wal_runner.runner.renewal")

CONNECT_TIMEOUT_S: Final = 60.0
"""How long a run goes on without any connection, by default."""

LEAVE_S: Final = 5.0
"""Maximum time to wait until a dead connection's context is left: its exit may wait for a server that is gone."""

BACKOFF_FIRST_S: Final = 0.1
BACKOFF_MAX_S: Final = 2.0
"""Pause between two attempts to connect, before jitter: the first one, then doubled, at most the second one."""

POLL_S: Final = 0.05
"""Maximum time to notice on the caller's own thread that the run ends: a signal handler cannot set an event safely."""

WARN_AGAIN_S: Final = 60.0
"""A connection that is lost again within this time after a warning is logged for debugging only: it may flap."""

ERROR_CHARS_MAX: Final = 500
CHAIN_LINKS_MAX: Final = 1000

ADVICE: Final = (
    "Give a plain function from an exception to True or False, True (after every exception of fn), False (never), or "
    "None (if the connection cannot be used any more)."
)


class ConnectionLost(Exception):
    """Raised from an attempt to its worker: *error* of fn, which is on record, calls for a new connection."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


class Reconnecting(NamedTuple):
    """How many of the *workers* wait for a connection, and for how long some worker has."""

    waiting: int
    workers: int
    seconds: float


class State(Enum):
    """Whether a worker has a connection."""

    NONE = auto()
    """It has not connected yet, or has ended."""
    USABLE = auto()
    RECONNECTING = auto()


class Hanging(Protocol):
    """A connection whose context may hang when it is left or entered again."""

    def replace_if_hanging(self, now: float, stopped_at: float | None) -> None:
        """Let another thread serve the worker if this one has hung for too long."""


class Connections:
    """The connections of one run: who has one, for how long nobody has, and when to give up.

    *is_ending* returns whether the run starts nothing more; *give_up* ends it, and is told the last error in words.
    """

    def __init__(
        self,
        per_worker: PerWorker | None,
        *,
        workers: int,
        timeout_s: float = CONNECT_TIMEOUT_S,
        is_ending: Callable[[], bool],
        give_up: Callable[[str], None],
    ) -> None:
        self.per_worker = per_worker
        self.retries_first = False
        """Whether even a worker's first attempt to connect is repeated: workers of an earlier round had connections."""
        self._workers = workers
        self._timeout_s = timeout_s
        self._is_ending = is_ending
        self._give_up = give_up
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._counts: Counter[State] = Counter()
        self._has_connected = False
        self._since: float | None = None
        """Since when some worker has been reconnecting."""
        self._without_since: float | None = None
        """Since when no worker has had a usable connection."""
        self._last_error = ""
        self._warned_at: float | None = None
        self._has_warned = False
        """Whether a warning says that a connection was lost, and none says yet that it is back."""
        self._stopped_at = 0.0
        self._busy: set[Hanging] = set()
        """Connections whose context is being left, or entered again, by code of the user's that may hang."""

    # --- The driver's side ------------------------------------------------------------------

    def begin_round(self) -> None:
        """Prepare for the workers of a round."""
        self.retries_first = self._has_connected
        self._stopped.clear()
        with self._lock:
            self._busy.clear()
            self._counts.clear()
            self._since = self._without_since = None

    def stop(self) -> None:
        """Let no worker connect again: nothing more is to be run."""
        if not self._stopped.is_set():
            self._stopped_at = time.monotonic()
            self._stopped.set()

    def is_over(self) -> bool:
        """Return whether a new connection is of no use any more."""
        return self._stopped.is_set() or self._is_ending()

    def look(self) -> None:
        """End the run if no worker has had a connection for too long, and replace those that hang.

        Called every 50 ms, by a thread beside the run.
        """
        now = time.monotonic()
        with self._lock:
            busy = list(self._busy)
            is_due = self._without_since is not None and now - self._without_since >= self._timeout_s
        if is_due and not self.is_over():
            self._give_up(self._last_error or "an attempt to connect did not return")
        for connection in busy:
            connection.replace_if_hanging(now, self._stopped_at if self._stopped.is_set() else None)

    def reconnecting(self) -> Reconnecting | None:
        """Return how many workers reconnect; None if none does."""
        with self._lock:
            if self._since is None:
                return None
            return Reconnecting(self._counts[State.RECONNECTING], self._workers, time.monotonic() - self._since)

    # --- A worker's side --------------------------------------------------------------------

    def set_busy(self, connection: Hanging, *, is_busy: bool) -> None:
        """Note that the user's code enters or leaves the context of *connection*, or no longer does."""
        with self._lock:
            (self._busy.add if is_busy else self._busy.discard)(connection)

    def move(self, before: State, after: State) -> None:
        """Count that a worker's connection is *after* now, and no longer *before*."""
        now = time.monotonic()
        with self._lock:
            self._counts[before] -= 1
            self._counts[after] += 1
            self._has_connected = self._has_connected or after is State.USABLE
            reconnecting = self._counts[State.RECONNECTING]
            seconds = 0.0 if self._since is None else now - self._since
            if not reconnecting:
                self._since = None
            elif self._since is None:
                self._since = now
            is_back = self._has_warned and before is State.RECONNECTING and after is State.USABLE
            self._has_warned = self._has_warned and not is_back
            if not reconnecting or self._counts[State.USABLE] > 0:
                self._without_since = None
            elif self._without_since is None:
                self._without_since = now
        if is_back:
            logger.warning("The connection is back, after %.1f s.", seconds)

    def lost(self, error: BaseException) -> None:
        """Log that a worker starts to reconnect because of *error*: as a warning if it is the first one to do so."""
        text = in_words(error)
        now = time.monotonic()
        with self._lock:
            warns = self._since is None and (self._warned_at is None or now - self._warned_at >= WARN_AGAIN_S)
            if warns:
                self._warned_at, self._has_warned = now, True
        message = "A worker lost its connection, and connects again before its next item. The error of fn: %s"
        (logger.warning if warns else logger.debug)(message, text)

    def failed(self, error: BaseException) -> None:
        """Note that an attempt to connect failed."""
        self._last_error = in_words(error)
        logger.debug("An attempt to connect again failed: %s", self._last_error)

    def pause(self, seconds: float, *, polls: bool) -> None:
        """Wait for *seconds*, or until the run ends; with *polls* look for that every 50 ms."""
        until = time.monotonic() + seconds
        while not self.is_over() and (left := until - time.monotonic()) > 0:
            self._stopped.wait(min(left, POLL_S) if polls else left)
            if polls:
                self.look()  # the thread beside may have ended with an error of the log


class Backoff:
    """The pauses between attempts of one worker to connect."""

    def __init__(self) -> None:
        self._pause_s = 0.0
        self._connected_at: float | None = None

    def connected(self) -> None:
        """Note that an attempt succeeded."""
        self._connected_at = time.monotonic()

    def lost(self) -> None:
        """Begin again without a pause, unless the connection was lost at once: then the pauses go on to grow.

        A proxy that accepts connections for a server that is down would otherwise cost an item every few ms.
        """
        if self._connected_at is not None and time.monotonic() - self._connected_at > BACKOFF_MAX_S:
            self._pause_s = 0.0

    def next(self) -> float:
        """Return how long to wait before the next attempt, with jitter."""
        pause = self._pause_s
        self._pause_s = min(max(pause * 2, BACKOFF_FIRST_S), BACKOFF_MAX_S)
        return pause * random.uniform(0.5, 1.0)  # noqa: S311 - so that workers do not connect all at once


# --- The setting ---------------------------------------------------------------------------


def renew_when(setting: Renew) -> Callable[[BaseException], bool] | None:
    """Turn what the caller gave as ``renew=`` into a question to ask of an error of fn; None if it is never asked.

    A setting of another kind is a TypeError, here and not at the first error.
    """
    if setting is None:
        return connection_unusable
    if isinstance(setting, bool):
        return (lambda _error: True) if setting else None
    if not callable(setting) or isinstance(setting, type) or inspect.iscoroutinefunction(setting):
        raise TypeError(f"renew cannot be {setting!r:.80}. {ADVICE}")
    says = setting

    def is_due(error: BaseException) -> bool:
        answer = says(error)
        # A forgotten return gives None, which would quietly keep every dead connection.
        if not isinstance(answer, bool):
            raise TypeError(f"renew={says!r:.80} answered {answer!r:.80}. {ADVICE}")
        return answer

    return is_due


# --- Errors ---------------------------------------------------------------------------------


def in_words(error: BaseException) -> str:
    """Return *error* as one would look for it."""
    return f"{class_name(error)}: {printable(error, ERROR_CHARS_MAX)}"


def is_retried(error: BaseException) -> bool:
    """Return whether an attempt to connect that ended with *error* is repeated."""
    return issubclass(type(error), Exception) and is_connection_error(error)


def check_left(error: BaseException | None, lost: BaseException) -> None:
    """Raise *error*, which leaving a context raised, unless it is about the connection that was *lost* before."""
    if error is None or error is lost:
        return
    if not issubclass(type(error), Exception) or not _is_about_a_connection(error, lost):
        raise error
    logger.debug("Leaving the context of a lost connection failed, too: %s", in_words(error))


def _is_about_a_connection(error: BaseException, lost: BaseException) -> bool:
    """Return whether *error* by itself is about a connection. Python puts *lost* behind whatever is raised over it."""
    link = _raised_over(error, lost)
    if link is None:
        return is_connection_error(error)
    link.__context__ = None
    try:
        return is_connection_error(error)
    finally:
        link.__context__ = lost


def _raised_over(error: BaseException, lost: BaseException) -> BaseException | None:
    """Return the exception in the chain of *error* whose context is *lost*."""
    link = error
    for _ in range(CHAIN_LINKS_MAX):
        if link.__context__ is None or link.__context__ is lost:
            return None if link.__context__ is None else link
        link = link.__context__
    return None
