"""What fn returned: what is stored can be read again, and what cannot is said to be omitted."""

import traceback

import msgpack
import pytest

from wal_runner import Runner
from wal_runner.errors import LogCorrupt
from wal_runner.log.format import RESULT_BYTES_MAX
from wal_runner.log.results import decode_result, encode_result, error_info


@pytest.mark.parametrize(
    "value",
    [
        {(1, 2): "a grid's cell"},
        [{"deep": {(1,): 2}}],
        msgpack.Timestamp(1),
        {"at": msgpack.ExtType(5, b"x")},
        [[]] * 3 + [{("a",): None}],
    ],
    ids=["tuple for a key", "deep inside", "timestamp", "ext type", "among others"],
)
def test_what_msgpack_packs_and_does_not_read_is_omitted(value):
    """The effect happened, so it is a success without a result; a stored one would make every reader fail."""
    packed, omitted = encode_result(value)

    assert packed is None
    assert omitted is not None
    assert "cannot be stored" in omitted


@pytest.mark.parametrize(
    "value",
    ["text", b"bytes", 7, -1, 2**63, 1.5, True, None, [1, "a"], {"a": [None]}, {1: 2, b"x": 3, None: 4}, (), {}],
)
def test_stored_result_comes_back(value):
    """Tuples come back as lists; all else as it was."""
    packed, omitted = encode_result(value)

    assert omitted is None
    assert (list(value) if isinstance(value, tuple) else value) == decode_result(packed)


def test_run_whose_result_cannot_be_read_succeeds(tmp_path):
    """A dict whose keys are tuples is returned; the item is done, the reader goes on, and nothing is redone."""
    with Runner(tmp_path / "grid.wal") as runner:
        [outcome] = runner.run_iter(["cell"], lambda _: {(1, 2): 3}, signals=False)
        [item] = runner.items()

        assert [] == list(runner.results())
        assert 1 == runner.run(["cell"], lambda _: None, signals=False).skipped
    assert item.omitted == outcome.omitted
    assert "cannot be stored" in outcome.omitted


@pytest.mark.parametrize(
    "packed",
    [b"", b"\xdd\xff\xff\xff\xff", b"\x91" * 2_000 + b"\xc0", b"\xc7\x03\x05abc", b"\xa3\xff\xfe\xfd", b"\xc0\xc0"],
    ids=["nothing", "4 billion", "too deep", "ext type", "no UTF-8", "too much"],
)
def test_stored_result_that_nobody_packed_is_corrupt(packed):
    """Made by hand, or by damage that no checksum covers: a typed error, never msgpack's own."""
    with pytest.raises(LogCorrupt, match="cannot be as it was written"):
        decode_result(packed)


def test_stored_result_over_the_limit_is_not_unpacked():
    """A megabyte of empty lists takes 64 in memory; more is not even looked at."""
    with pytest.raises(LogCorrupt, match="over the limit"):
        decode_result(b"\xdd\xff\xff\xff\xff" + b"\x90" * RESULT_BYTES_MAX)


def test_error_whose_traceback_cannot_be_shown_is_described(monkeypatch):
    """Formatting an exception calls its own code, which may raise anything."""

    def fail(_):
        raise RecursionError

    monkeypatch.setattr(traceback, "format_exception", fail)
    info = error_info(OSError("no route"))

    assert ("OSError", "no route") == (info.type, info.message)
    assert "(the traceback cannot be shown: RecursionError)" == info.traceback
