"""The copy that replaces data.mdb: it does so only if it says the same."""

import lmdb
import pytest

from tests.support.logs import make_log
from wal_runner import failpoints
from wal_runner.errors import LogCorrupt
from wal_runner.log.format import DATA_NAME, ITEMS_TABLE, LOG_TABLE, META_TABLE, REWRITE_NAME, TABLES_MAX
from wal_runner.recovery.compact import compact
from wal_runner.recovery.replay import replay


def change(txn):
    """Turn a bit of the last value."""
    cursor = txn.cursor()
    assert cursor.last()
    key, value = cursor.item()
    txn.put(key, bytes([value[0] ^ 1]) + value[1:])


def lose(txn):
    """Lose the last row."""
    cursor = txn.cursor()
    assert cursor.last()
    cursor.delete()


def add(txn):
    """Add a row behind the last one."""
    txn.put(b"\xff", b"more")


@pytest.mark.parametrize("how", [change, lose, add])
@pytest.mark.parametrize("name", [LOG_TABLE, ITEMS_TABLE, META_TABLE], ids=bytes.decode)
def test_copy_that_differs_never_replaces_the_log(log, name, how):
    """A disk that wrote something else than it was given costs the copy, and nothing of the log."""
    make_log(log)
    before = replay(log).counts
    inode = (log / DATA_NAME).stat().st_ino

    def spoil():
        env = lmdb.open(str(log / REWRITE_NAME), subdir=False, max_dbs=TABLES_MAX, lock=False, lib_version=0)
        with env.begin(write=True, db=env.open_db(name, create=False)) as txn:
            how(txn)
        env.close()

    failpoints.arm("compact.after_copy", spoil)
    with pytest.raises(LogCorrupt, match="differs from the log"):
        compact(log)

    assert inode == (log / DATA_NAME).stat().st_ino
    assert not (log / REWRITE_NAME).exists()
    assert before == replay(log).counts
