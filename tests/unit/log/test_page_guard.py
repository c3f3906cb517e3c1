"""Pages of a large log, checked when they are touched: by look-ups, walks, commits and compactions."""

import os
import random
import struct
import subprocess
import sys

import pytest

from tests.damage import dialect
from tools.corrupting import at_rest
from wal_runner import Runner
from wal_runner.errors import LogCorrupt
from wal_runner.log import structure
from wal_runner.log.format import GATE_NAME
from wal_runner.log.gate import Gate
from wal_runner.log.lmdb_data import DataFile
from wal_runner.log.pages import PageDamaged, free_pages, read_meta
from wal_runner.recovery.compact import compact
from wal_runner.recovery.verifying import verify


ITEMS = 40_000
IDS = [f"item-{number:08}" for number in range(ITEMS)]
NEW = [f"{item_id}+" for item_id in IDS[::50]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Build a log of 40,000 items that are done, above the size that each opening walks."""
    made = tmp_path_factory.mktemp("guard") / "large.wal"
    at_rest.build(made, ITEMS)
    return made


@pytest.fixture
def path(whole, tmp_path):
    """Copy the log as the disk would have it: HEAD remembers this very file."""
    made = tmp_path / "large.wal"
    made.mkdir(mode=0o700)
    for name in ("sessions", "archive"):
        (made / name).mkdir()
    for file in whole.iterdir():
        if file.is_file():
            (made / file.name).write_bytes(file.read_bytes())
    with dialect.beneath(made):
        pass
    return made


def run(path, items):
    """Run *items*, and return those that fn was called for."""
    called = []
    with Runner(path, must_exist=True) as runner:
        assert not runner.writer.log._data.guard.trusts_all
        runner.run(items, called.append, signals=False)
    return called


@pytest.mark.parametrize("order", ["in order", "shuffled", "one by one"])
def test_finished_items_are_found_and_new_ones_missed(path, order):
    """The control: nothing is damaged, and every look-up is right, however the ids come."""
    ids = sorted([*IDS, *NEW])
    if order == "shuffled":
        random.Random(1).shuffle(ids)  # noqa: S311 - it must be repeatable
    if order == "one by one":
        with Runner.open_read(path) as view:
            assert not [item_id for item_id in IDS[::500] if view.status(item_id).word != "succeeded"]
            assert not [item_id for item_id in NEW[::50] if view.status(item_id).word != "pending"]
        return

    assert sorted(run(path, ids)) == NEW
    assert [] == run(path, ids)
    assert [] == list(verify(path))


def test_rows_between_the_others_are_written(path):
    """Puts into pages that were checked, splits of them, and look-ups of what was just written."""
    with Runner(path, must_exist=True) as runner:
        for part in range(0, len(NEW), 200):
            runner.run(NEW[part : part + 200], lambda _item: "sent", signals=False)
            runner.writer.take_snapshot()
            assert runner.run(IDS[: 50 * part + 1_000], lambda _item: None, signals=False).succeeded == 0

    assert [] == list(verify(path))


def test_pages_of_other_processes_are_followed(path):
    """Another process commits: pages move, and what this one had checked is checked where it is now."""
    program = (
        "import sys\nfrom wal_runner import Runner\n"
        "with Runner(sys.argv[1], must_exist=True) as runner:\n"
        "    runner.run(sys.argv[2:], lambda item: None, signals=False)\n"
        "    runner.writer.take_snapshot()\n"
    )
    with Runner.open_read(path) as view:
        assert "succeeded" == view.status(IDS[0]).word
        for part in range(0, 90, 30):
            new = NEW[part : part + 30]
            subprocess.run([sys.executable, "-c", program, str(path), *new], check=True)

            assert {"succeeded"} == {view.status(item_id).word for item_id in (*new, *IDS[:: ITEMS // 300])}
            assert "pending" == view.status(NEW[200]).word


def test_compaction_checks_what_it_copies(path):
    """A sound log is compacted, and a damaged page is an error of ours before it is copied."""
    compact(path)

    assert [] == list(verify(path))
    assert [] == run(path, IDS)


def test_damaged_page_is_not_copied(path):
    """The copy would have new checks, and the damage would look as if it had been written."""
    places = dialect.leaf_keys(path, IDS[20_000].encode())
    with dialect.beneath(path):
        for place in places:
            dialect.turn(path, place + 6, bit=1)

    with pytest.raises(LogCorrupt, match="finished items would be done again"):
        compact(path)


def test_scan_stops_at_a_damaged_page(path):
    """A list of items would be short by one."""
    places = dialect.leaf_keys(path, IDS[20_000].encode())
    with dialect.beneath(path):
        for place in places:
            dialect.turn(path, place + 6, bit=1)

    with Runner.open_read(path) as view, pytest.raises(LogCorrupt):
        list(view.items())


@pytest.mark.parametrize(("place", "bit"), [(0, 7), (11, 6)], ids=["count", "page"])
def test_damaged_free_list_is_refused_at_the_opening(path, place, bit):
    """LMDB would copy more than there is, or write over a page that is in use."""
    content = (path / "data.mdb").read_bytes()
    descriptor = os.open(path / "data.mdb", os.O_RDONLY)
    meta = read_meta(descriptor)
    os.close(descriptor)
    page = meta.free.root * meta.page_bytes
    offset = int.from_bytes(content[page + 16 : page + 18], "little")
    value = page + offset + 16  # behind the node's header and its key
    with dialect.beneath(path):
        dialect.turn(path, value + place, bit=bit)

    with pytest.raises(LogCorrupt, match="free list"):
        Runner(path, must_exist=True)


@pytest.mark.parametrize(
    "numbers",
    [(), (1,), (2, 9, 9), (2, 8, 9), (1, 101), (1, 1)],
    ids=["nothing", "count", "twice", "order", "beyond", "meta"],
)
def test_free_list_that_lmdb_never_writes_is_refused(numbers):
    """A record says how many pages it names, and names them from the last to the first."""
    with pytest.raises(PageDamaged):
        free_pages(struct.pack(f"<{len(numbers)}Q", *numbers), 100)


def test_free_list_is_read():
    """The pages that a record names."""
    assert (9, 8) == free_pages(struct.pack("<3Q", 2, 9, 8), 100)


# --- The walk of a file that something else may have changed ----------------------------------------


def touch(path):
    os.utime(path / "data.mdb", ns=(1, 1))


def test_lock_is_free_during_the_walk(path, monkeypatch):
    """A log of gigabytes is walked for many seconds; others go on meanwhile."""
    touch(path)
    walked = []
    walk = DataFile.walk

    def and_look(data):
        gate = Gate(path / GATE_NAME, writable=False)
        try:
            with gate.held(0.5):
                walked.append(True)
        finally:
            gate.close()
        walk(data)

    monkeypatch.setattr(DataFile, "walk", and_look)
    with Runner(path, must_exist=True):
        pass

    assert [True] == walked


def test_walk_of_a_file_that_changed_meanwhile_is_repeated(path, monkeypatch):
    """A walk counts for the state that it saw; the last one holds the lock, so that it counts."""
    touch(path)
    walks = []
    walk = DataFile.walk

    def and_touch(data):
        walks.append(True)
        walk(data)
        if len(walks) <= structure.WALKS_MAX:
            os.utime(path / "data.mdb", ns=(len(walks) + 1, len(walks) + 1))

    monkeypatch.setattr(DataFile, "walk", and_touch)
    with Runner(path, must_exist=True):
        pass

    assert structure.WALKS_MAX + 1 == len(walks)


def test_damage_is_found_by_the_walk(path):
    """The file has another time than HEAD remembers: all rows are checked before the first fn."""
    for place in dialect.leaf_keys(path, IDS[20_000].encode()):
        dialect.turn(path, place + 6, bit=1)
    touch(path)

    with pytest.raises(LogCorrupt):
        Runner(path, must_exist=True)
