"""The states at a point: each may be left by a power cut, and none is left out that matters."""

from itertools import islice

from tests.powercut.test_disk import FILE, FOLDER, ROOT, entry
from tools.harness.states import Death, key_of, points, states
from tools.harness.stream import AT_ONCE_DURABLE, Kind


def life(*steps):
    """Give a life with a file in a folder, both durable, and then *steps*."""
    return [
        entry(Kind.MKDIR, inode=FOLDER, name="batch.wal"),
        entry(Kind.CREATE, folder=FOLDER, name="data.mdb"),
        entry(Kind.SYNC),
        entry(Kind.SYNC, inode=FOLDER),
        entry(Kind.SYNC, inode=ROOT),
        *steps,
    ]


def left_by(death, *steps):
    """Give the contents that *death* may leave of the file behind the last of *steps*; None where it is gone."""
    found = set()
    for point in points(life(*steps), ROOT):
        found = {
            state.images[FILE].content() if FILE in state.images else None
            for state in islice(states(point, "seed"), 2000)
            if state.death is death
        }
    return found


def test_what_was_synced_is_in_every_state():
    """A sync is a promise of the disk."""
    steps = [entry(Kind.WRITE, data=b"kept"), entry(Kind.SYNC), entry(Kind.WRITE, data=b"maybe", place=600)]

    found = left_by(Death.POWER, *steps)

    assert {b"kept", b"kept" + bytes(596) + b"maybe"} <= found
    assert all(content.startswith(b"kept") for content in found)


def test_writes_arrive_in_any_order():
    """The second may be there without the first."""
    steps = [entry(Kind.WRITE, data=b"1"), entry(Kind.WRITE, data=b"2", place=1)]

    assert {b"", b"1", b"\x002", b"12"} <= left_by(Death.POWER, *steps)


def test_write_is_torn_between_sectors():
    """Half of it may be there, either half, and the size without any of it."""
    found = left_by(Death.POWER, entry(Kind.WRITE, data=b"a" * 512 + b"b" * 512))

    assert {b"", b"a" * 512, bytes(512) + b"b" * 512, bytes(1024), b"a" * 512 + b"b" * 512} == found


def test_write_through_o_dsync_may_be_missing_only_while_it_runs():
    """When it has returned, it is there."""
    step = entry(Kind.WRITE, data=b"meta", flags=AT_ONCE_DURABLE)
    *_, while_it_runs, after = points(life(step), ROOT)

    assert {b"meta"} == left_by(Death.POWER, step)
    assert "data.mdb" not in str(after.disk.pending)
    assert while_it_runs.number + 1 == after.number


def test_kill_loses_nothing():
    """The kernel has what was written, and names as they were made."""
    steps = [
        entry(Kind.WRITE, data=b"1"),
        entry(Kind.RENAME, folder=FOLDER, name="data.mdb", new_name="x", place=FOLDER),
    ]

    assert {b"1"} == left_by(Death.KILL, *steps)


def test_states_depend_on_the_seed_alone():
    """The same seed draws the same states, however many are looked at."""

    def drawn(seed, count):
        *_, last = points(life(entry(Kind.WRITE, data=bytes(4000)), entry(Kind.WRITE, data=b"x", place=5000)), ROOT)
        return [key_of(state) for state in islice(states(last, seed), count)]

    assert drawn("a", 40)[:20] == drawn("a", 20)
    assert drawn("a", 40) != drawn("b", 40)
