"""Leaves whose rows are of one size, read without a step for each row."""

from contextlib import ExitStack

import lmdb
import pytest

from wal_runner.log.pages import PageDamaged, PageFile, read_meta
from wal_runner.log.rows import seal
from wal_runner.log.uniform_rows import HEAD_BYTES, uniform_rows


@pytest.fixture
def leaf_of(tmp_path):
    """Return a function: LMDB writes rows that fit one page; the page, its number and the file's reader come back."""
    path = tmp_path / "data.mdb"
    with ExitStack() as opened:

        def make(rows):
            with lmdb.open(str(path), subdir=False, map_size=1 << 20) as env, env.begin(write=True) as txn:
                for key, value in rows:
                    txn.put(key, value)
            descriptor = opened.enter_context(path.open("rb")).fileno()
            meta = read_meta(descriptor)
            file = PageFile(descriptor, meta.page_bytes)
            file.last_page = meta.last_page
            return file.page(meta.main.root), meta.main.root, file

        yield make


def _row(number, *, text="x"):
    key = f"item-{number:04}".encode()
    return key, seal(key, text.encode() * 5)


def _read(page, number, file):
    offsets, upper = file._offsets(page, number, 2)
    return uniform_rows(page, offsets, upper)


@pytest.mark.parametrize("text", ["x", "xy"])
@pytest.mark.parametrize("count", [1, 2, 60])
def test_rows_of_one_size_are_as_lmdb_stored_them(leaf_of, count, text):
    """Of even and of odd size: LMDB pads the odd ones."""
    rows = [_row(number, text=text) for number in range(count)]
    page, number, file = leaf_of(rows)

    assert ([key for key, _ in rows], [value for _, value in rows]) == _read(page, number, file)


@pytest.mark.parametrize(
    "rows",
    [
        [_row(number) for number in (2, 1, 3)],
        [_row(1), _row(2, text="xyz"), _row(3)],
        [_row(1), _row(2), (b"item-0003", b"without a checksum")],
    ],
    ids=["not appended", "of two sizes", "unsealed"],
)
def test_other_leaves_are_left_to_the_caller(leaf_of, rows):
    """They are read node by node, which also says what is wrong with them."""
    page, number, file = leaf_of(rows)

    assert _read(page, number, file) is None


def test_node_with_other_sizes_is_left_to_the_caller(leaf_of):
    """Key and value are as long together as those of the other nodes, so the checksum of the two fits."""
    rows = [_row(number) for number in range(3)]
    page, number, file = leaf_of(rows)
    head = len(page) - HEAD_BYTES - len(rows[0][0]) - len(rows[0][1]) - (len(rows[0][0]) + len(rows[0][1])) % 2
    changed = bytearray(page)
    changed[head] -= 1  # the size of the value
    changed[head + 6] += 1  # and of the key

    assert _read(page, number, file) is not None
    assert _read(bytes(changed), number, file) is None


def test_row_whose_checksum_does_not_fit_is_left_to_the_caller(leaf_of):
    """Sizes and order as in a sound leaf; one value has another checksum."""
    key, value = _row(3)
    page, number, file = leaf_of([_row(1), _row(2), (key, bytes(len(value)))])

    assert _read(page, number, file) is None


def test_flipped_bit_is_never_another_row(leaf_of):
    """Each bit of a leaf in turn: what is read is what was stored, or the page is refused."""
    rows = [_row(number) for number in range(5)]
    page, number, file = leaf_of(rows)
    stored = ([key for key, _ in rows], [value for _, value in rows])
    _, upper = file._offsets(page, number, 2)
    in_use = [*range((16 + 2 * len(rows)) * 8), *range(upper * 8, len(page) * 8)]
    wrong, refused = [], 0
    for bit in in_use:
        damaged = bytearray(page)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            answer = file.sealed_rows(bytes(damaged), number, None, None)
        except PageDamaged:
            refused += 1
        else:
            wrong += [] if answer == stored else [(bit, answer)]

    assert [] == wrong
    assert refused > len(rows) * (HEAD_BYTES + len(rows[0][0]) + len(rows[0][1])) * 8 * 0.9
