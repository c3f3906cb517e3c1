"""What can befall the files of a log, by name. Each mutator damages a `Patient` in memory.

Invariant: a mutator draws from the generator that it is given and from nothing else, so a seed repeats
it. What it gives is a sentence about what it did; None where the log has nothing for it to damage.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tools.corrupting import bombs, pages
from tools.corrupting.pages import PAGE, SECTOR
from wal_runner.log.format import DATA_NAME, GATE_NAME, HEAD_NAME, IDENTITY_NAME, SCRATCH_SLOT_BYTES, SESSIONS_NAME


if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    from tools.corrupting.folders import Prepared

TRUE_OR_TYPED: Final = "true or typed"
"""The answers are those of the undamaged log, or an error of ours."""
DOUBT: Final = "doubt"
"""As above, and what only a slot knew may be in doubt instead."""
NO_REDO: Final = "no redo"
"""The log says something else by right (a record was added); it must stay bounded and redo nothing."""


@dataclass
class Patient:
    """The files of a log about to be damaged; *late* is done once the folder is on disk."""

    prepared: Prepared
    other: Prepared
    files: dict[str, bytearray]
    late: list[Callable[[Path], None]] = field(default_factory=list)

    @property
    def data(self) -> bytearray:
        """Give the content of data.mdb."""
        return self.files[DATA_NAME]

    def any_place(self, chance: random.Random) -> int:
        """Give a place in data.mdb, mostly where LMDB has something."""
        used = pages.used_pages(self.data) * PAGE
        return chance.randrange(used if chance.random() < 0.95 else len(self.data))  # noqa: PLR2004


@dataclass(frozen=True)
class Mutator:
    """A kind of damage, and what may come of it. *weight* says how often it is drawn."""

    name: str
    damage: Callable[[Patient, random.Random], str | None]
    expects: str
    weight: int


MUTATORS: dict[str, Mutator] = {}


def mutator(
    name: str, *, expects: str = TRUE_OR_TYPED, weight: int = 10
) -> Callable[[Callable[[Patient, random.Random], str | None]], Callable[[Patient, random.Random], str | None]]:
    """Register a mutator under *name*."""

    def register(
        damage: Callable[[Patient, random.Random], str | None],
    ) -> Callable[[Patient, random.Random], str | None]:
        MUTATORS[name] = Mutator(name, damage, expects, weight)
        return damage

    return register


def flip(content: bytearray, place: int, bit: int) -> None:
    """Turn one bit."""
    content[place] ^= 1 << bit


# --- data.mdb: bits and bytes -----------------------------------------------------------


@mutator("bit", weight=40)
def _bit(patient: Patient, chance: random.Random) -> str:
    place, bit = patient.any_place(chance), chance.randrange(8)
    flip(patient.data, place, bit)
    return f"bit {bit} of byte {place}"


@mutator("bit in a page header", weight=20)
def _header_bit(patient: Patient, chance: random.Random) -> str:
    page = chance.randrange(pages.META_PAGES, pages.used_pages(patient.data))
    place, bit = page * PAGE + chance.randrange(64), chance.randrange(8)
    flip(patient.data, place, bit)
    return f"bit {bit} of byte {place}"


@mutator("bit in a leaf", weight=30)
def _leaf_bit(patient: Patient, chance: random.Random) -> str | None:
    return _bit_in_node(patient, chance, pages.LEAF)


@mutator("bit in a value", weight=20)
def _value_bit(patient: Patient, chance: random.Random) -> str:
    page = chance.choice(pages.pages_of(patient.data, pages.LEAF))
    key, size, length = chance.choice(list(pages.nodes(patient.data, page)))
    # One that stands on pages of its own has but their number here.
    place, bit = key + size + chance.randrange(min(max(length, 1), PAGE // 2)), chance.randrange(8)
    place = min(place, len(patient.data) - 1)
    flip(patient.data, place, bit)
    return f"bit {bit} of byte {place}, page {page}"


@mutator("bit in a branch", weight=20)
def _branch_bit(patient: Patient, chance: random.Random) -> str | None:
    return _bit_in_node(patient, chance, pages.BRANCH)


def _bit_in_node(patient: Patient, chance: random.Random, kind: int) -> str | None:
    found = pages.pages_of(patient.data, kind)
    if not found:
        return None
    page = chance.choice(found)
    key, size, _ = chance.choice(list(pages.nodes(patient.data, page)))
    # Mostly in the key: a value has its checksum, and a key what LMDB makes of it.
    end = key + max(size, 1) if chance.random() < 0.7 else key + size + 40  # noqa: PLR2004
    place, bit = min(chance.randrange(key - pages.NODE_BYTES, end), len(patient.data) - 1), chance.randrange(8)
    flip(patient.data, place, bit)
    return f"bit {bit} of byte {place}, page {page}"


@mutator("bit in a meta page", weight=30)
def _meta_bit(patient: Patient, chance: random.Random) -> str:
    place, bit = chance.randrange(pages.META_PAGES) * PAGE + chance.randrange(16, 152), chance.randrange(8)
    flip(patient.data, place, bit)
    return f"bit {bit} of byte {place}"


@mutator("8 random bytes", weight=20)
def _bytes(patient: Patient, chance: random.Random) -> str:
    place = min(patient.any_place(chance), len(patient.data) - 8)
    patient.data[place : place + 8] = chance.randbytes(8)
    return f"bytes {place} to {place + 7}"


# --- data.mdb: sectors and pages ------------------------------------------------------------


@mutator("zeroed sector", weight=20)
def _zero_sector(patient: Patient, chance: random.Random) -> str:
    at = patient.any_place(chance) // SECTOR * SECTOR
    patient.data[at : at + SECTOR] = bytes(SECTOR)
    return f"sector at {at}"


@mutator("zeroed page", weight=20)
def _zero_page(patient: Patient, chance: random.Random) -> str:
    at = patient.any_place(chance) // PAGE * PAGE
    patient.data[at : at + PAGE] = bytes(PAGE)
    return f"page {at // PAGE}"


@mutator("another page", weight=20)
def _another_page(patient: Patient, chance: random.Random) -> str:
    used = pages.used_pages(patient.data)
    one, other = chance.randrange(used), chance.randrange(used)
    patient.data[one * PAGE : (one + 1) * PAGE] = patient.data[other * PAGE : (other + 1) * PAGE]
    return f"page {one} holds what page {other} does"


@mutator("another page, renumbered", weight=20)
def _renumbered_page(patient: Patient, chance: random.Random) -> str:
    used = pages.used_pages(patient.data)
    one, other = chance.randrange(pages.META_PAGES, used), chance.randrange(pages.META_PAGES, used)
    patient.data[one * PAGE + 8 : (one + 1) * PAGE] = patient.data[other * PAGE + 8 : (other + 1) * PAGE]
    return f"page {one} holds what page {other} does, under its own number"


@mutator("stale page", weight=30)
def _stale_page(patient: Patient, chance: random.Random) -> str | None:
    """Lose a write that the disk acknowledged: a page is as it was some commits ago."""
    choices = [
        (moment, page)
        for moment, (data, _) in enumerate(patient.prepared.kept)
        for page in range(pages.META_PAGES, min(pages.used_pages(data), pages.used_pages(patient.data)))
        if data[page * PAGE : (page + 1) * PAGE] != patient.data[page * PAGE : (page + 1) * PAGE]
    ]
    if not choices:
        return None
    moment, page = chance.choice(choices)
    patient.data[page * PAGE : (page + 1) * PAGE] = patient.prepared.kept[moment][0][page * PAGE : (page + 1) * PAGE]
    return f"page {page} as of moment {moment}"


@mutator("older meta page")
def _older_meta(patient: Patient, chance: random.Random) -> str:
    """Roll one commit back: the newer meta page is lost."""
    newest = pages.newest_meta(patient.data)
    at = newest * PAGE
    if chance.random() < 0.5:  # noqa: PLR2004
        patient.data[at + 144 : at + 152] = max(0, pages.transaction(patient.data, newest) - 2).to_bytes(8, "little")
        return f"meta page {newest} counts one transaction less"
    before = patient.prepared.kept[0][0] if patient.prepared.kept else bytes(PAGE * 2)
    patient.data[at : at + PAGE] = before[at : at + PAGE]
    return f"meta page {newest} as of moment 0"


# --- data.mdb: as a whole -----------------------------------------------------------------


@mutator("cut by a byte", weight=3)
def _cut_byte(patient: Patient, _chance: random.Random) -> str:
    del patient.data[-1:]
    return "the last byte"


@mutator("cut by a page", weight=3)
def _cut_page(patient: Patient, _chance: random.Random) -> str:
    del patient.data[-PAGE:]
    return "the last page"


@mutator("cut anywhere", weight=10)
def _cut(patient: Patient, chance: random.Random) -> str:
    size = patient.any_place(chance)
    del patient.data[size:]
    return f"to {size} bytes"


@mutator("cut into the used pages", weight=10)
def _cut_used(patient: Patient, chance: random.Random) -> str:
    size = chance.randrange(1, pages.used_pages(patient.data)) * PAGE
    del patient.data[size:]
    return f"to {size} bytes"


@mutator("emptied", weight=2)
def _empty(patient: Patient, _chance: random.Random) -> str:
    patient.data.clear()
    return "data.mdb"


@mutator("data gone", weight=2)
def _gone(patient: Patient, _chance: random.Random) -> str:
    del patient.files[DATA_NAME]
    return "data.mdb"


@mutator("data of another log", weight=4)
def _foreign_data(patient: Patient, _chance: random.Random) -> str:
    patient.files[DATA_NAME] = bytearray(patient.other.files[DATA_NAME])
    return f"that of {patient.other.name!r}"


@mutator("older data", weight=10)
def _older_data(patient: Patient, chance: random.Random) -> str | None:
    if not patient.prepared.kept:
        return None
    moment = chance.randrange(len(patient.prepared.kept))
    patient.files[DATA_NAME] = bytearray(patient.prepared.kept[moment][0])
    return f"as of moment {moment}"


# --- HEAD, IDENTITY, GATE --------------------------------------------------------------------


def _write(name: str, content: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return write


@mutator("HEAD gone", weight=3)
def _no_head(patient: Patient, _chance: random.Random) -> str:
    patient.late.append(lambda folder: (folder / HEAD_NAME).unlink())
    return "HEAD"


@mutator("HEAD torn", weight=5)
def _torn_head(patient: Patient, chance: random.Random) -> str:
    size = chance.randrange(len(patient.files[HEAD_NAME]))
    patient.late.append(lambda folder: os.truncate(folder / HEAD_NAME, size))
    return f"to {size} bytes"


@mutator("bit in HEAD", weight=8)
def _head_bit(patient: Patient, chance: random.Random) -> str:
    place, bit = chance.randrange(len(patient.files[HEAD_NAME])), chance.randrange(8)

    def turn(folder: Path) -> None:
        content = bytearray((folder / HEAD_NAME).read_bytes())
        flip(content, place, bit)
        (folder / HEAD_NAME).write_bytes(content)

    patient.late.append(turn)
    return f"bit {bit} of byte {place}"


@mutator("older HEAD", weight=5)
def _older_head(patient: Patient, chance: random.Random) -> str | None:
    if not patient.prepared.kept:
        return None
    moment = chance.randrange(len(patient.prepared.kept))
    patient.late.append(_write(HEAD_NAME, patient.prepared.kept[moment][1]))
    return f"as of moment {moment}"


@mutator("HEAD of another log", weight=4)
def _foreign_head(patient: Patient, _chance: random.Random) -> str:
    patient.late.append(_write(HEAD_NAME, patient.other.files[HEAD_NAME]))
    return f"that of {patient.other.name!r}"


@mutator("bit in IDENTITY", weight=8)
def _identity_bit(patient: Patient, chance: random.Random) -> str:
    content = patient.files[IDENTITY_NAME]
    place, bit = chance.randrange(len(content)), chance.randrange(8)
    flip(content, place, bit)
    return f"bit {bit} of byte {place}"


@mutator("IDENTITY of another log", weight=2)
def _foreign_identity(patient: Patient, _chance: random.Random) -> str:
    patient.files[IDENTITY_NAME] = bytearray(patient.other.files[IDENTITY_NAME])
    return f"that of {patient.other.name!r}"


@mutator("IDENTITY cut", weight=3)
def _identity_cut(patient: Patient, chance: random.Random) -> str:
    size = chance.randrange(len(patient.files[IDENTITY_NAME]))
    del patient.files[IDENTITY_NAME][size:]
    return f"to {size} bytes"


@mutator("IDENTITY gone", weight=2)
def _identity_gone(patient: Patient, _chance: random.Random) -> str:
    del patient.files[IDENTITY_NAME]
    return "IDENTITY"


@mutator("newer format", weight=2)
def _newer_format(patient: Patient, _chance: random.Random) -> str:
    patient.files[IDENTITY_NAME] = bytearray(patient.files[IDENTITY_NAME].replace(b"format 1", b"format 2"))
    return "IDENTITY says 2"


@mutator("GATE gone", weight=2)
def _gate_gone(patient: Patient, _chance: random.Random) -> str:
    del patient.files[GATE_NAME]
    return "GATE"


@mutator("GATE of junk", weight=2)
def _gate_junk(patient: Patient, chance: random.Random) -> str:
    patient.files[GATE_NAME] = bytearray(chance.randbytes(chance.randrange(100)))
    return "random bytes"


# --- Sessions and slots -----------------------------------------------------------------------


def _slots(patient: Patient) -> str | None:
    found = [name for name in patient.files if name.startswith("sessions/") and name.rpartition("/")[2].isdigit()]
    return found[0] if found else None


@mutator("session file gone", expects=DOUBT, weight=6)
def _session_gone(patient: Patient, chance: random.Random) -> str | None:
    found = [name for name in patient.files if name.startswith("sessions/")]
    if not found:
        return None
    name = chance.choice(found)
    del patient.files[name]
    return name


@mutator("sessions folder gone", expects=DOUBT, weight=3)
def _sessions_gone(patient: Patient, _chance: random.Random) -> str:
    for name in [name for name in patient.files if name.startswith("sessions/")]:
        del patient.files[name]
    patient.late.append(lambda folder: (folder / SESSIONS_NAME).rmdir())
    return "sessions"


@mutator("bit in the slots", expects=DOUBT, weight=30)
def _slot_bit(patient: Patient, chance: random.Random) -> str | None:
    name = _slots(patient)
    if name is None:
        return None
    content = patient.files[name]
    used = [at for at in range(0, len(content), SCRATCH_SLOT_BYTES) if any(content[at : at + SCRATCH_SLOT_BYTES])]
    at = chance.choice(used)
    # Mostly in the tag and the word, which say most.
    place, bit = at + chance.randrange(16 if chance.random() < 0.7 else SCRATCH_SLOT_BYTES), chance.randrange(8)  # noqa: PLR2004
    if at == 0:
        patient.late.append(lambda folder: _turn_file(folder / name, place, bit))
    else:
        flip(content, place, bit)
    return f"bit {bit} of byte {place} of {name}"


def _turn_file(path: Path, place: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1 << bit]))


@mutator("slots zeroed or moved", expects=DOUBT, weight=10)
def _slot_pages(patient: Patient, chance: random.Random) -> str | None:
    name = _slots(patient)
    if name is None:
        return None
    content = patient.files[name]
    one, other = chance.randrange(1, 8), chance.randrange(1, 8)
    size = chance.choice((SCRATCH_SLOT_BYTES, SECTOR, PAGE))
    moved = bytes(size) if chance.random() < 0.5 else content[other * size : (other + 1) * size]  # noqa: PLR2004
    content[one * size : (one + 1) * size] = moved
    return f"{size} bytes at {one * size} of {name}"


@mutator("slots cut", expects=DOUBT, weight=4)
def _slots_cut(patient: Patient, chance: random.Random) -> str | None:
    name = _slots(patient)
    if name is None:
        return None
    size = chance.randrange(len(patient.files[name]))
    patient.late.append(lambda folder: os.truncate(folder / name, size))
    return f"{name} to {size} bytes"


@mutator("bit in the large outcomes", expects=DOUBT, weight=8)
def _large_bit(patient: Patient, chance: random.Random) -> str | None:
    found = [name for name in patient.files if name.endswith(".large") and patient.files[name]]
    if not found:
        return None
    content = patient.files[found[0]]
    place, bit = chance.randrange(len(content)), chance.randrange(8)
    flip(content, place, bit)
    return f"bit {bit} of byte {place} of {found[0]}"


# --- What does not belong there -------------------------------------------------------------------

_STRAYS: Final = (
    "notes.txt",
    "data.mdb.rewrite",
    "lock.mdb",
    "HEAD.bak",
    "sessions/notes.txt",
    "sessions/7",
    "sessions/007",
    "sessions/7.large",
    "sessions/١٢",
    "sessions/4294967296",
    "sessions/18446744073709551615",
    "sessions/99999999999999999999999",
    "archive/1",
    "archive/junk",
)


@mutator("stray files", weight=10)
def _strays(patient: Patient, chance: random.Random) -> str:
    names = chance.sample(_STRAYS, chance.randrange(1, 4))
    for name in names:
        patient.files[name] = bytearray(chance.randbytes(chance.randrange(200)))
    return ", ".join(names)


@mutator("a folder for a file", weight=6)
def _folder_for_file(patient: Patient, chance: random.Random) -> str:
    name = chance.choice((DATA_NAME, HEAD_NAME, IDENTITY_NAME, GATE_NAME, "sessions/9", "data.mdb.rewrite"))
    patient.files.pop(name, None)
    patient.late.append(lambda folder: _make_folder(folder / name))
    return name


def _make_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


@mutator("archive cut", weight=2)
def _archive(patient: Patient, chance: random.Random) -> str:
    if chance.random() < 0.5:  # noqa: PLR2004
        patient.late.append(lambda folder: (folder / "archive").rmdir())
        return "no archive"
    patient.files["archive/1"] = bytearray(chance.randbytes(100))
    return "an archive of junk"


# --- Made by hand ---------------------------------------------------------------------------------


@mutator("bomb in a record", expects=NO_REDO, weight=12)
def _record_bomb(patient: Patient, chance: random.Random) -> str:
    name, payload = bombs.record(chance)
    patient.late.append(lambda folder: bombs.add_record(folder, payload))
    return name


@mutator("unknown event", expects=NO_REDO, weight=3)
def _unknown_event(patient: Patient, chance: random.Random) -> str:
    name, payload = bombs.unknown_event(chance)
    patient.late.append(lambda folder: bombs.add_record(folder, payload))
    return name


@mutator("bomb in a row", expects=NO_REDO, weight=8)
def _row_bomb(patient: Patient, chance: random.Random) -> str:
    name, body = bombs.body(chance)
    item_id = chance.choice(patient.prepared.items)
    patient.late.append(lambda folder: bombs.put_row(folder, item_id, body))
    return f"{name}, as {item_id[-8:]}"


@mutator("bomb in meta", expects=NO_REDO, weight=8)
def _meta_bomb(patient: Patient, chance: random.Random) -> str:
    name, body = bombs.body(chance)
    key = chance.choice(bombs.META_KEYS)
    patient.late.append(lambda folder: bombs.put_meta(folder, key, body))
    return f"{name}, as {key.decode()}"


@mutator("bomb in an open attempt", expects=NO_REDO, weight=4)
def _open_bomb(patient: Patient, chance: random.Random) -> str:
    name, body = bombs.body(chance)
    patient.late.append(lambda folder: bombs.put_open(folder, 3, body))
    return name
