"""Values from a log in messages: short, and made in little memory."""

import tracemalloc

import pytest

from wal_runner.core.shown import shown


LARGE = {
    "text": "\x01" * 10_000_000,
    "bytes": b"\x01" * 10_000_000,
    "tuple": ((),) * 10_000_000,
    "tuple of texts": ("\x01" * 1_000,) * 100_000,
}


@pytest.mark.parametrize("value", LARGE.values(), ids=LARGE)
def test_large_value_is_cut_before_it_is_spelled(value):
    """The text is cut first: `repr` of all of it would take four times its memory."""
    tracemalloc.start()
    try:
        text = shown(value)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(text) <= 50
    assert peak < 10_000


@pytest.mark.parametrize(
    ("value", "text"), [(7, "7"), ("a", "'a'"), (b"a", "b'a'"), (None, "None"), ((1, 2), "a tuple of 2")]
)
def test_small_value_is_shown(value, text):
    """As Python writes it; a container by its size."""
    assert text == shown(value)
