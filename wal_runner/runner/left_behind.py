"""What goes on after a run has cancelled its fns: coroutines that do not end, and work that they left in threads.

Imported by the drivers and by the run. Invariant: when a run has returned or raised, what still runs of it is named.

A cancelled ``await asyncio.to_thread(...)`` ends at once, while its thread goes on. asyncio keeps no public
record of that, so it is read from what the interpreter shows: the callbacks that tie the awaited future to the
work, and the contexts that threads run in, which carry the attempt.
"""

from __future__ import annotations

import asyncio
import sys
from concurrent import futures
from contextlib import contextmanager, suppress
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final, Protocol

from wal_runner.errors import listed
from wal_runner.runner.attempt import current


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wal_runner.runner.attempt import Attempt
    from wal_runner.runner.report import RunReport

TIES: Final = {"_chain_future.<locals>._call_check_cancel", "shield.<locals>._outer_done_callback"}
"""Callbacks of asyncio on a future that is awaited, whose closure holds the work that the future stands for."""


ADVICE_FOR_COROUTINES: Final = "Let fn end when it is cancelled, or raise cancel_wait."
ADVICE_FOR_THREADS: Final = (
    "An exception reaches a thread only when its call into C or the system returns: give what fn waits for a timeout."
)


class Work(Protocol):
    """What says whether it has ended: a future of a thread, a process or a coroutine."""

    def done(self) -> bool:
        """Return whether it has ended."""


class Remainder:
    """The attempts that were cancelled, and what may go on of them."""

    def __init__(self) -> None:
        self._attempts: dict[int, Attempt] = {}
        self._works: list[tuple[Attempt, Work]] = []

    def add(self, attempt: Attempt) -> None:
        """Note an attempt that somebody else cancelled, as `asyncio.run` does with every task at its end.

        Only work that runs in the attempt's context is found then: not that of a bare `loop.run_in_executor`.
        """
        self._attempts[attempt.start_seq] = attempt

    def watch(self, attempt: Attempt, task: asyncio.Task[Any]) -> None:
        """Note what *task* awaits for *attempt*. Call this before it is cancelled: the ties are gone afterwards."""
        self.add(attempt)
        # What is read here is private to asyncio: it may look different in another version, or in another loop.
        with suppress(Exception):
            self._works += [(attempt, work) for work in _awaited_by(task)]

    def running(self) -> list[Attempt]:
        """Return the cancelled attempts whose threads, processes or tasks still run."""
        found = {attempt.start_seq: attempt for attempt, work in self._works if not work.done()}
        if self._attempts:
            with suppress(Exception):
                for context in (*_contexts_of_threads(), *_contexts_of_tasks()):
                    attempt = context.get(current)
                    # By identity: another log has the same numbers.
                    if attempt is not None and self._attempts.get(attempt.start_seq) is attempt:
                        found[attempt.start_seq] = attempt
        return list(found.values())


@contextmanager
def naming_left_behind(report: RunReport) -> Iterator[None]:
    """Name on each exception that leaves the block what the run left behind."""
    try:
        yield
    except BaseException as error:
        name_left_behind(error, report)
        raise


def name_left_behind(error: BaseException, report: RunReport) -> None:
    """Set ``error.left_behind`` and add a note to *error* if the run left something behind."""
    if not report.left_behind:
        return
    with suppress(Exception):  # the exception may be the user's, and allow no attributes
        error.left_behind = list(report.left_behind)  # type: ignore[attr-defined]
        error.add_note(sentence(report.left_behind, in_threads=report.left_in_threads))


def sentence(left_behind: Iterable[str], *, in_threads: bool) -> str:
    """Return what to say about items that were left behind, on worker threads or in coroutines."""
    names = [repr(item_id[:80]) for item_id in left_behind]
    return (
        f"Still running, although the run has ended: {listed(names)}. What they do is not recorded by this run: they "
        f"are in doubt. {ADVICE_FOR_THREADS if in_threads else ADVICE_FOR_COROUTINES}"
    )


# --- What a task awaits -------------------------------------------------------------------------


def _awaited_by(task: asyncio.Task[Any]) -> Iterator[Work]:
    waiting: list[Any] = [task]
    seen: set[int] = set()
    while waiting:
        future = waiting.pop()
        if future is None or id(future) in seen:
            continue
        seen.add(id(future))
        if isinstance(future, asyncio.Task):
            waiting.append(getattr(future, "_fut_waiter", None))
            continue
        waiting.extend(getattr(future, "_children", ()))  # those of gather()
        for work in _tied_to(future):
            yield work
            if isinstance(work, asyncio.Future):
                waiting.append(work)


def _tied_to(future: Any) -> Iterator[Any]:  # noqa: ANN401 - a future of any loop
    for callback, _context in getattr(future, "_callbacks", None) or ():
        if getattr(callback, "__qualname__", "") not in TIES:
            continue
        for cell in callback.__closure__ or ():
            if isinstance(cell.cell_contents, (futures.Future, asyncio.Future)):
                yield cell.cell_contents


# --- What runs in an attempt's context ------------------------------------------------------------


def _contexts_of_threads() -> Iterator[Context]:
    for innermost in sys._current_frames().values():  # noqa: SLF001 - there is no other way to see other threads
        frame = innermost
        while frame is not None:
            if frame.f_locals is not frame.f_globals:
                for value in list(frame.f_locals.values()):
                    # A thread of a pool holds the work itself, which holds `context.run`.
                    for held in (value, getattr(value, "fn", None) if type(value).__name__ == "_WorkItem" else None):
                        yield from _contexts_in(held)
            frame = frame.f_back  # type: ignore[assignment]


def _contexts_in(value: object) -> Iterator[Context]:
    if type(value) is Context:
        yield value
    elif type(value).__name__ in {"partial", "builtin_function_or_method"}:
        bound = getattr(getattr(value, "func", value), "__self__", None)
        if type(bound) is Context:
            yield bound


def _contexts_of_tasks() -> Iterator[Context]:
    for task in asyncio.all_tasks():
        get_context = getattr(task, "get_context", None)  # from Python 3.12 on
        if get_context is not None and not task.done():
            yield get_context()
