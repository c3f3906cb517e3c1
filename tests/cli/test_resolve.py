"""``walrun resolve``: verdicts on what is in doubt, all or none, on record."""

import getpass

import pytest

from tests.cli.terminal import walrun
from wal_runner import Runner, Status


def statuses(log, *ids):
    """Give the statuses of items."""
    with Runner.open_read(log) as view:
        return [view.status(item_id) for item_id in ids]


@pytest.mark.parametrize(
    ("flag", "becomes", "words"),
    [
        ("--happened", Status.SUCCEEDED, "1 item settled as happened: succeeded"),
        ("--did-not-happen", Status.PENDING, "1 item settled as did not happen: pending"),
        ("--abandon", Status.ABANDONED, "1 item settled as abandon: abandoned"),
    ],
)
def test_each_verdict_settles(flag, becomes, words, crashed):
    """What the outside world says becomes the item's status."""
    ended = walrun("resolve", crashed, "user-15", flag)

    assert (0, "") == (ended.code, ended.err)
    assert ended.out.startswith(words)
    assert [becomes] == statuses(crashed, "user-15")


def test_item_of_a_death_that_no_run_recorded_can_be_settled(crashed):
    """Resolving records the death first, so the command that inspect shows works at once."""
    ended = walrun("resolve", crashed, "user-17", "--happened", "--result", '{"mail": 17}', "--json")

    assert {"resolved": 1, "decision": "happened"} == {name: ended.json[name] for name in ("resolved", "decision")}
    assert [("user-17", "succeeded", {"mail": 17})] == [
        (item["item_id"], item["status"], item["result"]) for item in ended.json["items"]
    ]


def test_verdict_is_on_record(crashed):
    """Who said so, and why, stays in the history; the user's name is taken unless another is given."""
    walrun("resolve", crashed, "user-15", "--abandon", "--note", "the customer left", "--by", "ada")
    walrun("resolve", crashed, "user-17", "--abandon")

    events = [line for line in walrun("replay", "--json", crashed).json_lines if line["type"] == "item_reconciled"]

    assert [
        ("user-15", "abandon", "ada", "the customer left"),
        ("user-17", "abandon", getpass.getuser(), ""),
    ] == [(event["item_id"], event["decision"], event["by"], event["note"]) for event in events]


def test_ids_come_from_stdin(crashed):
    """With - each line is an id, whatever its line end; blank lines are none, and twice is once."""
    ended = walrun("resolve", crashed, "-", "--happened", stdin="user-15\r\n\nuser-17\nuser-15\n")

    assert (0, "2 items settled as happened") == (ended.code, ended.out[:27])
    assert [Status.SUCCEEDED, Status.SUCCEEDED] == statuses(crashed, "user-15", "user-17")


def test_no_ids_on_stdin_settle_nothing(crashed):
    """An empty list is no error: there was nothing to settle."""
    ended = walrun("resolve", crashed, "-", "--happened")

    assert (0, "0 items settled") == (ended.code, ended.out[:15])


@pytest.mark.parametrize(
    ("other", "complaint"),
    [("user-3", "'user-3' is succeeded, not in doubt"), ("nobody", "The log knows no item 'nobody'.")],
)
def test_all_are_settled_or_none(other, complaint, crashed):
    """One id that cannot be settled, and nothing is written; the code is 1."""
    ended = walrun("resolve", crashed, "user-15", other, "--happened")

    assert (1, "") == (ended.code, ended.out)
    assert complaint in ended.err
    assert "Nothing was written." in ended.err
    assert [Status.IN_DOUBT] == statuses(crashed, "user-15")


@pytest.mark.parametrize(
    "arguments",
    [
        ("user-15",),
        ("--happened",),
        ("user-15", "--abandon", "--result", "1"),
        ("user-15", "--happened", "--result", "{"),
        ("user-15", "--happened", "--result", "NaN"),
        ("user-15", "-", "--happened"),
        ("", "--happened"),
    ],
    ids=" ".join,
)
def test_what_is_not_said_clearly_settles_nothing(arguments, crashed):
    """No verdict, no id, a result that goes with nothing, or is no JSON: a usage error before the log is opened."""
    ended = walrun("resolve", crashed, *arguments)

    assert (2, "") == (ended.code, ended.out)
    with Runner.open_read(crashed) as view:
        assert [1] == [report.info.number for report in view.sessions()]


def test_ids_that_are_not_utf_8_are_refused(crashed):
    """A line that is no text names no item."""
    ended = walrun("resolve", crashed, "-", "--happened", stdin=b"user-15\n\xff\n")

    assert 2 == ended.code
    assert "Line 2 of stdin is not UTF-8" in ended.err


def test_result_that_cannot_be_stored_is_refused(crashed):
    """Nothing is written, so that the operator can give another result."""
    ended = walrun("resolve", crashed, "user-15", "--happened", "--result", "9" * 4_200)

    assert 1 == ended.code
    assert "cannot be stored" in ended.err
    assert [Status.IN_DOUBT] == statuses(crashed, "user-15")
