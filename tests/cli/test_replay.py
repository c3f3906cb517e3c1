"""``walrun replay``: every event in order, one item's, up to any point, and the state there."""

import pytest

from tests.cli.folding import fold
from tests.cli.terminal import flip_bits, walrun
from wal_runner import Runner, Verdict
from wal_runner.cli.as_json import EVENT_WORDS
from wal_runner.core.events import CursorAdvanced, ItemSucceeded, LateOutcome, LogCompacted
from wal_runner.recovery.compact import compact
from wal_runner.runner.pages import pack_cursor


def events_of(log, *arguments):
    """Give the events of a replay that went well."""
    ended = walrun("replay", "--json", log, *arguments)

    assert (0, "") == (ended.code, ended.err)
    return ended.json_lines


def numbers_of(state):
    """Give what a state says that a status says too."""
    return {name: value for name, value in state.items() if name not in {"type", "open", "ended_sessions"}}


# --- Events -----------------------------------------------------------------------------


def test_every_event_is_a_line_in_order(crashed):
    """Seqs have no gap, times are UTC, and outcomes say whose they are."""
    events = events_of(crashed)

    assert list(range(1, 38)) == [event["seq"] for event in events]
    assert all(event["time"].endswith("Z") and event["session"] == 1 for event in events)
    assert ["session_opened", "key_rule_set", "item_started", "item_succeeded"] == [
        event["type"] for event in events[:4]
    ]
    assert {"item_id": "user-0", "result": {"sent": 0}, "omitted": None, "start_seq": 3}.items() <= events[3].items()
    assert all("item_id" in event for event in events if event["type"].startswith("item_"))


def test_every_type_of_event_can_be_told(tmp_path):
    """Text and JSON know all of them, with bytes decoded and statuses as words."""
    log = tmp_path / "log.wal"
    make_one_of_each(log)

    events, text = events_of(log), walrun("replay", log)

    assert WORDS_OF_FORMAT_1 == {event["type"] for event in events} | {"session_lost", "item_released"}
    assert (0, len(events)) == (text.code, len(text.out.splitlines()))
    told = {event["type"]: event for event in events}
    assert "failed" == told["item_reopened"]["before"]
    assert "abandon" == told["item_reconciled"]["decision"]
    assert "ZeroDivisionError" == told["item_failed"]["error"]["type"]
    assert {"raw": {"base64": "AP8="}, "1": {"float": "inf"}} == next(e["result"] for e in events if e.get("result"))
    assert [2, "x"] == next(event["cursor"] for event in events if event["type"] == "cursor_advanced")


WORDS_OF_FORMAT_1 = {
    "session_opened",
    "session_closed",
    "session_lost",
    "item_started",
    "item_succeeded",
    "item_failed",
    "item_interrupted",
    "item_released",
    "item_reconciled",
    "item_reopened",
    "late_outcome",
    "cursor_advanced",
    "snapshot_taken",
    "log_compacted",
    "key_rule_set",
}
WORDS_OF_FORMAT_2 = {
    "item_attested",
    "effect_started",
    "effect_succeeded",
    "effect_failed",
    "function_seen",
    "session_reached",
    "text_seen",
    "pause_set",
    "run_ended",
    "item_held",
    "item_forgotten",
    "item_given_up",
}


def test_event_words_are_the_documented_ones():
    """Programs match on them; a new event gets a new word."""
    assert WORDS_OF_FORMAT_1 | WORDS_OF_FORMAT_2 == set(EVENT_WORDS.values())


def make_one_of_each(log):
    """Append most types of event, by what makes them; the rest needs a death."""

    def send(item):
        if item == "fails":
            return 1 / 0
        if item == "unknown":
            raise TimeoutError
        return {"raw": b"\x00\xff", 1: float("inf")}

    with Runner(log) as runner:
        runner.run(["bytes", "fails", "unknown"], send)
        runner.writer.append([CursorAdvanced("pages", pack_cursor([2, "x"])), LateOutcome("bytes", 3, 5)])
        runner.retry(["fails"])
        runner.resolve("unknown", Verdict.abandon())
        runner.writer.take_snapshot()
        # The event without the deed, which would drop the history that is looked at.
        runner.writer.append([LogCompacted(0, b"\x01\xfe")])


# --- One item ---------------------------------------------------------------------------


def test_history_of_one_item(crashed):
    """Only its own events, whatever names only its start; the dead session's doubt is settled by a verdict."""
    with Runner(crashed) as runner:
        runner.resolve("user-17", Verdict.did_not_happen())
        runner.run(["user-17"], str)

    events = events_of(crashed, "--item", "user-17")

    assert [
        ("item_started", "user-17"),
        ("item_reconciled", "user-17"),
        ("item_started", "user-17"),
        ("item_succeeded", "user-17"),
    ] == [(event["type"], event["item_id"]) for event in events]
    assert [1, 2] == [event["attempt"] for event in events if event["type"] == "item_started"]
    assert 4 == len(walrun("replay", crashed, "--item", "user-17").out.splitlines())


def test_late_news_of_a_settled_attempt_is_named(tmp_path):
    """An attempt that was judged and then reports all the same is what an auditor looks for."""
    with Runner(tmp_path / "log.wal") as runner:
        runner.run(["a"], lose_reply)
        start_seq = runner.in_doubt()[0].start_seq
        runner.resolve("a", Verdict.did_not_happen())
        runner.writer.append([ItemSucceeded(start_seq, 5)])

    everything, one = events_of(tmp_path / "log.wal"), events_of(tmp_path / "log.wal", "--item", "a")

    assert ["a"] == [event["item_id"] for event in everything if event["type"] == "item_succeeded"]
    assert "item_succeeded" == one[-1]["type"]


def lose_reply(_item):
    """Lose the reply."""
    raise TimeoutError


def test_item_that_the_log_never_heard_of_has_no_history(crashed):
    """No events, and no error: that is the answer, and said so to a person."""
    ended = walrun("replay", crashed, "--item", "nobody")

    assert (0, "") == (ended.code, ended.out)
    assert "The log holds no event of nobody.\n" == ended.err


# --- Up to a point ------------------------------------------------------------------------


def test_until_a_seq(crashed):
    """The event that was named is the last."""
    assert [1, 2, 3, 4, 5] == [event["seq"] for event in events_of(crashed, "--until", "5")]
    assert [] == events_of(crashed, "--until", "0")
    assert 37 == len(events_of(crashed, "--until", "1000"))


def test_until_a_time(crashed):
    """The time that replay shows, in JSON or as text, is a point to stop at, with its event."""
    events = events_of(crashed)
    wanted = events[9]

    shown = walrun("replay", crashed, "--until", "10").out.splitlines()[-1].split("  ")
    local = next(word for word in shown if word.startswith("20"))

    up_to_json = events_of(crashed, "--until", wanted["time"])
    assert [event["seq"] for event in events if event["time"] <= wanted["time"]] == [e["seq"] for e in up_to_json]
    assert up_to_json == events_of(crashed, "--until", wanted["time"].replace("Z", "000+00:00"))
    assert {"seq": 10}.items() <= events_of(crashed, "--until", f"{local[:19]}{local[23:]}")[9].items()


def test_state_at_each_point_is_the_fold_of_the_events_up_to_it(crashed):
    """Whatever point is asked for, --state is what the events before it add up to."""
    events = events_of(crashed)

    for seq in (1, 36):
        state = walrun("replay", "--json", "--state", crashed, "--until", seq).json
        assert "state" == state["type"]
        assert fold(events[:seq]) == numbers_of(state)
    assert ["user-17"] == [item["item_id"] for item in walrun("replay", "--json", "--state", crashed).json["open"]][1:]


def test_state_is_told_in_words(crashed):
    """The counts at that point, and what was open."""
    lines = walrun("replay", "--state", crashed, "--until", "37").out.splitlines()

    assert lines[0].startswith("after event 37, ")
    assert lines[0].endswith(": 1 started, 15 succeeded, 1 failed, 1 in doubt")
    assert ["  user-15: in doubt", "  user-17: started"] == [line.split(",")[0] for line in lines[1:]]


def test_state_of_one_item_at_a_point(crashed):
    """An item as it was then: not heard of, started, succeeded."""
    ids = ["--item", "user-0", "--state", "--json", crashed, "--until"]

    assert ["pending", "started", "succeeded"] == [walrun("replay", *ids, seq).json["status"] for seq in (2, 3, 4)]
    assert "user-12: failed after 1 attempt\n" == walrun("replay", "--item", "user-12", "--state", crashed).out


# --- After a compaction --------------------------------------------------------------------


def test_history_begins_at_the_base_after_a_compaction(crashed):
    """The first line is the base, with its open attempts and sessions; the next is the event behind it."""
    compact(crashed)

    base, *events = events_of(crashed)

    assert "base" == base["type"]
    assert base["seq"] + 1 == events[0]["seq"]
    assert ["user-15", "user-17"] == [item["item_id"] for item in base["open"]]
    assert ["lost"] == [session["ending"] for session in base["ended_sessions"] if session["session"] == 1]
    assert walrun("replay", crashed).out.startswith(f"The events up to {base['seq']} were compacted.")


def test_events_behind_the_base_are_named(crashed):
    """An outcome whose start was dropped still says whose it is: the base knows what was open."""
    compact(crashed)
    with Runner(crashed) as runner:
        runner.resolve("user-15", Verdict.abandon())

    _base, *events = events_of(crashed)
    _base, *of_item = events_of(crashed, "--item", "user-15")

    assert ["user-15"] == [event["item_id"] for event in events if event["type"] == "item_reconciled"]
    assert ["item_reconciled"] == [event["type"] for event in of_item]


def test_point_before_the_base_is_gone(crashed):
    """Asking for what was dropped is an error that says so, never a wrong answer."""
    time_of_10 = events_of(crashed, "--until", "10")[-1]["time"]
    compact(crashed)

    for until, *more in [("10",), (time_of_10, "--state"), ("10", "--state", "--item", "user-0")]:
        ended = walrun("replay", crashed, "--until", until, *more)
        assert (1, "") == (ended.code, ended.out)
        assert "was compacted up to event " in ended.err


def test_item_at_a_point_behind_the_base(crashed):
    """One that did not change since is as it was; of one that did, what it was is gone."""
    compact(crashed)
    point = walrun("status", "--json", crashed).json["seq"]
    with Runner(crashed) as runner:
        runner.resolve("user-15", Verdict.abandon())

    unchanged = walrun("replay", "--state", "--item", "user-0", "--until", point, "--json", crashed).json
    changed = walrun("replay", "--state", "--item", "user-15", "--until", point, crashed)

    assert ("succeeded", {"sent": 0}) == (unchanged["status"], unchanged["result"])
    assert (1, "") == (changed.code, changed.out)
    assert "the item changed since" in changed.err


# --- Damage -------------------------------------------------------------------------------


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_damage_is_never_shown_as_history(as_json, damageable):
    """Code 12, and no line of what is not as it was written."""
    flip_bits(damageable, b"user-7")

    ended = walrun("replay", damageable, *["--json"] * as_json)

    assert 12 == ended.code
    assert "user-7" not in ended.out
    assert "Run `walrun verify`" in ended.err
