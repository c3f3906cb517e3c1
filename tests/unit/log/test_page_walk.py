"""The walk over all pages: what misleads a look-up, or ends the process, is found before LMDB is let near it."""

import os
import struct
from contextlib import suppress
from itertools import islice

import lmdb
import pytest
from lmdb.verify import VerifyError

from wal_runner.log import structure
from wal_runner.log.page_walk import walk
from wal_runner.log.pages import used_bytes
from wal_runner.log.rows import seal
from wal_runner.log.structure import problems_of


KEYS = [f"item-{number:04}".encode() for number in range(1_500)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Give the bytes of a file with a tree of several branch keys."""
    path = tmp_path_factory.mktemp("branches") / "data.mdb"
    env = opened(path)
    table = env.open_db(b"items")
    with env.begin(write=True, db=table) as txn:
        for key in KEYS:
            txn.put(key, seal(key, b"1234"))
    env.close()
    return path.read_bytes()


@pytest.fixture
def path(tmp_path, whole):
    made = tmp_path / "data.mdb"
    made.write_bytes(whole)
    return made


def walked(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return walk(descriptor)
    finally:
        os.close(descriptor)


def used(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return used_bytes(descriptor)
    finally:
        os.close(descriptor)


def opened(path):
    return lmdb.open(str(path), subdir=False, max_dbs=4, lock=False, map_size=1 << 24, lib_version=0)


def missed(path):
    """Count the keys that a look-up does not find."""
    env = opened(path)
    table = env.open_db(b"items", create=False)
    with env.begin(db=table) as txn:
        count = sum(txn.get(key) is None for key in KEYS)
    env.close()
    return count


def branch_bytes(content):
    """Give the place of each byte of each key of the branch pages."""
    for start in range(8192, len(content), 4096):
        flags, lower = struct.unpack_from("<HH", content, start + 10)
        if flags == 1:
            for (offset,) in struct.iter_unpack("<H", content[start + 16 : start + lower]):
                (size,) = struct.unpack_from("<H", content, start + offset + 6)
                yield from range(start + offset + 8, start + offset + 8 + size)


def separators(content):
    """Yield the place of each key of a branch page but the first, and the last key of the page to its left."""
    for start in range(8192, len(content), 4096):
        if struct.unpack_from("<H", content, start + 10) == (1,):
            left, *others = nodes(content, start)
            for node in others:
                last = nodes(content, struct.unpack_from("<I", content, left)[0] * 4096)[-1]
                yield node + 8, content[last + 8 : last + 8 + struct.unpack_from("<H", content, last + 6)[0]]
                left = node


def nodes(content, start):
    """Return the places of the nodes of the page at *start*."""
    (lower,) = struct.unpack_from("<H", content, start + 12)
    return [start + offset for (offset,) in struct.iter_unpack("<H", content[start + 16 : start + lower])]


def test_sound_file_misleads_nobody(path):
    """The control: the pages are in order, and every key is found."""
    total = sum(int.from_bytes(seal(key, b"1234")[-4:], "little") for key in KEYS)

    assert ("", "", (len(KEYS), total)) == walked(path)
    assert [] == problems_of(path)
    assert 0 == missed(path)


def test_every_flipped_bit_of_a_branch_key_is_found_or_harmless(path, whole):
    """Where the walk of the pages finds nothing, either this does, or every look-up still finds its key."""
    found = harmless = 0
    for place in branch_bytes(whole):
        for bit in range(8):
            content = bytearray(whole)
            content[place] ^= 1 << bit
            path.write_bytes(content)
            if problems_of(path):
                found += 1
            else:
                harmless += 1
                assert 0 == missed(path), (place, bit)

    assert found > 100
    assert harmless > 0


def test_misleading_branch_is_invisible_to_a_walk(path, whole):
    """A bit that hides rows from look-ups, and that `lmdb.verify` and reading in order do not see."""
    from lmdb.verify import verify as walk  # noqa: PLC0415 - to be compared with, here only

    seen = 0
    for place in islice(branch_bytes(whole), 8, None):
        content = bytearray(whole)
        content[place] ^= 2
        path.write_bytes(content)
        if not walk(str(path), subdir=False) and missed(path):
            assert "a look-up seeks on another page" in walked(path).problem
            seen += 1

    assert seen


def test_separator_that_hides_the_key_left_of_it_is_found(path, whole):
    """A look-up of the very key that separates two pages goes to the right one; on the left it is not found."""
    seen = 0
    for place, last_key in separators(whole):
        content = bytearray(whole)
        content[place : place + len(last_key)] = last_key
        path.write_bytes(content)
        if missed(path):
            seen += 1
            assert problems_of(path), last_key

    assert seen > 5


@pytest.mark.parametrize("bit", [0, 1, 2, 4, 5, 6])
def test_flag_that_no_tree_of_ours_has_is_found(path, whole, bit):
    """LMDB notices it when it writes to the tree, by an assertion that ends the process."""
    for place in (44, 92):
        content = bytearray(whole)
        for meta in (0, 4096):
            content[meta + place] ^= 1 << bit
        path.write_bytes(content)

        assert problems_of(path), place


def test_used_bytes_reach_to_the_last_page_in_use(path, whole):
    """What is behind is room kept free."""
    path.write_bytes(whole + bytes(1 << 20))

    assert used(path) <= len(whole)
    assert used(path) > 20_000


@pytest.mark.parametrize(
    "content", [b"", b"x", b"\xff" * 10_000, bytes(10_000)], ids=["nothing", "a byte", "ones", "zeros"]
)
def test_used_bytes_of_something_else_are_none(path, content):
    """What does not say how large it is, is checked."""
    path.write_bytes(content)

    assert used(path) <= 4096
    assert problems_of(path)


def test_many_trees_are_found_below_a_branch(tmp_path):
    """A file of another program may hold more tables than one page names."""
    path = tmp_path / "data.mdb"
    env = lmdb.open(str(path), subdir=False, max_dbs=300, lock=False, map_size=1 << 24, lib_version=0)
    with env.begin(write=True) as txn:
        for number in range(300):
            txn.put(b"key", b"value", db=env.open_db(f"table-{number:03}".encode(), txn=txn))
    env.close()

    assert "" == walked(path).problem
    assert [] == problems_of(path)


def test_every_flipped_bit_of_a_small_file_is_found_or_harmless(tmp_path):
    """Whatever bit of whatever page: the walk finds it, or LMDB says so, or reads the same rows as before."""
    path = tmp_path / "data.mdb"
    keys = KEYS[:100]
    env = opened(path)
    table = env.open_db(b"items")
    with env.begin(write=True, db=table) as txn:
        for key in keys:
            txn.put(key, seal(key, b"1234"))
    env.close()
    whole = path.read_bytes()
    rows = {key: seal(key, b"1234") for key in keys}
    found = 0
    for place in range(0, len(whole), 13):
        content = bytearray(whole)
        content[place] ^= 1 << place % 8
        path.write_bytes(content)
        answer = walked(path)
        if answer.problem or answer.row_problem:
            found += 1
            continue
        with suppress(lmdb.Error), opened(path) as env, env.begin(db=env.open_db(b"items", create=False)) as txn:
            assert rows == dict(txn.cursor()), place

    assert found > 200


@pytest.mark.parametrize("error", [struct.error("short"), RecursionError(), MemoryError()])
def test_file_that_stops_the_walk_is_a_problem(path, monkeypatch, error):
    """Whatever the walk stumbles over: the caller hears of damage, and lives."""

    def fail(*_arguments, **_options):
        raise error

    monkeypatch.setattr(structure, "find_problems", fail)
    [problem] = problems_of(path)

    assert problem.startswith(f"its pages cannot be walked ({type(error).__name__}")


def test_walk_beside_commits_is_repeated_and_then_holds_the_lock(tmp_path, path, monkeypatch):
    """Pages of two states do not fit together: only a walk of one state counts."""
    (tmp_path / "GATE").touch(mode=0o600)
    walks = []
    really = structure.problems_of

    def and_commit(data):
        walks.append(data)
        found = really(data)
        os.utime(path, ns=(len(walks), len(walks)))
        return found

    monkeypatch.setattr(structure, "problems_of", and_commit)

    assert [] == structure.structural_problems(tmp_path)
    assert [path] * (structure.WALKS_MAX + 1) == walks


def test_walk_of_a_file_at_rest_happens_once(tmp_path, path, monkeypatch):
    """The control of the above."""
    (tmp_path / "GATE").touch(mode=0o600)
    walks = []
    monkeypatch.setattr(structure, "problems_of", lambda data: walks.append(data) or ["damaged"])

    assert ["damaged"] == structure.structural_problems(tmp_path)
    assert [path] == walks


def test_walk_of_a_missing_file_says_so(tmp_path):
    """It may have been deleted since the log was opened."""
    (tmp_path / "GATE").touch(mode=0o600)

    with pytest.raises(FileNotFoundError):
        structure.structural_problems(tmp_path)


def test_what_only_lmdb_verify_finds_is_a_problem(path, monkeypatch):
    """The second walk speaks by an exception."""

    def fail(*_arguments, **_options):
        raise VerifyError("page 3 is lost")

    monkeypatch.setattr(structure, "find_problems", fail)

    assert ["page 3 is lost"] == problems_of(path)
