"""How often an item's process died with it, and what a run then does: redo it, put it last, or hold it.

Imported by the verdicts and the runner. Invariant: an item whose process died is started again without a
person's word only with that death on record, so that redos have a bound. A reboot is not the item's doing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from wal_runner.core.events import Decision, ItemHeld, Status
from wal_runner.core.items import is_doubt_of_death
from wal_runner.errors import OlderVersionRunning
from wal_runner.log.format import NOTE_CHARS_MAX
from wal_runner.log.results import capped
from wal_runner.recovery.formats import unended_sessions
from wal_runner.shielded_logger import ShieldedLogger


if TYPE_CHECKING:
    from wal_runner.core.events import ItemReconciled
    from wal_runner.core.items import ItemState, OpenAttempt
    from wal_runner.log.protocol import Turn
    from wal_runner.recovery.writer import LogWriter

logger = ShieldedLogger(__name__)

MAX_DEATHS: Final = 3
"""Deaths after which an item is held, by default: two with its neighbours, and one alone."""

SUSPECT_FROM: Final = 2
"""Deaths from which an item is a suspect. One death is as likely the fault of any other item in flight."""

HELD_BY: Final = "policy: max_deaths"
HELD_FOR_DEATHS: Final = f"held by {HELD_BY}"
"""How the reason of a doubt begins that `max_deaths` made."""

_FORMAT_OF_DEATHS: Final = 2


def is_held(attempt: OpenAttempt) -> bool:
    """Return whether *attempt* was put in doubt by an ItemHeld: its session and its time are those of the hold."""
    return attempt.status is Status.IN_DOUBT and attempt.reason.startswith("held by ")


def is_held_for_deaths(attempt: OpenAttempt) -> bool:
    """Return whether *attempt* is in doubt because too many processes died with its item."""
    return attempt.status is Status.IN_DOUBT and attempt.reason.startswith(HELD_FOR_DEATHS)


class Judged(NamedTuple):
    """What the deaths of an item mean for its next start; *deaths* includes the one that left it in doubt."""

    deaths: int
    is_suspect: bool = False
    """It runs behind the other items, with nothing else in flight."""
    is_held: bool = False
    """It stays in doubt until a person says something."""
    was_alone: bool = False
    is_on_record: bool = False
    """It was held before; nothing is to be written."""


class DeathLimit:
    """Counts deaths for one run, and judges items by *max_deaths*; None counts nothing and holds nothing.

    With *keeps_order* items are never put last: the run goes by pages, or yields in the order of its source.
    """

    def __init__(self, writer: LogWriter, max_deaths: int | None = MAX_DEATHS, *, keeps_order: bool = False) -> None:
        self._writer = writer
        self._max = max_deaths
        self.keeps_order = keeps_order
        self._in_flight: dict[int, int] = {}
        """Of dead sessions: how many of their starts were in flight, as this run found it."""
        self._older: OlderVersionRunning | None = None
        self._warned = False

    def judge(self, item: ItemState) -> Judged:
        """Return what the deaths of *item* mean for its next start."""
        attempt = self._writer.state.attempt(item.start_seq) if item.status is Status.IN_DOUBT else None
        if self._max is None or attempt is None:
            is_suspect = self._max is not None and item.deaths >= min(SUSPECT_FROM, self._max)
            return Judged(item.deaths, is_suspect)
        is_death = is_doubt_of_death(attempt)
        # After a reboot the death says nothing of the item: neither that it happened, nor that it was alone in it.
        counts = is_death and self._is_this_boot(attempt)
        deaths = attempt.deaths + counts
        was_held = is_held_for_deaths(attempt)
        was_alone = was_held or (counts and self._was_alone(attempt.session))
        return Judged(
            deaths,
            is_suspect=deaths >= min(SUSPECT_FROM, self._max),
            is_held=deaths >= self._max and (was_alone or (counts and self.keeps_order)),
            was_alone=was_alone,
            is_on_record=was_held,
        )

    def settle(
        self, turn: Turn, item_id: str, item: ItemState, judged: Judged, answer: ItemReconciled
    ) -> list[ItemReconciled | ItemHeld]:
        """Return the events by which a policy's or a reconciler's *answer* settles the doubt about *item*.

        They carry the count on; if the item is held, they end with that, or there are none. While a process
        of an older version runs on the log, which cannot read a count, the count is left out.
        """
        if answer.decision is not Decision.DID_NOT_HAPPEN:
            return [answer._replace(deaths=item.deaths)]
        if judged.is_held and judged.is_on_record:
            return []
        may_count = not judged.deaths or self._may_count(turn)
        if not judged.is_held:
            return [answer._replace(deaths=judged.deaths if may_count else 0)]
        if not may_count:
            return []
        note = self._why_held(item, judged)
        held = (item_id, item.start_seq, Status.PENDING, item.attempts, item.generation, HELD_BY, note, judged.deaths)
        return [answer._replace(deaths=judged.deaths), ItemHeld(*held)]

    def warn(self) -> None:
        """Warn, once a run, that deaths could not be counted. Call it after the commit."""
        if self._older is None or self._warned:
            return
        self._warned = True
        logger.warning(
            "Items whose process died are run again without counting that death, because an older wal_runner is "
            "running on this log (session %d, pid %d on %s) and could not read the count. Update it.",
            self._older.session,
            self._older.pid,
            self._older.host,
        )

    def _may_count(self, turn: Turn) -> bool:
        try:
            turn.require_format(_FORMAT_OF_DEATHS, unended_sessions(self._writer.state))
        except OlderVersionRunning as older:
            self._older = older
            return False
        return True

    def _is_this_boot(self, attempt: OpenAttempt) -> bool:
        """Return whether the machine is known to have gone on when the session of *attempt* died."""
        sessions = self._writer.state.sessions
        dead, own = sessions.get(attempt.session), sessions.get(self._writer.session.number)
        return dead is not None and own is not None and bool(dead.boot) and dead.boot == own.boot

    def _was_alone(self, session: int) -> bool:
        if session not in self._in_flight:  # counted once: this run settles the other doubts of the session
            doubts = self._writer.state.attempts(Status.IN_DOUBT)
            self._in_flight[session] = sum(each.session == session and is_doubt_of_death(each) for _, each in doubts)
        return self._in_flight[session] == 1

    def _why_held(self, item: ItemState, judged: Judged) -> str:
        attempt = self._writer.state.attempt(item.start_seq)
        info = None if attempt is None else self._writer.state.sessions.get(attempt.session)
        deaths = "1 death" if judged.deaths == 1 else f"{judged.deaths} deaths"
        alone = ", alone in the last" if judged.was_alone else ""
        last = f" (session {info.number}, pid {info.pid} on {info.host})" if info is not None else ""
        return capped(f"in flight in {deaths}{alone}{last}", NOTE_CHARS_MAX)
