"""One trial: a prepared log, one damage, one look at it in a process of its own, one verdict.

Invariant: a trial is told by its seed and number alone; what it did can be done again.
"""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from tools.corrupting import judging, nursery
from tools.corrupting.examining import examine
from tools.corrupting.folders import LOGS, prepare
from tools.corrupting.mutators import MUTATORS, Patient
from wal_runner.errors import LogUnsafe
from wal_runner.log import structure
from wal_runner.log.format import ARCHIVE_NAME, DATA_NAME, HEAD_NAME, SESSIONS_NAME
from wal_runner.log.head import open_head, read_head, write_head
from wal_runner.log.host import boot_id
from wal_runner.log.scratch import _header


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tools.corrupting.examining import Answer
    from tools.corrupting.folders import Prepared
    from tools.corrupting.judging import Answers, Verdict

BENEATH: Final = "beneath"
"""The disk forgot: the folder is the very one, and size and time of data.mdb are as HEAD remembers."""
TOUCHED: Final = "touched"
"""A program wrote: the folder is the very one, and data.mdb has another time."""
COPIED: Final = "copied"
"""The folder is a copy of the one that ran; no slot of it is believed."""
LARGE: Final = "beneath a large log"
"""As beneath, and the log counts as one that is too large to be checked at each opening."""
WAYS: Final = (BENEATH, TOUCHED, COPIED, LARGE)

ASKED: Final = 4
AGAIN_EVERY: Final = 4
"""After so many trials one log is verified once more, after the run."""


@dataclass(frozen=True)
class Trial:
    """What was done to which log, and what came of it."""

    number: int
    log: str
    way: str
    mutator: str
    did: str
    verdict: Verdict
    seconds: float
    memory_bytes: int


class Clinic:
    """The prepared logs with their truths, and a folder in which one of them at a time is damaged.

    *plant* is called in each child before it looks: a control's bug. Trials come in the *ways* given here.
    """

    def __init__(self, home: Path, *, logs: Sequence[str] = tuple(LOGS), ways: Sequence[str] = WAYS) -> None:
        self.plant: Callable[[], None] = lambda: None
        self._folder = home / "patient"
        self._prepared = {name: prepare(name, home) for name in logs}
        self._other = prepare("clean", home, log_id="0f" * 16)
        self._truths: dict[tuple[str, str], list[Answers]] = {}
        nursery.settle_down()
        for name, prepared in self._prepared.items():
            for way in ways:
                self._truths[name, way] = [self._true_answers(prepared, way)]
                if prepared.unheard is not None:
                    before = replace(prepared, files={**prepared.files, DATA_NAME: prepared.unheard}, model={})
                    self._truths[name, way].append(self._true_answers(before, way))

    def trial(self, seed: object, number: int, mutators: Sequence[str] = (), ways: Sequence[str] = WAYS) -> Trial:
        """Do trial *number* of *seed*, with one of *mutators* or any."""
        chance = random.Random(f"{seed}/{number}")  # noqa: S311 - it must be repeatable
        way = chance.choice(ways)
        patient, name, did = self._damaged(chance, mutators or tuple(MUTATORS))
        prepared = patient.prepared
        self._lay_out(patient, way)
        asked = chance.sample(prepared.items, ASKED)
        end = self._look(prepared, asked, way, again=number % AGAIN_EVERY == 0)
        verdicts = [
            judging.judge(end, truth | {"read": _asked(truth["read"], asked)}, MUTATORS[name].expects)
            for truth in self._truths[prepared.name, way]
        ]
        verdict = min(verdicts, key=lambda verdict: judging.VERDICTS.index(verdict.word))
        return Trial(number, prepared.name, way, name, did, verdict, end.seconds, end.memory_bytes)

    def _damaged(self, chance: random.Random, names: Sequence[str]) -> tuple[Patient, str, str]:
        """Damage some log in some way; give it, the mutator's name, and what that did."""
        while True:
            prepared = self._prepared[chance.choice(list(self._prepared))]
            (name,) = chance.choices(names, [MUTATORS[name].weight for name in names])
            patient = Patient(prepared, self._other, {path: bytearray(it) for path, it in prepared.files.items()})
            did = MUTATORS[name].damage(patient, chance)
            if did is not None:
                return patient, name, did

    def _true_answers(self, prepared: Prepared, way: str) -> Answers:
        """Ask the undamaged log, and hold the answers against the model."""
        files = {path: bytearray(content) for path, content in prepared.files.items()}
        self._lay_out(Patient(prepared, prepared, files), way)
        end = self._look(prepared, prepared.items, way)
        assert end.value is not None, f"the undamaged log {prepared.name!r} ended the process"
        truth: Answers = end.value
        for stage, answer in truth.items():
            assert "value" in answer, f"{prepared.name}, {way}, {stage}: {answer['text']}"
        assert [] == truth["verify"]["value"] == truth["after"]["value"], (prepared.name, truth)
        ran = set(truth["run"]["called"])
        for item_id, (status, result) in prepared.model.items():
            told = truth["run"]["value"]["items"][item_id]
            expected = ("succeeded", {"now": item_id}) if status in {"failed", "pending"} else (status, result)
            if way == COPIED and prepared.crashed and told[0] == "in_doubt":
                continue  # only a slot knew better, and it is not believed in a copy
            assert (told[0], told[4]) == expected, f"{prepared.name}, {way}: {item_id} is {told}"
            assert (item_id in ran) == (status in {"failed", "pending"}), f"{prepared.name}: {item_id}"
        return truth

    def _look(self, prepared: Prepared, asked: Sequence[str], way: str, *, again: bool = True) -> nursery.End:
        def question() -> Answers:
            self.plant()
            if way == LARGE:
                vars(structure)["CHECK_ALWAYS_BYTES_MAX"] = 0
            return examine(self._folder, prepared.items, asked, again=again)

        return nursery.ask(question)

    def _lay_out(self, patient: Patient, way: str) -> None:
        """Write the patient's files, sealed to their new inodes as the *way* has it."""
        folder = self._folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        (folder / SESSIONS_NAME).mkdir()
        (folder / ARCHIVE_NAME).mkdir()
        for name, content in patient.files.items():
            with (folder / name).open("wb") as file:
                file.write(content)
        if way != COPIED:
            log_id = patient.prepared.files["IDENTITY"].split(b"log_id ")[1][:32].decode()
            for path in (folder / SESSIONS_NAME).iterdir():
                if path.name.isascii() and path.name.isdigit() and path.stat().st_size == _SLOTS_BYTES:
                    _seal_slots(path, log_id)
            if (folder / DATA_NAME).exists():
                _seal_head(folder, way, len(patient.prepared.files[DATA_NAME]))
        for late in patient.late:
            late(folder)
        if way in {BENEATH, LARGE} and patient.late and (folder / DATA_NAME).is_file() and _is_made_by_hand(patient):
            _seal_head(folder, way, (folder / DATA_NAME).stat().st_size)


_SLOTS_BYTES: Final = 524_416


def _is_made_by_hand(patient: Patient) -> bool:
    return bytes(patient.files.get(DATA_NAME, b"")) == patient.prepared.files[DATA_NAME]


def _seal_slots(path: Path, log_id: str) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.pwrite(descriptor, _header(descriptor, log_id, int(path.name), boot_id()), 0)
    finally:
        os.close(descriptor)


def _seal_head(folder: Path, way: str, size: int) -> None:
    """Let HEAD remember this very data.mdb, *size* bytes long; and its time, if no program wrote.

    Something else in HEAD's place is the damage itself, and stays.
    """
    try:
        witness = read_head(folder / HEAD_NAME)
    except LogUnsafe:
        return
    if witness is None:
        return
    found = (folder / DATA_NAME).stat()
    time_ns = 1 if way == TOUCHED else found.st_mtime_ns
    descriptor = open_head(folder / HEAD_NAME)
    try:
        write_head(descriptor, witness._replace(inode=found.st_ino, size=size, mtime_ns=time_ns))
    finally:
        os.close(descriptor)


def _asked(answer: Answer, asked: Sequence[str]) -> Answer:
    value = answer["value"]
    return {"value": value | {"asked": {item_id: value["asked"][item_id] for item_id in asked}}}
