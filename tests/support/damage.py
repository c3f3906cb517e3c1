"""What may befall a log on disk: bits turn, records and rows go missing, old copies come back.

Written with LMDB itself, below the engine; call while no handle of this process has the log open.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import lmdb

from wal_runner.log.codec import record_count
from wal_runner.log.format import DATA_NAME, HEAD_NAME, ITEMS_TABLE, LOG_TABLE, META_ROWS, META_TABLE, TABLES_MAX
from wal_runner.log.rows import SUM_MODULUS, pack, row_key, seal, stored_checksum, unseal


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def table(path: Path, name: bytes) -> Iterator[tuple[lmdb.Transaction[bytes], lmdb._Database]]:
    """Give a transaction on a table of the log at *path*."""
    env = lmdb.open(str(path / DATA_NAME), subdir=False, create=False, max_dbs=TABLES_MAX, lock=False, lib_version=0)
    try:
        database = env.open_db(name, create=False)
        with env.begin(write=True, db=database) as txn:
            yield txn, database
    finally:
        env.close()


def flip_byte(path: Path, *, seq: int, place: int = -1) -> None:
    """Turn a bit of the record that holds event *seq*."""
    with table(path, LOG_TABLE) as (txn, _):
        key, value = _record_with(txn, seq)
        txn.put(key, _flipped(value, place))


def drop_record(path: Path, *, seq: int) -> None:
    """Lose the record that holds event *seq*."""
    with table(path, LOG_TABLE) as (txn, _):
        txn.delete(_record_with(txn, seq)[0])


def drop_tail(path: Path, records: int) -> None:
    """Lose the last *records* records, as a rolled back commit would."""
    with table(path, LOG_TABLE) as (txn, _):
        for _ in range(records):
            cursor = txn.cursor()
            cursor.last()
            cursor.delete()


def flip_row(path: Path, item_id: str, place: int = -1) -> None:
    """Turn a bit of an item's row in the snapshot."""
    with table(path, ITEMS_TABLE) as (txn, _):
        key = row_key(item_id)
        txn.put(key, _flipped(txn.get(key) or b"", place))


def drop_row(path: Path, item_id: str) -> None:
    """Lose an item's row."""
    with table(path, ITEMS_TABLE) as (txn, _):
        assert txn.delete(row_key(item_id))


def swap_rows(path: Path, one: str, other: str) -> None:
    """Let two rows change places: each reads well where it is not."""
    with table(path, ITEMS_TABLE) as (txn, _):
        keys = row_key(one), row_key(other)
        values = [txn.get(key) or b"" for key in keys]
        for key, value in zip(keys, reversed(values), strict=True):
            txn.put(key, value)


def swap_rows_and_sums(path: Path, one: str, other: str) -> None:
    """Let two items change places as an attacker would: each row sealed for its place, and the sum made to fit."""
    with table(path, ITEMS_TABLE) as (txn, _):
        keys = row_key(one), row_key(other)
        bodies = [unseal(key, txn.get(key) or b"") for key in keys]
        for key, body in zip(keys, reversed(bodies), strict=True):
            txn.put(key, seal(key, body))
    fit_sums(path)


def fit_sums(path: Path) -> None:
    """Make the count and the sum of the rows fit what is there."""
    with table(path, ITEMS_TABLE) as (txn, _):
        values = [value for _, value in txn.cursor()]
    total = sum(map(stored_checksum, values)) % SUM_MODULUS
    put_meta(path, META_ROWS, pack(META_ROWS, (len(values), total)))


def put_row(path: Path, key: bytes, value: bytes) -> None:
    """Put a row as it is."""
    with table(path, ITEMS_TABLE) as (txn, _):
        txn.put(key, value)


def put_meta(path: Path, key: bytes, value: bytes | None) -> None:
    """Put what the snapshot says of itself as it is, or lose it."""
    with table(path, META_TABLE) as (txn, _):
        if value is None:
            txn.delete(key)
        else:
            txn.put(key, value)


def get_meta(path: Path, key: bytes) -> bytes:
    """Read what the snapshot says of itself."""
    with table(path, META_TABLE) as (txn, _):
        value = txn.get(key)
    assert value is not None
    return value


def flip_file(path: Path, place: int, bit: int = 0) -> None:
    """Turn a bit of data.mdb, whatever LMDB keeps there."""
    data = path / DATA_NAME
    content = bytearray(data.read_bytes())
    content[place] ^= 1 << bit
    data.write_bytes(content)


def forget_head(path: Path) -> None:
    """Lose the witness."""
    (path / HEAD_NAME).unlink(missing_ok=True)


def _record_with(txn: lmdb.Transaction[bytes], seq: int) -> tuple[bytes, bytes]:
    for key, value in txn.cursor():
        first = int.from_bytes(key, "big")
        if first <= seq < first + record_count(value):
            return key, value
    raise AssertionError(f"no record holds event {seq}")


def _flipped(value: bytes, place: int) -> bytes:
    content = bytearray(value)
    content[place] ^= 1
    return bytes(content)
