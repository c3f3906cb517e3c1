"""Verdicts and reopenings: what a person or a reconciler says about items, on record.

Imported by the runner and the command line. Invariant: a verdict applies only while that very start
is in doubt, and all of a call's verdicts are written in one transaction, or none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from wal_runner.core.events import TYPE_NUMBERS, Decision, ItemReconciled, ItemReopened, Status
from wal_runner.core.formats import needs_format_2
from wal_runner.core.items import item_of
from wal_runner.errors import ItemUnknown, VerdictRefused
from wal_runner.failpoints import failpoint
from wal_runner.log.format import NOTE_CHARS_MAX
from wal_runner.log.results import capped, encode_result
from wal_runner.log.rows import row_of
from wal_runner.recovery.formats import FORMAT_OF_TAGS, fit, unended_sessions
from wal_runner.shielded_logger import ShieldedLogger


if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from wal_runner.core.events import Event
    from wal_runner.core.items import ItemState
    from wal_runner.log.protocol import Turn
    from wal_runner.recovery.deaths import DeathLimit
    from wal_runner.recovery.writer import LogWriter

_RECONCILED: Final = TYPE_NUMBERS[ItemReconciled]


logger: Final = ShieldedLogger(__name__)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the evidence says about an item in doubt. Make one by the three methods.

    *note* says what the evidence is; `Runner.resolve` and a reconciler may give it.
    """

    decision: Decision
    result: Any = None
    note: str = ""

    @classmethod
    def happened(cls, result: Any = None, *, note: str = "") -> Verdict:  # noqa: ANN401 - whatever fn would return
        """Say that the effect happened: the item has succeeded, with *result*."""
        return cls(Decision.HAPPENED, result, note)

    @classmethod
    def did_not_happen(cls, *, note: str = "") -> Verdict:
        """Say that nothing happened: the item is pending again."""
        return cls(Decision.DID_NOT_HAPPEN, None, note)

    @classmethod
    def abandon(cls, *, note: str = "") -> Verdict:
        """Say that nobody will find out, and that it is not to be run again."""
        return cls(Decision.ABANDON, None, note)


def resolve(
    writer: LogWriter,
    verdicts: Mapping[str, Verdict],
    *,
    by: str,
    note: str = "",
    starts: Mapping[str, int] | None = None,
    skip_others: bool = False,
    deaths: DeathLimit | None = None,
) -> int:
    """Settle doubts, all or none, durable on return; return how many.

    A verdict is about one attempt, and *starts* names it by its start. An item without an entry there is settled
    only while its first attempt is in doubt: evidence about that one cannot be about another.

    Raises `ItemUnknown` if the log does not know an item, `VerdictRefused` if the attempt is not in doubt or not
    named, or if a result cannot be stored, and `OlderVersionRunning` if a result needs a newer log format while a
    process of an older version runs on the log. Nothing is written then. With *skip_others* verdicts on other attempts
    than those in *starts* are left out instead, and a result that cannot be kept is, with a warning.
    A person's verdict resets the item's count of deaths. A reconciler's does not: *deaths* carries the count on, and
    may hold the item in doubt whatever the verdict says.
    """
    starts = {} if starts is None else starts
    packed = {item_id: encode_result(verdict.result) for item_id, verdict in verdicts.items()}
    if not skip_others:
        _check_results(packed, verdicts)
    needs_format = any(needs_format_2(result) for result, _ in packed.values())

    def decide(turn: Turn) -> Sequence[Event]:
        if needs_format and not skip_others:
            turn.require_format(FORMAT_OF_TAGS, unended_sessions(writer.state))
        items = find_items(writer, turn, list(verdicts))
        events: list[Event] = []
        for item_id, verdict in verdicts.items():
            item = items[item_id]
            if skip_others and (item.status is not Status.IN_DOUBT or starts.get(item_id) != item.start_seq):
                continue
            _check_verdict(item_id, item, starts.get(item_id))
            result, omitted = packed[item_id]
            answer = ItemReconciled(
                item.start_seq,
                verdict.decision,
                capped(by, NOTE_CHARS_MAX),
                capped(verdict.note or note, NOTE_CHARS_MAX),
                result,
                omitted,
            )
            events += [answer] if deaths is None else deaths.settle(turn, item_id, item, deaths.judge(item), answer)
        fitted = fit(turn, writer.state, events)
        omitted_here[:] = [event for event in fitted if isinstance(event, ItemReconciled) and event.omitted is not None]
        failpoint("resolve.before_commit")
        return fitted

    omitted_here: list[ItemReconciled] = []
    appended = writer.turn(decide, snapshot=False, fitted=True)
    failpoint("resolve.after_commit")
    if omitted_here:
        logger.warning(
            "The results of %d verdicts by %s were not kept; their items have succeeded. The first: %s",
            len(omitted_here),
            by,
            omitted_here[0].omitted,
        )
    return sum(array[0] == _RECONCILED for record in appended for array in record.arrays)


def _check_results(packed: Mapping[str, tuple[bytes | None, str | None]], verdicts: Mapping[str, Verdict]) -> None:
    for item_id, (_, omitted) in packed.items():
        if omitted is not None:
            kind = type(verdicts[item_id].result).__name__
            raise VerdictRefused(
                f"The result of the verdict on {item_id!r}, of type {kind:.80}, cannot be stored: {omitted}. Nothing "
                "was written. Give the verdict a result that can be stored, or none."
            )


def reopen(writer: LogWriter, ids: Iterable[str], *, by: str, note: str = "", succeeded: bool = False) -> int:
    """Make failed or abandoned items pending again, in their next generation; give how many.

    Items that succeeded are reopened only where *succeeded* says so: their effect will be repeated.
    All or none, durable on return.
    """
    wanted = list(dict.fromkeys(ids))

    def decide(turn: Turn) -> list[Event]:
        items = find_items(writer, turn, wanted)
        events: list[Event] = []
        for item_id in wanted:
            item = items[item_id]
            _check_reopening(item_id, item, succeeded=succeeded)
            events.append(
                ItemReopened(
                    item_id,
                    item.start_seq,
                    item.status,
                    item.attempts,
                    item.generation + 1,
                    capped(by, NOTE_CHARS_MAX),
                    capped(note, NOTE_CHARS_MAX),
                )
            )
        failpoint("resolve.before_commit")
        return events

    reopened = sum(len(record.arrays) for record in writer.turn(decide, snapshot=False))
    failpoint("resolve.after_commit")
    return reopened


def find_items(writer: LogWriter, turn: Turn, ids: list[str]) -> dict[str, ItemState]:
    """Give the items *ids* as of *turn*. Raise `ItemUnknown` where the log does not know one."""
    found: dict[str, ItemState] = {}
    for item_id, value in zip(ids, turn.look_up(ids), strict=True):
        row = writer.state.row(item_id) or row_of(item_id, value)
        if row is None:
            raise ItemUnknown(
                f"The log knows no item {item_id!r}. Nothing was written. Check the id; `walrun status` counts what it "
                "knows, and `walrun replay` lists it."
            )
        found[item_id] = item_of(row)
    return found


def _check_verdict(item_id: str, item: ItemState, start_seq: int | None) -> None:
    if item.status is not Status.IN_DOUBT:
        raise VerdictRefused(
            f"{item_id!r} is {item.status.word}, not in doubt, so there is nothing to settle. Nothing was "
            "written. See `walrun inspect` for what is in doubt."
        )
    if start_seq is not None and start_seq != item.start_seq:
        raise VerdictRefused(
            f"The answer is about the attempt {start_seq} of {item_id!r}, and in doubt is a later one, attempt "
            f"{item.start_seq}. Nothing was written. Find out what became of the later one: `walrun inspect` shows it."
        )
    if start_seq is None and item.attempts > 1:
        raise VerdictRefused(
            f"{item_id!r} was started {item.attempts} times, so its id alone does not say which attempt the answer is "
            "about. Nothing was written. Name the attempt that you looked at: `walrun inspect LOG --attempts` prints "
            "them for `walrun resolve LOG -`; in Python pass the Doubt, or start_seq=."
        )


def _check_reopening(item_id: str, item: ItemState, *, succeeded: bool) -> None:
    if item.status is Status.SUCCEEDED and not succeeded:
        raise VerdictRefused(
            f"{item_id!r} has succeeded; running it again repeats its effect. Nothing was written. Ask for it by "
            "succeeded=True (`--succeeded`) if that is wanted."
        )
    if item.status is Status.IN_DOUBT:
        raise VerdictRefused(
            f"{item_id!r} is in doubt: settle that first. Nothing was written. See `walrun resolve --help`."
        )
    if item.status in {Status.STARTED, Status.PENDING}:
        raise VerdictRefused(
            f"{item_id!r} is {item.status.word}, so there is nothing to reopen. Nothing was written. Just run again."
        )
