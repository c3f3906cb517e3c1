"""Runs, crashes, reopenings, verdicts, snapshots and compactions in any order, against a plain dict.

One machine, two engines: over LMDB each process follows the one before; in memory two run at once.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.log_machine_newer import NewerLogMachine
from tests.support.log_machine_processes import SLICE_ROWS
from wal_runner.core.events import ItemReleased
from wal_runner.core.state_decisions import StateOfDecisions
from wal_runner.core.transitions import Happening
from wal_runner.errors import LogError
from wal_runner.log import memory_turn
from wal_runner.log.memory_log import MemoryLog
from wal_runner.log.memory_store import MemoryStore
from wal_runner.log.memory_turn import MemoryTurn
from wal_runner.recovery import compact as compacting
from wal_runner.recovery import evidence, recover
from wal_runner.recovery.recover import begin_session, open_writer
from wal_runner.recovery.snapshots import Snapshots
from wal_runner.recovery.verifying import _content_problems, verify


if TYPE_CHECKING:
    from wal_runner.core.events import Event, ItemHeld
    from wal_runner.core.state import State
    from wal_runner.log.protocol import Turn
    from wal_runner.log.scratch import Remains


class LmdbMachine(NewerLogMachine):
    """One process after another, on a real disk."""

    def __init__(self) -> None:
        super().__init__()
        # Not a test of the disk: in memory a commit takes a tenth of a millisecond, whatever the neighbours do.
        shared_memory = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
        self.folder = Path(tempfile.mkdtemp(prefix="walrun-", dir=shared_memory if shared_memory.is_dir() else None))
        self.path = self.folder / "emails.wal"

    def make_writer(self) -> Any:
        """Open the log, or create it."""
        writer, _ = open_writer(self.path)
        return writer

    def kill(self, writer: Any) -> None:
        """Release its locks, and write nothing more."""
        writer.abandon()

    def may_compact(self) -> bool:
        """Say whether nobody of this process has the log open."""
        return not self.some_runs()

    def compact_log(self) -> None:
        """Compact the log on disk; the compaction records who died."""
        assert compacting.compact(self.path).rewritten
        self.settle_the_dead()

    def problems(self) -> list[Any]:
        """Verify the folder."""
        return list(verify(self.path))

    def teardown(self) -> None:
        """Remove the log at last."""
        try:
            super().teardown()
        finally:
            shutil.rmtree(self.folder)


class MemoryMachine(NewerLogMachine):
    """Two processes at once, on one store."""

    PROCESSES = 2

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore(rows_a_slice=SLICE_ROWS)

    def make_writer(self) -> Any:
        """Open a handle on the store."""
        return begin_session(MemoryLog(self.store))

    def kill(self, writer: Any) -> None:
        """Release its lock, as the kernel would."""
        writer.abandon()

    def may_compact(self) -> bool:
        """Say whether somebody runs, beside whom to compact."""
        return self.some_runs()

    def compact_log(self) -> None:
        """Compact beside whoever runs."""
        writer = self.writer_of(0)
        compacting._drop(writer, compacting._fold(writer))

    def problems(self) -> list[Any]:
        """Verify what is in the store."""
        return list(_content_problems(MemoryLog(self.store)))


def bounded(share: float) -> settings:
    """Give the profile's settings with a *share* of its examples."""
    return settings(
        max_examples=max(1, int(settings.default.max_examples * share)),
        stateful_step_count=30,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


# A commit on a disk takes as long as a hundred in memory.
TestLmdbMachine = LmdbMachine.TestCase
TestLmdbMachine.settings = bounded(0.5)
TestMemoryMachine = MemoryMachine.TestCase
TestMemoryMachine.settings = bounded(1.5)


# --- The machine is seen to catch something -----------------------------------------------------


def landed_counting_twice(self: Snapshots, *told: Any) -> None:
    """Count the last slice again with each turn that carries none: its rows are never written."""
    riding = self._riding
    whole_landed(self, *told)
    if self.under_way:
        self._riding = riding


def follow_too_far(_self: Snapshots, state: State) -> None:
    """Let go of all that was touched, and not only of what another's snapshot holds."""
    state.drop_frozen()
    state.items.clear()


def begin_without_freezing(self: Snapshots, turn: Turn, state: State) -> None:
    """Say that the snapshot stands for the seq at which its first slice, and not its last, is written."""
    whole_begin(self, turn, state)
    if self._frozen is not None:
        self._frozen.seq += 1


def everything_is_released(start_seq: int, said: Remains | None) -> Event | None:
    """Take a slot that says "begun" for one that says "armed": the item would run twice."""
    return whole_proven(start_seq, said) or (None if said is None else ItemReleased(start_seq))


def nothing_is_proven(_start_seq: int, _said: Remains | None) -> Event | None:
    """Lose the outcomes that the slots hold."""
    return None


def held_and_not_open(self: StateOfDecisions, seq: int, _session: int, _time_ns: int, event: ItemHeld) -> None:
    """Fold a verdict that is taken back, and leave its attempt over."""
    self._change_what_is_over(seq, event, Happening.HELD)


def snapshot_without_texts(key: bytes, state: State) -> bytes:
    """Pack a snapshot that does not say what errors name by number."""
    copy = state.without_items()
    copy.open, copy.texts = state.open, {}
    return whole_encode_snapshot(key, copy)


whole_landed, whole_begin, whole_proven = Snapshots.landed, Snapshots._begin, evidence.proven
whole_encode_snapshot = memory_turn.encode_snapshot
PLANTED = {
    "a slice is skipped": (Snapshots, "landed", landed_counting_twice),
    "another's snapshot is followed too far": (Snapshots, "_follow_another", follow_too_far),
    "a snapshot stands for the wrong seq": (Snapshots, "_begin", begin_without_freezing),
    "begun items are released": (recover, "proven", everything_is_released),
    "outcomes in slots are lost": (recover, "proven", nothing_is_proven),
}
PLANTED_IN_FORMAT_2 = {
    "a held item's attempt stays over": (StateOfDecisions, "_hold", held_and_not_open),
    "a snapshot holds no texts": (memory_turn, "encode_snapshot", snapshot_without_texts),
    "the log is not raised to format 2": (MemoryTurn, "require_format", lambda *_: None),
}


class OlderMemoryMachine(MemoryMachine):
    """Two processes at once, whose log stays in format 1."""

    NEWER = False


@pytest.mark.parametrize("bug", [*PLANTED, *PLANTED_IN_FORMAT_2])
def test_machine_catches(bug: str) -> None:
    """A planted bug is found, each time, in a few hundred histories."""
    where, name, planted = (PLANTED | PLANTED_IN_FORMAT_2)[bug]
    machine = MemoryMachine if bug in PLANTED_IN_FORMAT_2 else OlderMemoryMachine
    search = settings(
        bounded(1.0),
        max_examples=500,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
    )
    with mock.patch.object(where, name, planted), pytest.raises((AssertionError, LogError)):
        run_state_machine_as_test(machine, settings=search)
