"""How things are written for people, and for their shell."""

import subprocess
import time

import pytest

from wal_runner.cli.words import ago, count_of, duration, listing, local_time, moment, shell_word, size, visible


SECOND = 1_000_000_000
NOW = 1_795_556_221 * SECOND + 123_456_789


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-5, "in the future, by this clock"),
        (0, "just now"),
        (0.9, "just now"),
        (1, "1 second ago"),
        (59, "59 seconds ago"),
        (60, "1 minute ago"),
        (3 * 60 + 59, "3 minutes ago"),
        (3_600, "1 hour ago"),
        (86_400 * 2_000, "2,000 days ago"),
    ],
)
def test_ago_counts_in_one_unit(seconds, expected):
    """The largest unit that fits is enough; a clock that went back does not give nonsense."""
    assert expected == ago(NOW - int(seconds * SECOND), NOW)


def test_times_are_local_and_say_their_zone(monkeypatch):
    """Local time is what the operator's other logs have; the zone makes it unambiguous."""
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        local_time.cache_clear()
        shown = moment(NOW, NOW + 180 * SECOND), local_time(NOW, "milliseconds")
    finally:
        monkeypatch.undo()
        time.tzset()
        local_time.cache_clear()

    assert ("2026-11-25 03:07:01+05:30 (3 minutes ago)", "2026-11-25 03:07:01.123+05:30") == shown


@pytest.mark.parametrize(
    ("elapsed_ns", "expected"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1_500, "1.5 us"),
        (12_345_678, "12.3 ms"),
        (2 * SECOND, "2 s"),
        (12_345 * SECOND, "12,345 s"),
    ],
)
def test_durations_have_three_digits_that_count(elapsed_ns, expected):
    """Nobody reads nine digits."""
    assert expected == duration(elapsed_ns)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1_000, "1.0 KB"),
        (22_500_000, "22.5 MB"),
        (10**16, "10000.0 TB"),
    ],
)
def test_sizes_have_one_digit_behind_the_point(count, expected):
    """As `ls -h` and everybody else write them."""
    assert expected == size(count)


def test_counts_and_lists_read_as_sentences():
    """One item, two items; 3, 4 and 5."""
    assert ("1 item", "2,000 items") == (count_of(1, "item"), count_of(2_000, "item"))
    assert ("3", "3 and 4", "3, 4 and 5") == (listing([3]), listing([3, 4]), listing([3, 4, 5]))


NASTY = ["plain", "it's", "a b", "$(reboot)", "line\nend", "\x1b[31mred", "back\\slash\x07", "'\x00'", "ü\u202e\t1"]


@pytest.mark.parametrize("text", NASTY)
def test_visible_text_is_one_line_that_prints(text):
    """No control character of an id, an error or a note reaches the terminal."""
    shown = visible(text)

    assert shown.isprintable()
    assert text == shown or not text.isprintable()


def test_visible_text_is_cut():
    """A message of megabytes takes a line."""
    assert "aaaaaaa..." == visible("a" * 1_000_000, 10)


@pytest.mark.parametrize("text", [text for text in NASTY if "\x00" not in text])
def test_shell_words_are_read_back(text):
    """What bash makes of the word is the text, whatever is in it; and the word itself can be shown."""
    word = shell_word(text)

    said = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True).stdout

    assert text == said.decode()
    assert word.isprintable()
