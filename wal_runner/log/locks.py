"""Locks that an exception left behind, released by the thread that holds them.

Imported by the log and the rooms above it. Invariant: only the calling thread's own holds are released. Between two
lines of a release an exception can strike (Ctrl-C, an alarm's handler), and other threads and processes would wait for
the lock without end.
Every lock of the package that is held during a run is an RLock, which knows its thread from the moment of the acquire.
"""

from __future__ import annotations

from typing import TYPE_CHECKING


if TYPE_CHECKING:
    import threading


def let_go(lock: threading.RLock) -> None:
    """Release *lock* as often as this thread holds it. Call it where nothing of this thread is inside the lock."""
    while lock._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001 - as threading.Condition does
        lock.release()


def is_held_here(lock: threading.RLock) -> bool:
    """Return whether this thread holds *lock*."""
    return bool(lock._is_owned())  # type: ignore[attr-defined]  # noqa: SLF001 - as threading.Condition does
