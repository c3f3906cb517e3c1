"""Verdicts and reopenings: what a person or a reconciler says about items, on record.

Imported by the runner and the command line. Invariant: a verdict applies only while that very start
is in doubt, and all of a call's verdicts are written in one transaction, or none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wal_runner.core.events import Decision, ItemReconciled, ItemReopened, Status
from wal_runner.core.items import item_of
from wal_runner.errors import ItemUnknown, VerdictRefused
from wal_runner.failpoints import failpoint
from wal_runner.log.format import NOTE_CHARS_MAX
from wal_runner.log.results import capped, encode_result
from wal_runner.log.rows import row_of


if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from wal_runner.core.events import Event
    from wal_runner.core.items import ItemState
    from wal_runner.log.protocol import Turn
    from wal_runner.recovery.writer import LogWriter


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
) -> int:
    """Settle doubts, all or none, durable on return; give how many.

    *starts* names the very start that each verdict is about, where the evidence was collected a
    while ago; one that is not in doubt any more is then left out. Without it, an item that is not in
    doubt raises `VerdictRefused`, and one that the log does not know `ItemUnknown`.
    """
    packed = {item_id: encode_result(verdict.result) for item_id, verdict in verdicts.items()}

    def decide(turn: Turn) -> list[Event]:
        items = find_items(writer, turn, list(verdicts))
        events: list[Event] = []
        for item_id, verdict in verdicts.items():
            item = items[item_id]
            if item.status is not Status.IN_DOUBT or (starts is not None and starts.get(item_id) != item.start_seq):
                if starts is not None:
                    continue
                raise VerdictRefused(
                    f"{item_id!r} is {item.status.word}, not in doubt, so there is nothing to settle. Nothing was "
                    "written. See `walrun inspect` for what is in doubt."
                )
            result, omitted = packed[item_id]
            events.append(
                ItemReconciled(
                    item.start_seq,
                    verdict.decision,
                    capped(by, NOTE_CHARS_MAX),
                    capped(verdict.note or note, NOTE_CHARS_MAX),
                    result,
                    omitted,
                )
            )
        failpoint("resolve.before_commit")
        return events

    settled = sum(len(record.arrays) for record in writer.turn(decide, snapshot=False))
    failpoint("resolve.after_commit")
    return settled


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
