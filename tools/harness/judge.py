"""What is left after a death, opened by the real library and compared with what it had promised.

Invariant: gives every broken promise as a sentence, and none where all is well; and is not blind: see
`tools.harness.planted`. It opens, recovers, reads, appends and closes, as the next run would.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from tools.harness.history import Fate
from tools.harness.life import LOG_NAME
from tools.harness.replacing import put
from tools.harness.small import set_boot
from tools.harness.states import Death
from tools.harness.witness import pack_result
from wal_runner import Runner, Status
from wal_runner.core.events import ItemStarted, ItemSucceeded
from wal_runner.log import host, lmdb_data, opening
from wal_runner.log.format import STRUCTURE_CHECK_BYTES_MAX
from wal_runner.recovery import recover
from wal_runner.recovery.reader import LogView
from wal_runner.recovery.replay import replay_log
from wal_runner.recovery.verifying import verify


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tools.harness.history import Told
    from tools.harness.witness import Known
    from wal_runner.core.events import Event
    from wal_runner.log.protocol import Log, Turn
    from wal_runner.recovery.writer import LogWriter

AFTERWARDS: Final = "afterwards-001"
"""The item that each judgement appends."""

_THIS_BOOT: Final = host.boot_id()
_ANOTHER_BOOT: Final = "the boot after"


def judge(
    folder: Path,
    known: Known,
    death: Death,
    *,
    skip_walk: bool = False,
    is_exact: bool = True,
    deep: bool = False,
) -> list[str]:
    """Open the log in *folder* and give every promise that is broken.

    *death* says whether it is the same boot. *is_exact* is false where the disk failed under the slots too, so
    that doubts need not be exact. *deep* verifies everything and runs all items once more.
    """
    set_boot((known.boot or _THIS_BOOT) if death is Death.KILL else _ANOTHER_BOOT)
    put(lmdb_data, STRUCTURE_CHECK_BYTES_MAX=0 if skip_walk else STRUCTURE_CHECK_BYTES_MAX)
    path = folder / LOG_NAME
    try:
        if not path.exists():
            return list(_where_nothing_is(path, known))
        log, _ = opening.open_for_writing(path, must_exist=True)
        writer: LogWriter | None = None
        try:
            seq, chain = log._data.known  # type: ignore[attr-defined]  # noqa: SLF001 - before recovery appends
            told = known.history.at(seq, chain, log.log_id)
            if told is None:
                return [f"the log ends at {seq}, where no commit that was attempted ends"]
            problems = [*_what_was_lost(told, known), *_what_is_stored(log, told)]
            if is_exact:
                problems += _needless_doubts(told, known)
            writer = recover.begin_session(log)
            problems += _what_is_seen(writer, told, known, death, is_exact=is_exact)
            writer.close()
        except BaseException:
            if writer is not None and not writer.closed:
                writer.abandon()
            raise
        finally:
            if writer is None or not writer.closed:
                opening.close(log)
        if deep and not problems:
            problems += _what_a_run_does(path)
    except Exception as error:  # noqa: BLE001 - every error is a broken promise here
        return [f"{type(error).__name__}: {error}"]
    return problems


# --- Before recovery -------------------------------------------------------------------------


def _where_nothing_is(path: Path, known: Known) -> Iterator[str]:
    if known.created:
        yield "there is no log, and its creation was acknowledged"
        return
    with Runner(path) as runner:
        if not runner.created or any(runner.counts().values()):
            yield "a log that was never there holds something"


def _what_was_lost(told: Told, known: Known) -> Iterator[str]:
    seq, chain = known.acknowledged
    if seq and told.chains.get(seq) != chain:
        yield f"the commit that ends at {seq} was acknowledged, and the log ends at {told.seq} without it"
    if known.begun_last > told.seq:
        yield f"fn of start {known.begun_last} was called, and the log ends at {told.seq}"
    for start_seq, fate in known.told:
        if fate not in told.outcomes.get(start_seq, ()):
            yield f"the user was told that start {start_seq} has {_words(fate)}, and the log does not hold it"
    running = Counter(started.session for started in told.running().values())
    for session, count in running.items():
        most = known.bounds.get(session, (0, 0))[1]
        if count > most:
            yield f"session {session} has {count} starts without an outcome, and {most} were allowed"


def _needless_doubts(told: Told, known: Known) -> Iterator[str]:
    """Give the sessions of which a death left more in doubt than they had fns running. All died by themselves."""
    for session, count in Counter(told.lost.values()).items():
        most = known.bounds.get(session, (0, 0))[0]
        if count > most:
            yield f"the death of session {session} left {count} items in doubt, and {most} fns ran at most"


def _what_is_stored(log: Log, told: Told) -> Iterator[str]:
    snapshot = log.snapshot()
    if snapshot.seq and told.chains.get(snapshot.seq) != snapshot.chain:
        yield f"the snapshot stands for {snapshot.seq} and has the hash of another seq"
    base_seq, base_chain = log.base()
    if told.chains.get(base_seq) != base_chain:
        yield f"the log begins at {base_seq} with the hash of another seq"


# --- After recovery ---------------------------------------------------------------------------


def _what_is_seen(writer: LogWriter, told: Told, known: Known, death: Death, *, is_exact: bool) -> Iterator[str]:
    seen = _fates(writer)
    running = told.running()
    expected = dict(told.fates)
    if death is Death.POWER:
        expected |= dict.fromkeys((started.item_id for started in running.values()), Fate(Status.IN_DOUBT))
    else:
        yield from _what_slots_proved(told, known, seen, is_exact=is_exact)
        # Whatever that found fault with, the rest is compared without it.
        expected |= {started.item_id: seen.get(started.item_id, Fate(Status.PENDING)) for started in running.values()}
    for item_id in sorted(expected.keys() | seen.keys()):
        if expected.get(item_id) != seen.get(item_id):
            yield f"{item_id} has {_words(expected.get(item_id))}, and is shown as {_words(seen.get(item_id))}"
    if writer.state.cursors != told.cursors:
        yield f"the cursors are {writer.state.cursors}, and should be {told.cursors}"
    if any(row.status is Status.STARTED for _, row in writer.state.attempts()):
        yield "items count as started, and nobody runs them"
    writer.turn(_one_more)
    seen[AFTERWARDS] = Fate(Status.SUCCEEDED, pack_result("once"))
    yield from _what_a_replay_tells(writer, seen)


def _what_slots_proved(told: Told, known: Known, seen: dict[str, Fate], *, is_exact: bool) -> Iterator[str]:
    """Compare what became of the items that ran when their process died, and the machine lived on."""
    doubts: Counter[int] = Counter()
    for start_seq, started in told.running().items():
        attempt = known.begun.get(start_seq)
        fate = seen.get(started.item_id, Fate(Status.PENDING))
        if attempt is None:
            allowed = {Fate(Status.PENDING), Fate(Status.IN_DOUBT)}
        elif attempt.ended is None:
            allowed = {Fate(Status.IN_DOUBT)}
        else:
            allowed = {attempt.ended, Fate(Status.IN_DOUBT)}
        if fate not in allowed:
            yield f"{started.item_id} is shown as {_words(fate)}: start {start_seq} {_what_fn_did(known, start_seq)}"
        if fate.status is Status.IN_DOUBT and (attempt is None or attempt.ended != fate):
            doubts[started.session] += 1
    for session, count in doubts.items():
        most = known.bounds.get(session, (0, 0))[0]
        if is_exact and count > most:
            yield f"{count} items of session {session} are in doubt, and {most} fns ran at most"


def _what_fn_did(known: Known, start_seq: int) -> str:
    attempt = known.begun.get(start_seq)
    if attempt is None:
        return "had not begun"
    return "was running" if attempt.ended is None else f"had ended: {_words(attempt.ended)}"


def _one_more(turn: Turn) -> list[Event]:
    return [ItemStarted(AFTERWARDS), ItemSucceeded(turn.end + 1, 1, pack_result("once"))]


def _what_a_replay_tells(writer: LogWriter, seen: dict[str, Fate]) -> Iterator[str]:
    """Compare the fold of the whole log with the snapshot and its tail."""
    replayed, state = replay_log(writer.log), writer.state
    for name in ("seq", "counts", "open", "cursors", "conflicts", "results_omitted", "last_session"):
        if getattr(replayed, name) != getattr(state, name):
            yield f"a replay gives {name}={getattr(replayed, name)}, and the state has {getattr(state, name)}"
    touched = {item_id: Fate(Status(row[0]), row[5] if len(row) > 5 else None) for item_id, row in replayed.touched()}  # noqa: PLR2004 - the result's place
    begins_at = writer.log.base_state().seq
    wanted = {item_id: seen.get(item_id) for item_id in touched} if begins_at else seen
    if touched != wanted:
        yield f"a replay gives other items: {sorted(set(touched.items()) ^ set(wanted.items()))[:4]}"


def _fates(writer: LogWriter) -> dict[str, Fate]:
    view = LogView(writer.log, writer.state, live=writer)
    return {item.item_id: Fate(item.status, pack_result(item.result)) for item in view.items()}


# --- Going on -----------------------------------------------------------------------------------


def _what_a_run_does(path: Path) -> Iterator[str]:
    """Verify, run every item of the log once more, and verify again: nothing that is done or in doubt runs."""
    yield from (f"verify: {problem}" for problem in verify(path))
    ran: list[str] = []
    with Runner(path) as runner:
        before = {item.item_id: item.status for item in runner.items()}
        report = runner.run([*before, "afterwards-002"], ran.append, signals=False)
    due = {item_id for item_id, status in before.items() if status in {Status.PENDING, Status.FAILED}}
    if sorted(ran) != sorted({*due, "afterwards-002"}):
        yield f"a run called fn for {sorted(ran)}, and {sorted(due)} were due"
    if report.succeeded != len(ran):
        yield f"a run counts {report.succeeded} successes of {len(ran)}"
    yield from (f"verify after a run: {problem}" for problem in verify(path))


def _words(fate: Fate | None) -> str:
    if fate is None:
        return "nothing"
    return fate.status.word if fate.result is None else f"{fate.status.word} with {fate.result[:40]!r}"
