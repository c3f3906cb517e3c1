"""Scratch slots: they tell of a start what is true of it, or nothing; and nothing is doubt."""

import errno
import fcntl
import os
import struct
import subprocess
import sys
import threading
import zlib
from itertools import combinations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wal_runner.core.arrays import to_array
from wal_runner.core.error_info import ErrorInfo
from wal_runner.core.events import ItemFailed, ItemInterrupted, ItemReleased, ItemSucceeded
from wal_runner.errors import DiskFull, LogClosed, LogForked
from wal_runner.log import scratch
from wal_runner.log.format import SCRATCH_SLOT_BYTES, SCRATCH_SLOTS
from wal_runner.log.scratch import PAYLOAD_BYTES_MAX, SCRATCH_BYTES, Remains, Scratch, allocate, read_remains


HOME = {"log_id": "ab" * 16, "session": 7, "boot": "b0071d"}
ARMED = Remains(begun=False)
BEGUN = Remains(begun=True)

ERROR = ErrorInfo("builtins.OSError", "no route to host " * 10)

# One for each code that a slot may hold; the large ones stand beside it.
OUTCOMES = {
    "succeeded": ItemSucceeded(40, 5),
    "succeeded inline": ItemSucceeded(40, 5, b"\xa2ok"),
    "succeeded, result empty": ItemSucceeded(40, 5, b""),
    "succeeded, result omitted": ItemSucceeded(40, 5, None, "too large"),
    "failed inline": ItemFailed(40, 5, ErrorInfo("E", "m")),
    "interrupted inline": ItemInterrupted(40, 5, "Ctrl-C"),
    "succeeded beside": ItemSucceeded(40, 5, b"r" * 200),
    "failed beside": ItemFailed(40, 5, ERROR),
    "interrupted beside": ItemInterrupted(40, 5, "Ctrl-C", ERROR),
}


class Slots:
    """A session's file, and what is read back from it."""

    def __init__(self, folder, *, shared=True):
        self.path, self.beside = folder / "7", folder / "7.large"
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        self.scratch = Scratch(self.descriptor, self.beside, shared=shared, **HOME)

    def remains(self, **home):
        """Read what the next process would, of this session or of another *home*."""
        return read_remains(self.path, self.beside, **{**HOME, **home})

    def start(self, start_seq, outcome=None, *, begun=True):
        """Arm a slot for a start, and let it begin and end; give the slot."""
        [slot] = self.scratch.take(1)
        self.scratch.arm(slot, start_seq)
        if begun:
            self.scratch.begin(slot, start_seq)
        if outcome is not None:
            self.scratch.finish(slot, start_seq, outcome)
        return slot

    def bytes_of(self, slot):
        """Give where a slot stands in the file."""
        return (slot + 1) * SCRATCH_SLOT_BYTES

    def flip(self, place, bit):
        """Turn a bit of the file."""
        byte = os.pread(self.descriptor, 1, place)[0] ^ 1 << bit
        os.pwrite(self.descriptor, bytes([byte]), place)


@pytest.fixture(params=[True, False], ids=["mapped", "written"])
def slots(request, tmp_path):
    """Give slots in mapped memory, and slots that are written by pwrite: both say the same."""
    made = Slots(tmp_path, shared=request.param)
    yield made
    made.scratch.close()
    os.close(made.descriptor)


# --- What the next process reads ----------------------------------------------------------


def test_new_file_says_nothing(slots):
    """No slot speaks of a start that there was not; the file has all its bytes from the beginning."""
    assert {} == slots.remains()
    assert SCRATCH_BYTES == slots.path.stat().st_size
    assert SCRATCH_BYTES <= slots.path.stat().st_blocks * 512


def test_armed_and_begun(slots):
    """A start whose fn did not begin is known as such; from `begin` on it is not."""
    slots.start(10, begun=False)
    slots.start(20)

    assert {10: ARMED, 20: BEGUN} == slots.remains()


def test_many_are_armed_at_once(slots):
    """A window of starts, whose seqs follow each other, is armed in one go."""
    taken = slots.scratch.take(5)
    slots.scratch.arm_all(taken, 100)

    assert dict.fromkeys(range(100, 105), ARMED) == slots.remains()


@pytest.mark.parametrize("outcome", OUTCOMES.values(), ids=OUTCOMES)
def test_outcome_is_kept_whole(slots, outcome):
    """Each outcome comes back with its result or error, inline or from the file beside."""
    slots.start(40, outcome)

    assert {40: Remains(begun=True, outcome=outcome)} == slots.remains()


@pytest.mark.parametrize("size", range(PAYLOAD_BYTES_MAX - 20, PAYLOAD_BYTES_MAX + 4))
def test_result_of_any_size_is_kept(slots, size):
    """Around the most that a slot holds, inline turns into beside without a gap."""
    outcome = ItemSucceeded(40, 5, b"r" * size)
    slots.start(40, outcome)

    assert {40: Remains(begun=True, outcome=outcome)} == slots.remains()


@given(
    outcome=st.one_of(
        st.builds(ItemSucceeded, st.just(40), st.integers(0, 2**63), st.none() | st.binary(max_size=300)),
        st.builds(
            ItemFailed,
            *(st.just(40), st.integers(0, 2**63), st.builds(ErrorInfo, st.text(), st.text(), st.text())),
            *(st.integers(0, 2**63), st.integers(0, 2**63), st.booleans()),
        ),
    )
)
def test_any_outcome_is_kept(tmp_path_factory, outcome):
    """Whatever the outcome holds, what is read is what was kept."""
    made = Slots(tmp_path_factory.mktemp("slots"))
    made.start(40, outcome)

    assert {40: Remains(begun=True, outcome=outcome)} == made.remains()
    made.scratch.close()
    os.close(made.descriptor)


def test_large_outcomes_of_many_threads_do_not_mix(slots):
    """Workers end at the same time; each outcome stands where no other does."""
    outcomes = {seq: ItemSucceeded(seq, seq, bytes([seq]) * (200 + 10 * seq)) for seq in range(1, 60)}
    threads = [threading.Thread(target=slots.start, args=(seq, outcome)) for seq, outcome in outcomes.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {seq: Remains(begun=True, outcome=outcome) for seq, outcome in outcomes.items()} == slots.remains()


def test_freed_slot_serves_another_start(slots):
    """Slots go round; what one said of an older start is gone when it is armed anew."""
    for turn in range(3):
        taken = slots.scratch.take(SCRATCH_SLOTS)
        assert 0 == slots.scratch.free_slots()
        slots.scratch.arm_all(taken, turn * SCRATCH_SLOTS + 1)
        slots.scratch.free(taken)

    assert dict.fromkeys(range(2 * SCRATCH_SLOTS + 1, 3 * SCRATCH_SLOTS + 1), ARMED) == slots.remains()


def test_room_beside_is_used_again(slots):
    """When no slot refers to the file beside any more, it begins anew: it does not grow for ever."""
    for turn in range(5):
        outcome = ItemSucceeded(40 + turn, 5, b"r" * 5_000)
        slots.scratch.free([slots.start(40 + turn, outcome)])

        assert Remains(begun=True, outcome=outcome) == slots.remains()[40 + turn]
    assert slots.beside.stat().st_size < 2 * 5_100
    assert 0o600 == slots.beside.stat().st_mode & 0o777


def test_room_beside_is_bounded_while_workers_take_turns(slots):
    """Some outcome always waits for its commit; the file is as large as what waits, not as what has passed."""
    waiting = []
    for seq in range(40, 80):
        outcome = ItemSucceeded(seq, 5, bytes([seq]) * (1 << 20))
        waiting.append((seq, outcome, slots.start(seq, outcome)))
        if len(waiting) > 3:
            slots.scratch.free([waiting.pop(0)[2]])
    remains = slots.remains()

    assert [Remains(begun=True, outcome=outcome) for _, outcome, _ in waiting] == [remains[seq] for seq, *_ in waiting]
    assert slots.beside.stat().st_size < 17 << 20


def test_several_of_the_largest_results_stand_beside(slots):
    """Results of 32 MiB that end between two commits are kept past our death."""
    outcomes = {seq: ItemSucceeded(seq, 5, bytes([seq]) * (32 << 20)) for seq in (40, 41, 42)}
    for seq, outcome in outcomes.items():
        slots.start(seq, outcome)

    assert {seq: Remains(begun=True, outcome=outcome) for seq, outcome in outcomes.items()} == slots.remains()


def test_disarmed_slot_says_nothing(slots):
    """A start that was not committed must not be spoken of: its seq may be given to another."""
    slot = slots.start(10, begun=False)
    slots.scratch.disarm([slot])

    assert {} == slots.remains()
    assert SCRATCH_SLOTS == slots.scratch.free_slots()


# --- Nothing is believed that is not surely so --------------------------------------------------


def test_file_of_another_life_is_not_believed(slots):
    """Another log, session or boot, or an unknown boot: what the slots say is of no start of ours."""
    slots.start(10, begun=False)
    slots.start(40, OUTCOMES["succeeded"])

    assert {} == slots.remains(log_id="cd" * 16)
    assert {} == slots.remains(session=8)
    assert {} == slots.remains(boot="another")
    assert {} == slots.remains(boot="")
    assert 2 == len(slots.remains())


def test_copied_file_is_not_believed(slots, tmp_path):
    """A restored backup or a `cp -r` is another inode: its marks are those of another life."""
    slots.start(10, begun=False)
    copy = tmp_path / "copy"
    copy.write_bytes(slots.path.read_bytes())

    assert {} == read_remains(copy, slots.beside, **HOME)


@pytest.mark.parametrize("size", [0, 10, SCRATCH_SLOT_BYTES, SCRATCH_BYTES - 1])
def test_file_cut_short_is_not_believed(slots, size):
    """A session file that lost its end, or never had one, says nothing."""
    slots.start(10, begun=False)
    os.truncate(slots.path, size)

    assert {} == slots.remains()


def test_missing_file_says_nothing(slots, tmp_path):
    """No file, no evidence."""
    assert {} == read_remains(tmp_path / "none", slots.beside, **HOME)


def test_every_flipped_bit_of_the_header_is_noticed(slots):
    """A header that is not exactly the one of this life makes the whole file say nothing."""
    slots.start(10, begun=False)
    for place in range(struct.calcsize("<8s16s16sQQQ") + 4):
        for bit in range(8):
            slots.flip(place, bit)
            assert {} == slots.remains()
            slots.flip(place, bit)

    assert {10: ARMED} == slots.remains()


def test_codes_differ_in_many_bits():
    """No single turned bit, nor seven, makes one code into another."""
    codes = [scratch._ARMED, scratch._BEGUN, scratch._SUCCEEDED]
    codes += [scratch._SUCCEEDED_INLINE, scratch._EVENT_INLINE, scratch._EVENT_BESIDE]

    assert all((one ^ other).bit_count() >= 8 for one, other in combinations(codes, 2))
    assert all(code.bit_count() >= 8 for code in codes), "and none is near an empty slot"


def test_flipped_bit_never_turns_begun_into_anything_else(slots):
    """Whichever bit of any tag turns, a start whose fn began is begun or not spoken of: in doubt."""
    begun = slots.start(20)
    others = [slots.start(10, begun=False), slots.start(40, OUTCOMES["succeeded"])]
    # These differ from 20 in one bit, so that a turned bit makes their slots speak of it.
    others += [slots.start(20 ^ 1 << bit, begun=False) for bit in range(8)]
    for slot in [begun, *others]:
        for place in range(slots.bytes_of(slot), slots.bytes_of(slot) + 8):
            for bit in range(8):
                slots.flip(place, bit)
                assert slots.remains().get(20, BEGUN) == BEGUN
                slots.flip(place, bit)


@pytest.mark.parametrize("name", [name for name in OUTCOMES if name != "succeeded"])
def test_flipped_bit_never_changes_an_outcome(tmp_path, name):
    """Whichever bit of a slot or of the file beside it turns, the outcome is whole, or in doubt."""
    slots = Slots(tmp_path)
    whole = Remains(begun=True, outcome=OUTCOMES[name])
    slot = slots.start(40, OUTCOMES[name])
    for place in range(slots.bytes_of(slot), slots.bytes_of(slot) + SCRATCH_SLOT_BYTES):
        for bit in range(8):
            slots.flip(place, bit)
            assert slots.remains().get(40, BEGUN) in {whole, BEGUN}
            slots.flip(place, bit)
    content = slots.beside.read_bytes() if slots.beside.exists() else b""
    for place in range(len(content)):
        slots.beside.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        assert {40: BEGUN} == slots.remains()
    slots.scratch.close()
    os.close(slots.descriptor)


def test_lost_file_beside_is_doubt(slots):
    """An outcome that is not there any more is not made up."""
    slots.start(40, OUTCOMES["failed beside"])
    slots.beside.unlink()

    assert {40: BEGUN} == slots.remains()


@pytest.mark.parametrize("second", [ARMED, OUTCOMES["succeeded"]], ids=["armed", "succeeded"])
def test_two_slots_that_name_one_start_are_doubt(slots, second):
    """They contradict each other, so nobody knows; not even where both say the same."""
    for _ in range(3):
        slots.start(40, None if second is ARMED else second, begun=second is not ARMED)

    assert {40: BEGUN} == slots.remains()


def stored(code, payload, *, start_seq=40, size=None, crc=None):
    """Give the bytes of a slot as nobody of ours writes them."""
    word = (len(payload) if size is None else size) << 32 | (zlib.crc32(payload) if crc is None else crc)
    return struct.pack("<QQ", start_seq << 16 | code, word) + payload


BESIDE_NOWHERE = struct.pack("<QQI", 2**63, 2**62, 0)
STRANGE = {
    "unknown code": stored(0x1234, b""),
    "inline of nothing": stored(scratch._SUCCEEDED_INLINE, b""),
    "inline too short": stored(scratch._SUCCEEDED_INLINE, b"1234567"),
    "event of nothing": stored(scratch._EVENT_INLINE, b""),
    "beside of nothing": stored(scratch._EVENT_BESIDE, b""),
    "beside too short": stored(scratch._EVENT_BESIDE, b"x" * 19),
    "beside, and far off": stored(scratch._EVENT_BESIDE, BESIDE_NOWHERE),
    "size beyond the slot": stored(scratch._EVENT_INLINE, b"x" * 10, size=2**31),
    "no msgpack": stored(scratch._EVENT_INLINE, b"\xc1"),
    "no event": stored(scratch._EVENT_INLINE, msgpack.packb("event")),
    "a map": stored(scratch._EVENT_INLINE, b"\xdf\xff\xff\xff\xff"),
    "another event": stored(scratch._EVENT_INLINE, msgpack.packb(to_array(40, ItemReleased(40)))),
    "another start": stored(scratch._EVENT_INLINE, msgpack.packb(to_array(41, ItemFailed(40, 5, ErrorInfo("E", "m"))))),
    "event of a newer version": stored(scratch._EVENT_INLINE, msgpack.packb([99, 0, 5])),
    "wrong fields": stored(scratch._EVENT_INLINE, msgpack.packb([5, 0, "5"])),
}


@pytest.mark.parametrize("content", STRANGE.values(), ids=STRANGE)
def test_strange_slot_is_doubt(slots, content):
    """Whatever does not fit together, checksum or not, says "begun" and raises nothing: recovery goes on."""
    os.pwrite(slots.descriptor, content, slots.bytes_of(0))

    assert {40: BEGUN} == slots.remains()


@given(st.binary(max_size=SCRATCH_SLOT_BYTES))
def test_any_bytes_in_a_slot_are_read(tmp_path_factory, content):
    """Whatever stands in a slot, reading it gives remains and raises nothing."""
    made = Slots(tmp_path_factory.mktemp("slots"))
    os.pwrite(made.descriptor, content, made.bytes_of(0))

    assert len(made.remains()) <= 1
    made.scratch.close()
    os.close(made.descriptor)


# --- A full disk, closing, forking ------------------------------------------------------------------


def test_outcome_that_cannot_be_kept_is_doubt(slots, monkeypatch):
    """With a full disk the outcome is still known to the run; only its copy for after a crash is not kept."""
    slot = slots.start(40)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    slots.scratch.finish(slot, 40, OUTCOMES["failed beside"])
    monkeypatch.undo()

    assert {40: BEGUN} == slots.remains()
    slots.scratch.finish(slot, 40, OUTCOMES["failed beside"])
    assert {40: Remains(begun=True, outcome=OUTCOMES["failed beside"])} == slots.remains()


def test_beginning_that_cannot_be_marked_is_not_silent(tmp_path, monkeypatch):
    """A slot that went on saying "armed" while fn runs would release the item after a crash."""
    made = Slots(tmp_path, shared=False)
    slot = made.start(40, begun=False)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(DiskFull, match="space"):
        made.scratch.begin(slot, 40)


@pytest.mark.parametrize("name", OUTCOMES)
def test_death_before_the_mark_is_doubt(slots, name):
    """The mark is stored last: whatever stands in the slot by then, it says "begun" until it stands too."""

    class Died(Exception):
        """The process died here."""

    class Dying:
        """The words of the slots, up to the mark of an outcome."""

        def __setitem__(self, place, word):
            if place == at and word & 0xFFFF != begun:
                raise Died
            words[place] = word

    slot = slots.start(40)
    words, at = slots.scratch._words, (slot + 1) * SCRATCH_SLOT_BYTES // 8
    begun = scratch._BEGUN
    slots.scratch._words = Dying()
    with pytest.raises(Died):
        slots.scratch.finish(slot, 40, OUTCOMES[name])
    slots.scratch._words = words

    assert {40: BEGUN} == slots.remains()
    word = os.pread(slots.descriptor, 8, slots.bytes_of(slot) + 8)
    assert bytes(8) != word, "and all else stood already"


def test_closed_slots_take_nothing(slots):
    """After the session's end no fn begins under it."""
    slot = slots.start(40)
    slots.scratch.close()

    with pytest.raises(LogClosed):
        slots.scratch.begin(slot, 40)
    with pytest.raises(LogClosed):
        slots.scratch.arm_all([slot], 41)
    assert {40: BEGUN} == slots.remains()


def test_disowned_slots_take_nothing(slots):
    """In a forked child the slots are the parent's, and the child says so."""
    slot = slots.start(40)
    slots.scratch.disown()
    for store in (
        lambda: slots.scratch.arm(slot, 41),
        lambda: slots.scratch.begin(slot, 41),
        lambda: slots.scratch.finish(slot, 41, OUTCOMES["succeeded"]),
        lambda: slots.scratch.finish(slot, 41, OUTCOMES["succeeded inline"]),
    ):
        with pytest.raises(LogForked):
            store()
    assert {40: BEGUN} == slots.remains()


PROGRAM = """
import os, signal, sys
from pathlib import Path
from wal_runner.core.events import ItemSucceeded
from wal_runner.log.scratch import Scratch
folder = Path(sys.argv[1])
descriptor = os.open(folder / "7", os.O_RDWR | os.O_CREAT, 0o600)
home = {"log_id": "ab" * 16, "session": 7, "boot": "b0071d"}
scratch = Scratch(descriptor, folder / "7.large", shared=sys.argv[2] == "True", **home)
a, b, c = scratch.take(3)
scratch.arm_all([a, b, c], 10)
scratch.begin(b, 11)
scratch.begin(c, 12)
scratch.finish(c, 12, ItemSucceeded(12, 5, b"r" * 1000))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("shared", [True, False], ids=["mapped", "written"])
@pytest.mark.crash
def test_slots_outlive_a_killed_process(tmp_path, shared):
    """Not a byte is synced, and a SIGKILL takes nothing: the kernel has it all."""
    killed = subprocess.run([sys.executable, "-c", PROGRAM, tmp_path, str(shared)], check=False)
    outcome = ItemSucceeded(12, 5, b"r" * 1_000)

    assert -9 == killed.returncode
    assert {10: ARMED, 11: BEGUN, 12: Remains(begun=True, outcome=outcome)} == read_remains(
        tmp_path / "7", tmp_path / "7.large", **HOME
    )


def test_slots_do_not_disturb_the_lock(slots):
    """The file's lock says who lives, and its content what became of the starts; neither knows of the other."""
    fcntl.flock(slots.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    slots.start(40, OUTCOMES["succeeded"])
    other = os.open(slots.path, os.O_RDONLY)
    try:
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
    finally:
        os.close(other)


def test_beginning_that_is_half_written_is_not_silent(tmp_path, monkeypatch):
    """A disk that fills up writes the beginning, and says so by the count alone."""
    made = Slots(tmp_path, shared=False)
    slot = made.start(40, begun=False)
    monkeypatch.setattr(os, "pwrite", lambda _descriptor, payload, _at: len(payload) - 1)

    with pytest.raises(DiskFull, match="whole"):
        made.scratch.begin(slot, 40)


@pytest.mark.parametrize("left", [0, 1])
def test_blocks_are_given_where_the_system_cannot_allocate(tmp_path, monkeypatch, left):
    """The Mac has no posix_fallocate: zeros are written, all of them or it is a full disk."""
    really_write = os.pwrite
    monkeypatch.delattr(os, "posix_fallocate")
    monkeypatch.setattr(os, "pwrite", lambda file, zeros, at: really_write(file, zeros[: len(zeros) - left], at))
    with (tmp_path / "7").open("w+b") as file:
        if left:
            with pytest.raises(OSError, match="No space"):
                allocate(file.fileno())
        else:
            allocate(file.fileno())
            assert SCRATCH_BYTES == os.fstat(file.fileno()).st_size
