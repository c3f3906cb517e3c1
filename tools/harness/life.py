"""One life of a log: the steps that it may be made of, and the fn whose effects are watched.

A step opens the log, does something, and closes it, or dies. Invariant: fn tells the witness when it
begins and before it ends, and what the library says it did is told as soon as it is said.
"""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tools.harness import interposer
from tools.harness.history import Fate
from tools.harness.small import SLOTS, set_boot
from tools.harness.witness import mark, pack_result
from wal_runner import OutcomeUnknown, Runner, Status, Verdict, current_attempt, failpoints
from wal_runner.errors import WalRunnerError
from wal_runner.recovery.compact import compact


if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence
    from pathlib import Path

    Step = Callable[[], object]

LOG_NAME: Final = "batch.wal"
FAILED: Final = 1
DIED_IN_FN: Final = 3


class Refused(Exception):
    """What a failing item raises."""


@dataclass
class Life:
    """One life: where its log is, and what chance it has. *forgiving* goes on with the next step after an error."""

    folder: Path
    chance: random.Random
    forgiving: bool = False
    large: bool = False
    """Results that fit no slot, and some that fit no page."""
    _is_idempotent: bool = False
    _is_child: bool = False
    _boots: int = 0
    _starts: dict[str, int] = field(default_factory=dict)
    _ended: dict[int, Fate] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Give where the log is."""
        return self.folder / LOG_NAME

    def live(self, steps: Sequence[Step]) -> None:
        """Do one step after the other."""
        for step in steps:
            self.do(step)
        mark("ended")

    def do(self, step: Step) -> None:
        """Do one step; mark what it raises, and raise it unless this life is forgiving."""
        try:
            step()
        except Exception as error:
            mark("raised", type(error).__name__, isinstance(error, WalRunnerError), str(error)[:500])
            if not self.forgiving:
                raise

    # --- What fn does ---------------------------------------------------------------------

    def fn(self, item: str) -> object:
        """Do what the item's name says, under the eyes of the witness."""
        attempt = current_attempt()
        start_seq = self._starts[item] = attempt.start_seq
        mark("begins", item, start_seq)
        kind = item.partition("-")[0]
        if kind == "kill" and attempt.number == 1 and self._is_child:
            interposer.die()
        if kind == "exit" and attempt.number == 1 and self._is_child:
            interposer.settle()
            os._exit(DIED_IN_FN)
        if kind == "fail" and attempt.number == 1:
            self._end(start_seq, Fate(Status.FAILED))
            raise Refused(f"{item} was refused: " + "the server said no; " * (200 if self.large else 2))
        if kind == "doubt" and attempt.number == 1:
            # Where a redo is harmless, a lost reply is a failure.
            self._end(start_seq, Fate(Status.FAILED if self._is_idempotent else Status.IN_DOUBT))
            raise OutcomeUnknown(f"the reply to {item} was lost")
        result = self.result_of(item)
        self._end(start_seq, Fate(Status.SUCCEEDED, pack_result(result)))
        return result

    async def afn(self, item: str) -> object:
        """Do the same as a coroutine, and let others run in the middle."""
        await asyncio.sleep(0)
        return self.fn(item)

    def result_of(self, item: str) -> object:
        """Give what fn returns for *item*."""
        number = int(item.rpartition("-")[2])
        if self.large:
            return [item, "large " * (100 + 700 * (number % 4))]
        return None if number % 3 == 0 else {"sent": item}

    def _end(self, start_seq: int, fate: Fate) -> None:
        self._ended[start_seq] = fate
        mark("ends", start_seq, fate.status, fate.result)

    # --- Steps -----------------------------------------------------------------------------

    def open(self) -> Runner:
        """Open the log, or create it."""
        runner = Runner(self.path)
        mark("created")
        return runner

    def open_and_close(self) -> None:
        """Open the log and close it."""
        self.open().close()

    def run(
        self, items: Sequence[str], *, workers: int = 1, window: int | None = None, idempotent: bool = False
    ) -> None:
        """Run *items*, told one by one as they become durable."""
        self._is_idempotent = idempotent
        with self.open() as runner:
            self._bound(runner, workers, window)
            for outcome in runner.run_iter(
                items, self.fn, workers=workers, max_in_doubt=window, idempotent=idempotent, signals=False
            ):
                if not outcome.replayed:
                    mark("told", self._starts[outcome.item_id], outcome.status, pack_result(outcome.result))

    def run_coroutines(self, items: Sequence[str], *, concurrency: int, window: int | None = None) -> None:
        """Run *items* in coroutines, told all at the end."""
        with self.open() as runner:
            self._bound(runner, concurrency, window)
            asyncio.run(runner.run_async(items, self.afn, concurrency=concurrency, max_in_doubt=window, signals=False))
            self._tell_all()

    def run_pages(self, items: Sequence[str], *, page_size: int, window: int | None = None) -> None:
        """Run *items* page by page, told all at the end."""

        def fetch(cursor: int | None, size: int) -> tuple[Sequence[str], int | None]:
            first = cursor or 0
            following = first + size
            return items[first:following], following if following < len(items) else None

        with self.open() as runner:
            self._bound(runner, 1, window)
            runner.run_pages(fetch, self.fn, page_size=page_size, max_in_doubt=window, signals=False)
            self._tell_all()

    def claim(self, items: Sequence[str], *, window: int) -> None:
        """Run *items* in the loop form, told all at the end."""
        with self.open() as runner:
            self._bound(runner, 1, window)
            for attempt in runner.claim(items, max_in_doubt=window, signals=False):
                with attempt as item:
                    attempt.result = self.fn(item)
            self._tell_all()

    def compact(self) -> None:
        """Compact the log, with the swap of its file."""
        compact(self.path)
        mark("created")

    def settle(self) -> None:
        """Settle each doubt: the first happened, the second did not, the third is abandoned, and so on."""
        with self.open() as runner:
            for number, doubt in enumerate(runner.in_doubt()):
                result = {"by hand": doubt.item_id}
                verdict, fate = (
                    (Verdict.happened(result), Fate(Status.SUCCEEDED, pack_result(result))),
                    (Verdict.did_not_happen(), Fate(Status.PENDING)),
                    (Verdict.abandon(), Fate(Status.ABANDONED)),
                )[number % 3]
                runner.resolve(doubt, verdict, note="looked", by="a life")
                mark("told", doubt.start_seq, fate.status, fate.result)

    def retry(self, *, succeeded: bool) -> None:
        """Reopen what failed or was abandoned, and one that succeeded where *succeeded* says so."""
        with self.open() as runner:
            wanted = [Status.FAILED, Status.ABANDONED]
            ids = [item.item_id for status in wanted for item in runner.items(status)]
            ids += [item.item_id for item in runner.items(Status.SUCCEEDED)][: int(succeeded)]
            runner.retry(ids, note="again", by="a life", succeeded=succeeded)

    def killed_at(self, failpoint: str, step: Step) -> None:
        """Do *step*, and die where it comes to *failpoint*."""
        failpoints.arm(failpoint, interposer.die)
        step()

    def reboot(self) -> None:
        """Let the machine have lost its power, with everything on its disk that had been written."""
        self._boots += 1
        boot = f"boot {self._boots} of a life"
        set_boot(boot)
        mark("boot", boot)

    def in_child(self, step: Step) -> None:
        """Do *step* in a process of its own, and wait for its end."""
        self.together(step)

    def together(self, *steps: Step) -> None:
        """Do each step in a process of its own, all at the same time; an error in one is an error."""
        for pid in [self._child(step) for step in steps]:
            _, status = os.waitpid(pid, 0)
            assert os.waitstatus_to_exitcode(status) != FAILED, "a process of the life failed"

    def _child(self, step: Step) -> int:
        pid = os.fork()
        if pid == 0:
            code = FAILED
            self._is_child = True
            try:
                self.do(step)
                code = 0
            except BaseException:  # noqa: BLE001 - a fork must not return into the life's other steps
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        return pid

    # --- Telling -----------------------------------------------------------------------------

    def _bound(self, runner: Runner, workers: int, window: int | None) -> None:
        mark("bound", runner.writer.session.number, workers, min(window or SLOTS, SLOTS))

    def _tell_all(self) -> None:
        for start_seq, fate in self._ended.items():
            mark("told", start_seq, fate.status, fate.result)
        self._ended.clear()
