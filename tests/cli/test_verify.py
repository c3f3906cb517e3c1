"""``walrun verify``: sound, or a problem a line and code 12."""

from tests.cli.terminal import flip_bits, walrun
from wal_runner.errors import RESTORE
from wal_runner.recovery.compact import compact


def test_sound_log_is_summed_up(crashed):
    """How many events and items were looked at; the code is 0."""
    ended = walrun("verify", crashed)

    assert (0, "sound: 37 events, 18 items\n", "") == (ended.code, ended.out, ended.err)


def test_sound_log_as_json(crashed):
    """One line, the summary."""
    assert {
        "type": "summary",
        "sound": True,
        "problems": 0,
        "events": 37,
        "items": 18,
        "copied_from": "",
    } == walrun("verify", "--json", crashed).json


def test_compacted_log_is_sound(crashed):
    """After a compaction the events are those that are left, and the items all."""
    compact(crashed)

    summary = walrun("verify", "--json", crashed).json

    assert (True, 18) == (summary["sound"], summary["items"])
    assert summary["events"] < 10


def test_broken_chain_is_a_problem(damageable):
    """A flipped bit in an event is named with its place, and the advice goes to stderr."""
    flip_bits(damageable, b"user-7")

    ended = walrun("verify", damageable)

    assert 12 == ended.code
    assert ended.out.startswith("chain: The record at event ")
    assert f"1 problem. Run nothing on this log. {RESTORE}\n" == ended.err


def test_broken_row_is_a_problem(damageable):
    """A row of the snapshot that is not what was written is found, though the events are sound."""
    compact(damageable)
    flip_bits(damageable, b"sent\x03")

    ended = walrun("verify", "--json", damageable)

    *problems, summary = ended.json_lines
    assert 12 == ended.code
    assert {"rows"} == {problem["part"] for problem in problems}
    assert {"type": "summary", "sound": False, "problems": len(problems)} == summary


def test_broken_structure_is_found_before_lmdb_is_let_at_it(damageable):
    """Pages of noise are a problem, and no signal that kills the process."""
    data = damageable / "data.mdb"
    content = bytearray(data.read_bytes())
    for page in range(2, len(content) // 4096):
        content[page * 4096 + 8 : page * 4096 + 16] = b"\xff" * 8
    data.write_bytes(content)

    ended = walrun("verify", damageable)

    assert 12 == ended.code
    assert ended.out.startswith("structure: ")
