"""Values made by hand whose checksums are right: what only an attacker, or a bug of ours, would write.

Invariant: written by LMDB itself into a sound file, so nothing but the reader of the value can notice.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import lmdb
import msgpack

from wal_runner.core.events import TYPE_NUMBERS, ItemStarted, ItemSucceeded
from wal_runner.log.codec import chained, record_count
from wal_runner.log.format import (
    CHAIN_BYTES,
    DATA_NAME,
    ITEMS_TABLE,
    LOG_TABLE,
    META_BASE,
    META_BASE_STATE,
    META_FORMAT,
    META_ROWS,
    META_SNAPSHOT,
    META_SNAPSHOTTER,
    META_TABLE,
    OPEN_TABLE,
    TABLES_MAX,
)
from wal_runner.log.rows import row_key, seal


if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from pathlib import Path

META_KEYS: Final = (META_FORMAT, META_BASE, META_BASE_STATE, META_SNAPSHOT, META_ROWS, META_SNAPSHOTTER)

LARGE_SHARE: Final = 0.02
"""A large one takes a hundred times as long as the rest."""

_MEGABYTE: Final = 1 << 20
_STARTED: Final = TYPE_NUMBERS[ItemStarted]
_SUCCEEDED: Final = TYPE_NUMBERS[ItemSucceeded]


def _pack(value: object) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


_BODIES: Final[dict[str, bytes]] = {
    "an array of 4 billion": b"\xdd\xff\xff\xff\xff",
    "a map of 4 billion": b"\xdf\xff\xff\xff\xff",
    "4 GB of bytes": b"\xc6\xff\xff\xff\xff",
    "4 GB of text": b"\xdb\xff\xff\xff\xff",
    "nested 100,000 deep": b"\x91" * 100_000 + b"\xc0",
    "nested 400 deep": b"\x91" * 400 + b"\xc0",
    "an ext type": b"\xc7\x03\x05abc",
    "a timestamp": b"\xd6\xff\x00\x00\x00\x01",
    "a map": _pack({"a": 1}),
    "text that is no UTF-8": b"\xa3\xff\xfe\xfd",
    "a number": b"\x07",
    "nothing": b"",
    "cut": b"\x93\x01",
    "too much": b"\x91\xc0\xc0",
    "an empty array": b"\x90",
    "an array of nil": b"\x98" + b"\xc0" * 8,
    "an array of big numbers": b"\x9d" + b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff" * 13,
    "an array of texts": _pack(["2", "3", "x", "", "y"]),
    "an array of arrays": _pack([[1, 2], [3], [], [[4]], 5]),
    "a float": _pack(1.5),
    "a row of no status": _pack([9, 3]),
    "a row of a long past": _pack([2, -5, -1]),
    "a result that is no msgpack": _pack([2, 3, 1, 0, 0, b"\xdd\xff\xff\xff\xff"]),
    "a result of nothing": _pack([2, 3, 1, 0, 0, b""]),
    "a result nested too deeply": _pack([2, 3, 1, 0, 0, b"\x91" * 5_000 + b"\xc0"]),
    "a result that is text": _pack([2, 3, 1, 0, 0, "x"]),
    "an error of numbers": _pack([2, 3, 1, 0, 9, None, None, [1, 2, 3]]),
}

_NILS: Final = b"\xdd\x01\x40\x00\x00"
"""The header of an array of 20 million elements."""

_LARGE_BODIES: Final[dict[str, Callable[[], bytes]]] = {
    # Made when they are wanted: what this process holds, each fork of it must map.
    "20 MB of nil": lambda: _NILS + b"\xc0" * (20 * _MEGABYTE),
    "20 MB of nil in small arrays": lambda: b"\xdc\x40\x00" + (b"\xdc\x04\xff" + b"\xc0" * 0x04FF) * 0x4000,
    "20 MB of empty arrays": lambda: _NILS + b"\x90" * (20 * _MEGABYTE),
    "a result of 20 MB of nil": lambda: _pack([2, 3, 1, 0, 0, _NILS + b"\xc0" * (20 * _MEGABYTE)]),
}


def body(chance: random.Random) -> tuple[str, bytes]:
    """Give a value to be sealed, and what it is."""
    if chance.random() < LARGE_SHARE:
        name = chance.choice(list(_LARGE_BODIES))
        return name, _LARGE_BODIES[name]()
    name = chance.choice(list(_BODIES))
    return name, _BODIES[name]


def record(chance: random.Random) -> tuple[str, bytes]:
    """Give the payload of a record, and what it is."""
    name, packed = body(chance)
    header = b"\x01\xcf\x17\x97\x9c\xfe\x36\x2a\x00\x00"
    shape = chance.choice(("itself", "an event", "a field", "a result", "an id"))
    match shape:
        case "itself":
            return name, packed
        case "an event":
            return f"{name}, as an event", b"\x93" + header + packed
        case "a field":
            return f"{name}, as a field", b"\x93" + header + b"\x93" + _pack(_SUCCEEDED) + packed + b"\x01"
        case "a result":
            # Well formed: an event whose result is not what encode_result gives.
            started = _pack([_STARTED, "bomb"])
            ended = b"\x94" + _pack(_SUCCEEDED) + b"\x01\x01" + _pack(packed)
            return f"{name}, as a result", b"\x94" + header + started + ended
        case _:
            return f"{name}, as an id", b"\x93" + header + b"\x92" + _pack(_STARTED) + packed


def unknown_event(chance: random.Random) -> tuple[str, bytes]:
    """Give a record with an event of a type that this version does not know."""
    number = chance.choice((0, 16, 17, 99, 2**40, -1))
    return f"type {number}", _pack([1, 1_700_000_000_000_000_000, [number, "x", 1]])


def add_record(folder: Path, payload: bytes) -> None:
    """Append a record whose chain is right."""
    with _table(folder, LOG_TABLE) as txn:
        cursor = txn.cursor()
        if cursor.last():
            key, value = cursor.item()
            seq, previous = int.from_bytes(key, "big") + record_count(value), value[:CHAIN_BYTES]
            txn.put(seq.to_bytes(8, "big"), chained(previous, seq, payload) + payload)


def put_row(folder: Path, item_id: str, packed: bytes) -> None:
    """Put a row whose checksum is right."""
    with _table(folder, ITEMS_TABLE) as txn:
        key = row_key(item_id)
        txn.put(key, seal(key, packed))


def put_meta(folder: Path, key: bytes, packed: bytes) -> None:
    """Put a value of meta whose checksum is right."""
    with _table(folder, META_TABLE) as txn:
        txn.put(key, seal(key, packed))


def put_open(folder: Path, start_seq: int, packed: bytes) -> None:
    """Put an open attempt whose checksum is right."""
    with _table(folder, OPEN_TABLE) as txn:
        key = start_seq.to_bytes(8, "big")
        txn.put(key, seal(key, packed))


@contextmanager
def _table(folder: Path, name: bytes) -> Iterator[lmdb.Transaction[bytes]]:
    env: Any = lmdb.open(
        str(folder / DATA_NAME),
        subdir=False,
        create=False,
        map_size=1 << 30,
        max_dbs=TABLES_MAX,
        sync=False,
        lock=False,
        lib_version=0,
    )
    try:
        with env.begin(write=True, db=env.open_db(name, create=False)) as txn:
            yield txn
    finally:
        env.close()
