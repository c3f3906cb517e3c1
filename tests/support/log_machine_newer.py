"""The rules of format 2: counts, verdicts taken back, imports, texts, pauses and ends of runs.

`NewerLogMachine` adds them to the rules of `LogMachine`. One history in two uses nothing of them, and its log
must stay in format 1.
"""
# ruff: noqa: D401, D403 - the docstring of a rule tells what happens

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from unittest import mock

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.support.log_machine import LogMachine
from tests.support.log_machine_processes import BEGUN, ERROR, IDS, Died, Item, picks, whos
from wal_runner import failpoints
from wal_runner.core.events import (
    ItemAttested,
    ItemFailed,
    ItemGivenUp,
    ItemHeld,
    ItemInterrupted,
    ItemStarted,
    ItemSucceeded,
    PauseSet,
    RunEnded,
    SessionOpened,
    SessionReached,
    Status,
    TextSeen,
)
from wal_runner.recovery import recover
from wal_runner.recovery.formats import unended_sessions


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wal_runner.core.error_info import ErrorInfo
    from wal_runner.core.events import Event
    from wal_runner.core.state import State

TAGGED: Final = b"\xd4\x0f\x01"
"""A packed result that begins with an ext marker, ``ExtType(15, b"\\x01")``."""

LATER_NS: Final = 10**18
ATTESTED: Final = [Status.SUCCEEDED, Status.FAILED, Status.IN_DOUBT]


class NewerLogMachine(LogMachine):
    """The rules of both formats."""

    def __init__(self) -> None:
        super().__init__()
        self.format = 1
        self.texts: dict[int, str] = {}
        self.paused: tuple[str, str] | None = None
        self.source_ends: dict[str, tuple[int, str, int, int]] = {}
        self.reached: dict[int, tuple[tuple[str, str], ...]] = {}
        self.accepted: dict[int, str] = {}
        self.session_opened = recover._session_opened
        self.patch_of_openings = mock.patch.object(recover, "_session_opened", self.opened)
        self.patch_of_openings.start()

    def teardown(self) -> None:
        """Check the log once more, and put back what was patched."""
        try:
            super().teardown()
        finally:
            self.patch_of_openings.stop()

    # --- Helpers --------------------------------------------------------------------------

    def opened(self, number: int, accepted: str) -> SessionOpened:
        """Return the opening of session *number*; each second one in format 2 states what it accepted."""
        opened = self.session_opened(number, accepted)
        if self.format == 1 or number % 2:
            return opened
        self.accepted[number] = "copy of /srv/emails.wal, accepted by ann"
        return opened._replace(accepted=self.accepted[number])

    def append_newer(self, writer: Any, make: Callable[[int], Sequence[Event]]) -> None:
        """Append what *make* returns for the seq of the first event, and raise the log to format 2 with it."""

        def decide(turn: Any) -> Sequence[Event]:
            turn.require_format(2, unended_sessions(writer.state))
            return make(turn.end + 1)

        writer.turn(decide)
        self.format = 2

    def settle(self, seq: int, status: Status, result: bytes | None = None) -> None:
        """An outcome is on disk; the log took its result, whatever its format was."""
        super().settle(seq, status, result)
        if result == TAGGED:
            self.format = 2

    def may_use(self, *statuses: Status) -> bool:
        """Return whether a process runs, format 2 may be used, and an item has one of *statuses* (if any is given)."""
        if not (self.newer and self.some_runs()):
            return False
        return not statuses or any(item.status in statuses for item in self.items.values())

    def error(self, pick: int) -> ErrorInfo:
        """Return an error that holds its traceback, or names a text that was seen."""
        numbers: list[int | str] = ["", *sorted(self.texts)]
        return ERROR._replace(traceback=numbers[pick % len(numbers)])

    @staticmethod
    def named(error: ErrorInfo) -> int | None:
        """Return the number of the text that *error* names."""
        return error.traceback if isinstance(error.traceback, int) else None

    # --- Items ----------------------------------------------------------------------------

    @precondition(may_use)
    @rule(who=whos, pick=picks, failures=st.integers(0, 3), deaths=st.integers(0, 2), called=st.booleans())
    def start_counted(self, who: int, pick: int, failures: int, deaths: int, called: bool) -> None:  # noqa: FBT001 - a strategy's value
        """An item starts, and its start carries how often it failed and died."""
        writer = self.writer_of(who)
        free = [i for i in IDS if i not in self.items or self.items[i].status in {Status.PENDING, Status.FAILED}]
        if not free:
            return
        item_id = free[pick % len(free)]
        (slot,) = writer.session.scratch.take(1)
        seq = 0

        def make(first_seq: int) -> list[ItemStarted]:
            nonlocal seq
            seq = first_seq
            writer.session.scratch.arm(slot, seq)
            return [self.started(item_id)._replace(failures=failures, deaths=deaths)]

        self.append_newer(writer, make)
        self.note_start(item_id, seq, writer.session.number, slot)
        item = self.items[item_id]
        item.failures, item.deaths = failures, deaths
        if called:
            self.call_fn(writer, seq)

    @precondition(lambda self: self.newer and self.has(BEGUN))
    @rule(pick=picks, how=st.sampled_from(["tagged", "counted", "final"]))
    def ends_newer(self, pick: int, how: str) -> None:
        """fn ends with what only format 2 holds. Runs that count raise the log before their first start."""
        writer = self.one_with(pick, BEGUN)
        running = self.running(writer)
        if not running:
            return
        seq = running[pick % len(running)]
        if how == "tagged":
            self.keep(writer, seq, ItemSucceeded(seq, 5, TAGGED))
        elif self.format > 1:
            failures = self.items[self.claims[seq].item_id].failures + 1
            is_final = how == "final"
            self.keep(writer, seq, ItemFailed(seq, 5, ERROR, failures, 0 if is_final else LATER_NS, is_final))

    @precondition(lambda self: self.newer and self.has(BEGUN))
    @rule(pick=picks, number=st.integers(1, 3), interrupted=st.booleans())
    def fails_with_a_text(self, pick: int, number: int, interrupted: bool) -> None:  # noqa: FBT001 - a strategy's value
        """fn fails, or is interrupted, by an error whose traceback stands in the log once."""
        writer = self.one_with(pick, BEGUN)
        begun = self.claims_of(writer, BEGUN)
        seq, claim = begun[pick % len(begun)]
        text, error = f"Traceback {pick}", ERROR._replace(traceback=number)
        outcome = ItemInterrupted(seq, 5, "Ctrl-C", error) if interrupted else ItemFailed(seq, 5, error)
        self.append_newer(writer, lambda _seq: [TextSeen(number, text), outcome])
        self.texts[number] = text
        claim.stage = outcome
        self.settle(seq, Status.IN_DOUBT if interrupted else Status.FAILED)
        self.items[claim.item_id].text = number
        if claim.slot is not None and not interrupted:
            writer.session.scratch.free([claim.slot])

    # --- People ---------------------------------------------------------------------------

    @precondition(lambda self: self.may_use(Status.SUCCEEDED, Status.PENDING, Status.ABANDONED))
    @rule(who=whos, pick=picks, deaths=st.integers(0, 2))
    def hold(self, who: int, pick: int, deaths: int) -> None:
        """Somebody takes a verdict back: the item is in doubt again, and this session's."""
        answered = [i for i, item in self.items.items() if item.by_verdict and item.status is not Status.STARTED]
        if not answered:
            return
        item_id, writer = answered[pick % len(answered)], self.writer_of(who)
        item = self.items[item_id]
        last = (item.start_seq, item.status, item.attempts, item.generation)
        self.append_newer(writer, lambda _seq: [ItemHeld(item_id, *last, "ann", "a mistake", deaths)])
        number = writer.session.number
        self.items[item_id] = Item(Status.IN_DOUBT, last[0], number, *last[2:], deaths=deaths)
        self.over = [seq for seq in self.over if seq != item.start_seq]

    @precondition(lambda self: self.may_use(Status.FAILED))
    @rule(who=whos, pick=picks)
    def give_up(self, who: int, pick: int) -> None:
        """Somebody gives a failed item up."""
        failed = [i for i, item in self.items.items() if item.status is Status.FAILED]
        item_id, error = failed[pick % len(failed)], self.error(pick)
        item = self.items[item_id]
        last = (item.start_seq, item.status, item.attempts, item.generation)
        self.append_newer(self.writer_of(who), lambda _seq: [ItemGivenUp(item_id, *last, "ann", "no mailbox", error)])
        self.items[item_id] = Item(Status.ABANDONED, last[0], 0, *last[2:], text=self.named(error))

    @precondition(lambda self: self.may_use() and len(self.items) < len(IDS))
    @rule(who=whos, pick=picks, status=st.sampled_from(ATTESTED), result=st.sampled_from([None, b"\x09", TAGGED]))
    def attest(self, who: int, pick: int, status: Status, result: bytes | None) -> None:
        """An import states how an item that the log does not know ended elsewhere."""
        unknown = [i for i in IDS if i not in self.items]
        item_id, writer, error = unknown[pick % len(unknown)], self.writer_of(who), self.error(pick)
        is_success = status is Status.SUCCEEDED
        ended = (result, None, None) if is_success else (None, None, error)
        seq = 0

        def make(first_seq: int) -> list[ItemAttested]:
            nonlocal seq
            seq = first_seq
            return [ItemAttested(item_id, status, "ann", "an older list", pick, *ended)]

        self.append_newer(writer, make)
        item = Item(status, seq, writer.session.number, attempts=0, result=ended[0])
        item.text = None if is_success else self.named(error)
        self.items[item_id] = item
        if status is not Status.IN_DOUBT:
            self.over.append(seq)

    # --- The log ------------------------------------------------------------------------------

    @precondition(may_use)
    @rule(
        who=whos,
        pick=picks,
        what=st.sampled_from(["pause", "go on", "stopped", "ended", "reached", "text", "break off"]),
    )
    def set(self, who: int, pick: int, what: str) -> None:
        """Something is said of the log as a whole, of a session or of a run."""
        writer = self.writer_of(who)
        number = writer.session.number
        source = f"source {pick % 2}"
        match what:
            case "pause":
                self.append_newer(writer, lambda _seq: [PauseSet(paused=True, by="ann", note=str(pick))])
                self.paused = ("ann", str(pick))
            case "go on":
                self.append_newer(writer, lambda _seq: [PauseSet(paused=False, by="bob", note="")])
                self.paused = None
            case "stopped":
                stopped = RunEnded(number, source, source_ended=False, because="halt", seen=pick, not_started=2)
                self.append_newer(writer, lambda _seq: [stopped])
                self.source_ends[source] = (number, "halt", pick, 2)
            case "ended":
                ended = RunEnded(number, source, source_ended=True, because="", seen=pick, not_started=0)
                self.append_newer(writer, lambda _seq: [ended])
                self.source_ends.pop(source, None)
            case "reached":
                place = ("dask", f"tcp://scheduler-{pick % 2}")
                self.append_newer(writer, lambda _seq: [SessionReached(number, *place)])
                places = self.reached.get(number, ())
                self.reached[number] = places if place in places else (*places, place)
            case "text":
                self.append_newer(writer, lambda _seq: [TextSeen(1 + pick % 3, f"text {pick}")])
                self.texts[1 + pick % 3] = f"text {pick}"
            case _:
                self.break_off_a_pause(writer, is_written=bool(pick % 2))

    def break_off_a_pause(self, writer: Any, *, is_written: bool) -> None:
        """A commit that raises the log breaks off: the format is as durable as the event that needs it."""

        def die() -> None:
            raise Died

        failpoints.arm("commit.after_commit" if is_written else "commit.before_commit", die)
        before = self.format
        try:
            self.append_newer(writer, lambda _seq: [PauseSet(paused=True, by="ann", note="broken off")])
        except Died:
            pass
        else:
            raise AssertionError("a turn that writes reaches its commit")
        self.format = 2 if is_written else before
        if is_written:
            self.paused = ("ann", "broken off")

    # --- What must be true at any time ------------------------------------------------------------

    def check_more(self, writer: Any, state: State) -> None:
        """The format is 1 until the first thing that needs 2; texts, pauses and runs are as the dicts have them."""
        assert self.format == writer.log.format()
        assert self.texts == state.texts
        assert self.paused == (state.paused and state.paused[:2])
        assert self.source_ends == {source: end[:4] for source, end in state.source_ends.items()}
        infos = state.sessions.values()
        assert self.reached == {info.number: info.reached for info in infos if info.reached}
        assert self.accepted == {info.number: info.accepted for info in infos if info.accepted}
