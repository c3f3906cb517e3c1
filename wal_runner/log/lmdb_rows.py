"""Rows of the snapshot, looked up in LMDB behind the checks of their pages.

Imported by the LMDB engine. Invariant: a row is given only if its checksum fits, and "none" only if the pages on which
it would be were checked.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from wal_runner.log.format import KEY_TEXT_BYTES_MAX
from wal_runner.log.rows import check_all, row_key


if TYPE_CHECKING:
    from collections.abc import Sequence

    import lmdb

    from wal_runner.log.page_guard import PageGuard

FEW_IDS: Final = 8
UTF8_BYTES_MAX: Final = 4


def stored_rows(
    cursor: lmdb.Cursor[bytes], guard: PageGuard, ids: Sequence[str], *, is_clean: bool
) -> list[bytes | None]:
    """Return the stored rows of *ids*, checked. *is_clean* says that the transaction holds no uncommitted rows."""
    if guard.trusts_all and none_between(cursor, guard, ids):
        return [None] * len(ids)
    keys = [row_key(item_id) for item_id in ids] if _are_long(ids) else [item_id.encode() for item_id in ids]
    is_in_order = is_clean and _are_in_order(keys)
    if not guard.trusts_all:
        # Pages that were not checked are read once: to check them and to answer.
        if is_in_order and (walked := guard.rows_of(keys)) is not None:
            return walked
        if none_between(cursor, guard, ids):
            return [None] * len(ids)
    values = _walked(cursor, keys) if is_in_order and guard.trusts_all else None
    if values is None:
        guard.check_keys(keys)
        # set_key stays on the leaf page where it can; getmulti is no better.
        find, value_of = cursor.set_key, cursor.value
        values = [value_of() if find(key) else None for key in keys]
    check_all(keys, values)
    return values


def none_between(cursor: lmdb.Cursor[bytes], guard: PageGuard, ids: Sequence[str]) -> bool:
    """Return whether no row lies between the first and the last of *ids*, so that all are new.

    One look-up for the whole batch if ids come in order, as most do; if they do not, the answer is no, and nothing is
    lost.
    """
    if len(ids) < FEW_IDS or _are_long(ids):
        return False
    first = min(ids).encode()
    if not guard.trusts_all:
        guard.check_gap(first, max(ids).encode())
    return not cursor.set_range(first) or cursor.key() > max(ids).encode()


def _are_long(ids: Sequence[str]) -> bool:
    """Return whether one of *ids* may be too long to be its own key."""
    return max(map(len, ids), default=0) * UTF8_BYTES_MAX > KEY_TEXT_BYTES_MAX


def _are_in_order(keys: Sequence[bytes]) -> bool:
    """Return whether *keys* are many and in order, so that one walk may cover them.

    A key outside the walk would look as if it had no row, and its item would be done again.
    """
    return len(keys) >= FEW_IDS and keys[0] < keys[1] < keys[-1] and keys == sorted(keys)


def _walked(cursor: lmdb.Cursor[bytes], keys: Sequence[bytes]) -> list[bytes | None] | None:
    """Return the values of *keys*, which are in order, by one walk, or None if they lie too far apart.

    A rerun mostly asks for neighbours, and a walk gives a row in a third of the time of a look-up.
    """
    if not cursor.set_range(keys[0]):
        return None
    walked = list(islice(cursor.iternext(), len(keys)))
    if len(walked) == len(keys) and walked[-1][0] < keys[-1]:
        return None
    found = dict(walked)
    return [found.get(key) for key in keys]
