"""Other folders in the place of a log, between the deaths of its processes: moved, copied, cloned, restored.

Used by ``tools/kill_torture.py``. Invariant: what must be refused is asked in a process of its own, which opens the
log as any program does; a person accepts a copy once, and the judge then knows what may be repeated: what the ledger
saw after the backup that was restored, and nothing after a copy of the newest state.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.crash.child import Plan, refusal_file
from tests.crash.harness import held
from tests.crash.ledger import Ledger
from tests.crash.nursery import Child
from wal_runner import Runner
from wal_runner.log.filesystems import has_lasting_inodes
from wal_runner.log.format import DATA_NAME, HEAD_NAME
from wal_runner.log.head import read_head


if TYPE_CHECKING:
    import random
    from collections.abc import Callable

DEATHS: Final = ("", "session.before_commit", "recover.after_commit")
"""Where the process that accepts a copy dies, if it does: before its answer is on record, or after it."""

WHERE_A_REPLACED_FOLDER_SHOWS: Final = {
    "place not compared": "a copy is refused by 'nothing', and not by LogCopied",
    "place not kept": "a copy that was accepted is refused by 'LogCopied",
    "links not counted": "a clone of hard links is refused by 'nothing', and not by LogUnsafe",
}
"""What is said of each planted bug of the child that shows only here."""

_IN_DOUBT: Final = re.compile(r"([\d,]+) starts? would be in doubt here")

_COMMAND: Final = re.compile(r"`(cd .*)`", re.DOTALL)


class Changed(NamedTuple):
    """What was put in the place of a log, and what the judge must know of it."""

    way: str
    doubts: int | None = None
    """Number of items in doubt since then; None if no copy had to be accepted."""
    forgotten: int = 0
    """Effects that happened after the backup that was restored: the log cannot know them, and they come again."""


class Backup(NamedTuple):
    """A copy of the folder, and what the world and the judge knew when it was made."""

    folder: Path
    end: int
    ledger_bytes: int


@dataclass
class Places:
    """The folders that stand in the place of one log, one after the other."""

    plan: Plan
    chance: random.Random
    backup: Backup | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def are_known(self) -> bool:
        """Return whether the file system lets the library know a copy: on overlay and vfat it cannot."""
        return has_lasting_inodes(Path(self.plan.log).parent)

    @property
    def is_ahead_of_backup(self) -> bool:
        """Return whether HEAD proves that the log is newer than its backup. After a death in a commit it may not."""
        head = read_head(self._log / HEAD_NAME)
        return head is not None and self.backup is not None and head.seq > self.backup.end

    def back_up(self) -> None:
        """Copy the folder as it is."""
        folder = self._beside("backup")
        shutil.rmtree(folder, ignore_errors=True)
        _copy("-a", self._log, folder)
        self.backup = Backup(folder, _end(folder), self._ledger_bytes())

    def change(self) -> Changed:
        """Put another folder in the place of the log, and note in `problems` what was wrong."""
        ways: list[Callable[[], Changed]] = [self.move, self.copy, self.clone]
        if self.backup is not None:
            ways += [self.restore, self.go_back] if self.is_ahead_of_backup else [self.restore]
        return self.chance.choice(ways)()

    def move(self) -> Changed:
        """Rename the folder, open it there, and rename it back."""
        elsewhere = self._log.rename(self._beside("elsewhere"))
        self._expect("", elsewhere, "a renamed log")
        elsewhere.rename(self._log)
        self._expect("", self._log, "a log that was renamed back")
        return Changed("moved")

    def copy(self) -> Changed:
        """Replace the folder by a copy of it."""
        copy = self._beside("copy")
        _copy(self.chance.choice(("-r", "-a")), self._log, copy)
        return Changed("copied", self._replace_by(copy))

    def clone(self) -> Changed:
        """Make a copy of hard links; then let the clone or the original be the log."""
        clone = self._beside("clone")
        _copy("-al", self._log, clone)
        self._expect("LogUnsafe", self._log, "a log that has a clone of hard links")
        refusal = self._expect("LogUnsafe", clone, "a clone of hard links")
        command = _COMMAND.search(refusal)
        if command is None:
            self.problems.append(f"no command makes the clone single: {refusal}")
            return Changed("cloned")
        subprocess.run(["sh", "-c", command[1]], check=True)
        if self.chance.random() < 0.5:
            return Changed("cloned", self._replace_by(clone))
        if _has_run(clone):
            self._expect("LogCopied", clone, "a clone that was made single")
        shutil.rmtree(clone)
        self._expect("", self._log, "a log whose clone was made single")
        return Changed("cloned")

    def restore(self) -> Changed:
        """Replace the folder by the backup: what the ledger saw since is taken out of it, for it may come again."""
        assert self.backup is not None
        copy = self._beside("copy")
        _copy("-a", self.backup.folder, copy)
        ledger = Path(self.plan.ledger)
        before = sum(Ledger.read(ledger).ends().values())
        with Path(f"{ledger}.forgotten").open("ab") as forgotten:
            forgotten.write(ledger.read_bytes()[self.backup.ledger_bytes :])
        if ledger.exists():
            os.truncate(ledger, self.backup.ledger_bytes)
        after = sum(Ledger.read(ledger).ends().values())
        return Changed("restored", self._replace_by(copy), before - after)

    def go_back(self) -> Changed:
        """Put only the backup's data in place, see it refused, and put the newest one back."""
        assert self.backup is not None
        newest = (self._log / DATA_NAME).rename(self._beside("newest"))
        _copy("-a", self.backup.folder / DATA_NAME, self._log / DATA_NAME)
        self._expect("LogWentBack", self._log, "older data under a newer HEAD")
        newest.rename(self._log / DATA_NAME)
        self._expect("", self._log, "a log whose newest data was put back")
        return Changed("went back")

    def _replace_by(self, copy: Path) -> int | None:
        """Let *copy* be the log, and accept it once; return how many items are in doubt then."""
        shutil.rmtree(self._log)
        copy.rename(self._log)
        if not _has_run(self._log):
            # Its creator died before its first session: nothing was done at any place.
            self._expect("", self._log, "a log that never ran")
            return None
        on_record = held(self.plan)
        refusal = self._expect("LogCopied", self._log, "a copy")
        found = _IN_DOUBT.search(refusal)
        expected = on_record + (int(found[1].replace(",", "")) if found else 0)
        dies = self.chance.choice(DEATHS)
        self._accept(dies)
        if dies == "session.before_commit":
            self._expect("LogCopied", self._log, "a copy whose acceptance is not on record")
            self._accept("")
        self._expect("", self._log, "a copy that was accepted")
        if not self.problems and held(self.plan) != expected:
            self.problems.append(f"{held(self.plan)} items are in doubt, {expected} by the message: {refusal}")
        return expected

    def _accept(self, dies: str) -> None:
        Child(replace(self._opens, accept_copy=True, failpoint=dies)).death()

    def _expect(self, name: str, folder: Path, what: str) -> str:
        """Open *folder* in a process of its own, and note a problem unless it is refused by the error *name*."""
        Child(replace(self._opens, act="ask", log=str(folder))).death()
        refusal = refusal_file(self.plan).read_text()
        if refusal.partition(":")[0] != name:
            self.problems.append(f"{what} is refused by {refusal or 'nothing'!r}, and not by {name or 'nothing'}")
        return refusal

    @property
    def _opens(self) -> Plan:
        return replace(self.plan, act="open", failpoint="", hit=1, breaks=())

    @property
    def _log(self) -> Path:
        return Path(self.plan.log)

    def _beside(self, name: str) -> Path:
        return self._log.with_name(f"{name}.wal")

    def _ledger_bytes(self) -> int:
        ledger = Path(self.plan.ledger)
        return ledger.stat().st_size if ledger.exists() else 0


def _copy(how: str, source: Path, target: Path) -> None:
    subprocess.run(["cp", how, source, target], check=True)


def _end(folder: Path) -> int:
    with Runner.open_read(folder) as view:
        return view.state().seq


def _has_run(folder: Path) -> bool:
    with Runner.open_read(folder) as view:
        return bool(view.state().sessions)
