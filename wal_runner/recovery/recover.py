"""Opening a log for running: find who died, record what they left, begin a session.

Imported by the runner, the verdicts and compaction. Invariant: what a dead session's scratch slots
prove, its loss, and the new session are one transaction; and only the kernel says who is dead.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from wal_runner.core.events import SessionLost, SessionOpened
from wal_runner.errors import Compacted, LogAlreadyOpen
from wal_runner.failpoints import failpoint
from wal_runner.log import host, opening
from wal_runner.log.format import ARGV_CHARS_MAX, ARGV_MAX
from wal_runner.log.results import capped
from wal_runner.recovery.copies import accepted_copy
from wal_runner.recovery.evidence import own_started, proven
from wal_runner.recovery.formats import fit, unended_sessions
from wal_runner.recovery.loading import LOADS_MAX, load
from wal_runner.recovery.writer import LogWriter
from wal_runner.version import __version__


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wal_runner.core.events import Event
    from wal_runner.core.state import State
    from wal_runner.log.protocol import Log, Session, Turn


FORMAT_OF_ACCEPTED: Final = 2
"""Format 1 has no place in SessionOpened for what was accepted."""


def open_writer(
    path: str | os.PathLike[str], *, must_exist: bool = False, accept_copy: bool = False
) -> tuple[LogWriter, bool]:
    """Open the log at *path* as `keep_writer` does; return its writer, and whether the log is new."""
    kept: list[LogWriter] = []
    created = keep_writer(path, kept.append, must_exist=must_exist, accept_copy=accept_copy)
    return kept[0], created


def keep_writer(
    path: str | os.PathLike[str],
    keep: Callable[[LogWriter], object],
    *,
    must_exist: bool = False,
    accept_copy: bool = False,
    take_over: bool = False,
) -> bool:
    """Open the log at *path* for a new session, or create it; pass its writer to *keep*, and return whether it is new.

    If *keep* raises, or an exception strikes at any line before this returns, nothing stays open. When this returns,
    sessions that died are recorded as lost and what they had started is settled, released or in doubt. Raise
    `LogCopied` if the log was last used elsewhere, unless *accept_copy* says that it may be run here. With *take_over*
    a writer that this process has on the log is closed first, if no run of it is going on.
    """
    if take_over:
        _close_earlier(path)
    log: Log | None = None
    writer: LogWriter | None = None
    try:
        log, created = opening.open_for_writing(path, must_exist=must_exist)
        log.check_rows()
        writer = begin_session(log, accept_copy=accept_copy)
        opening.set_owner(log, writer)
        keep(writer)
        return created  # noqa: TRY300 - an exception that strikes here closes it too
    except LogAlreadyOpen:
        raise  # what is open is another opening's
    except BaseException:
        # A session whose commit came about is lost then, and its lock is released with the log.
        if writer is not None:
            writer.abandon()
        if log is None:
            opening.close_unowned(path)
        else:
            log.abandon_sessions()
            opening.close(log, writer=True)
        raise


def _close_earlier(path: str | os.PathLike[str]) -> None:
    writer: LogWriter | None = opening.owner_of(path)
    if writer is not None and not writer.is_running():
        writer.close()


def begin_session(log: Log, *, accept_copy: bool = False) -> LogWriter:
    """Begin a session on *log*, with everything that recovery has to say."""
    for _ in range(LOADS_MAX):
        try:
            return _begin_session(log, accept_copy=accept_copy)
        except Compacted:
            continue  # between our load and our turn; what we missed is in the snapshot now
    raise Compacted(f"{log.path} was compacted {LOADS_MAX} times while it was opened. Try again.")


def _begin_session(log: Log, *, accept_copy: bool) -> LogWriter:
    state = load(log)
    session: Session | None = None
    try:
        with log.exclusive(state.seq) as turn:
            for record in turn.records:
                state.apply(record)
            dead = dead_sessions(turn, state)
            accepted = accepted_copy(log.path, turn, state, dead, accept_copy=accept_copy)
            turn.keep_place()
            if accepted:
                turn.require_format(FORMAT_OF_ACCEPTED, unended_sessions(state))
            record_evidence(turn, state, dead)
            session = turn.new_session(state.last_session)
            failpoint("session.before_commit")
            events: list[Event] = [_session_opened(session.number, accepted)]
            events += losses(state, dead)
            turn.append(session.number, events)
            turn.retire([*dead, *turn.strays(open_sessions(state))])
            failpoint("recover.before_commit")
    except BaseException:
        if session is not None:
            session.close()
        raise
    failpoint("recover.after_commit")
    failpoint("session.after_commit")
    for record in turn.appended:
        state.apply(record)
    return LogWriter(log, state, session)


def bury_the_dead(writer: LogWriter) -> Sequence[int]:
    """Record the sessions that died since we opened; give their numbers.

    Cheap when nobody died: nothing is written.
    """
    with writer.lock:
        others = [n for n in open_sessions(writer.state) if n != writer.session.number]
        if not others or all(liveness.alive for liveness in writer.log.liveness(others).values()):
            return ()
        dead: list[int] = []

        def decide(turn: Turn) -> list[Event]:
            dead[:] = dead_sessions(turn, writer.state)
            record_evidence(turn, writer.state, dead)
            turn.retire(dead)
            return losses(writer.state, dead)

        writer.turn(decide, snapshot=False)
        return dead


def open_sessions(state: State) -> list[int]:
    """Give the sessions that have not ended on record."""
    return [number for number, info in state.sessions.items() if not info.ending]


def dead_sessions(turn: Turn, state: State) -> list[int]:
    """Give the sessions that have not ended on record and whose lock nobody holds.

    A session whose process died while a command that it started runs on is not among them: until
    that ends, its effect may still come.
    """
    numbers = open_sessions(state)
    return [number for number, liveness in turn.liveness(numbers).items() if not liveness.alive]


def losses(state: State, dead: Sequence[int]) -> list[Event]:
    """Return the events that record the *dead*; *state* is that before the evidence, which names them too."""
    # Logs of 0.1.0 may hold times before 1970, which a SessionLost cannot.
    return [SessionLost(number, max(0, state.sessions[number].last_ns)) for number in dead]


def record_evidence(turn: Turn, state: State, dead: Sequence[int]) -> None:
    """Append, in the dead sessions' own names, the outcomes and releases that their slots prove."""
    for number in dead:
        remains = turn.remains(number)
        found = (proven(start_seq, remains.get(start_seq)) for start_seq in own_started(state, number))
        events = [event for event in found if event is not None]
        if events:
            turn.append(number, fit(turn, state, events))


def _session_opened(number: int, accepted: str) -> SessionOpened:
    return SessionOpened(
        session=number,
        host=host.host_name(),
        pid=os.getpid(),
        boot=host.boot_id(),
        argv=tuple(capped(part, ARGV_CHARS_MAX) for part in sys.argv[:ARGV_MAX]),
        cwd=_working_directory(),
        user=host.user_name(),
        version=__version__,
        pid_started=host.process_started(os.getpid()),
        accepted=accepted,
    )


def _working_directory() -> str:
    try:
        return capped(os.getcwd(), ARGV_CHARS_MAX)  # noqa: PTH109 - text is wanted, and Path.cwd() is slower
    except OSError:
        return ""  # it was removed
