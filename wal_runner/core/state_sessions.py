"""What a log says of its sessions, their runs and the texts that errors share: folded into the tables.

Pure. Imported by `wal_runner.core.state` only, which folds what is said of items. Invariant: a session that
ended, or that nobody opened, appends nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wal_runner.core.arrays import corrupt
from wal_runner.core.items import SessionInfo, SourceEnd
from wal_runner.core.state_tables import StateTables


if TYPE_CHECKING:
    from wal_runner.core.error_info import ErrorInfo
    from wal_runner.core.events import RunEnded, SessionOpened, SessionReached, TextSeen

SESSIONS_REMEMBERED_MAX = 64
"""Sessions that ended are forgotten beyond this many, oldest first, unless a doubt names them."""

TEXTS_MAX: Final = 256
TEXTS_CHARS_MAX: Final = 1 << 20
"""Bounds of the texts that errors may name: they are held in memory, and stored with each snapshot."""


class StateOfSessions(StateTables):
    """The fold of sessions, runs and texts."""

    __slots__ = ()

    # --- Sessions ---------------------------------------------------------------

    def _refuse_the_dead(self, seq: int, session: int) -> None:
        info = self.sessions.get(session)
        if info is None or info.ending:
            raise corrupt(seq, f"it was appended by session {session}, which was not open")

    def _open_session(self, seq: int, session: int, time_ns: int, event: SessionOpened) -> None:
        if event.session <= self.last_session or event.session != session:
            raise corrupt(seq, f"session number {event.session} was used before")
        self.last_session = event.session
        self.sessions[event.session] = SessionInfo(*event[:-1], opened_ns=time_ns, accepted=event.accepted)

    def _reach(self, seq: int, event: SessionReached) -> None:
        info = self.sessions.get(event.session)
        if info is None or info.ending:
            raise corrupt(seq, f"session {event.session}, which it speaks of, was not open")
        place = (event.engine, event.where)
        if place not in info.reached:
            self.sessions[event.session] = info._replace(reached=(*info.reached, place))

    def _end_session(self, seq: int, session: int, ending: str, time_ns: int) -> None:
        info = self.sessions.get(session)
        if info is None or info.ending:
            raise corrupt(seq, f"session {session}, which it ends, was not open")
        self.sessions[session] = info._replace(ending=ending, ended_ns=time_ns)
        if len(self.sessions) > SESSIONS_REMEMBERED_MAX:
            self._forget_sessions()

    def _forget_sessions(self) -> None:
        named = {attempt.session for _, attempt in self.attempts()}
        ended = [n for n, info in self.sessions.items() if info.ending and n not in named]
        for number in sorted(ended)[: max(0, len(self.sessions) - SESSIONS_REMEMBERED_MAX)]:
            del self.sessions[number]

    # --- Texts and runs -----------------------------------------------------------

    def _check_text(self, seq: int, error: ErrorInfo | None) -> None:
        if error is not None and type(error.traceback) is int and error.traceback not in self.texts:
            raise corrupt(seq, f"its error names text {error.traceback}, which no event holds")

    def _see_text(self, seq: int, event: TextSeen) -> None:
        self.texts[event.number] = event.text
        if len(self.texts) > TEXTS_MAX or sum(map(len, self.texts.values())) > TEXTS_CHARS_MAX:
            raise corrupt(seq, f"there are more than {TEXTS_MAX} texts, or {TEXTS_CHARS_MAX:,} characters of them")

    def _end_run(self, seq: int, time_ns: int, event: RunEnded) -> None:
        if event.session > self.last_session:
            raise corrupt(seq, f"session {event.session}, whose run ended, was never opened")
        if event.source_ended:
            self.source_ends.pop(event.source, None)
        else:
            self.source_ends[event.source] = SourceEnd(
                event.session, event.because, event.seen, event.not_started, time_ns
            )
