"""``walrun status``: the numbers, who is alive, who is dead, what to do; and that the log says the same."""

import os
from contextlib import suppress

import pytest

from tests.cli.folding import fold
from tests.cli.terminal import crash, python, walrun
from tests.support.logs import copy_log
from wal_runner import OutcomeUnknown, Runner


ZERO = {"pending": 0, "started": 0, "succeeded": 0, "failed": 0, "in_doubt": 0, "abandoned": 0}


def folded(log):
    """Give what the lines of replay add up to."""
    return fold(walrun("replay", "--json", log).json_lines)


def status_without_now(log):
    """Give what status says of the log itself."""
    status = walrun("status", "--json", log).json
    del status["now"]
    return status


# --- What is shown ----------------------------------------------------------------------


def test_status_after_a_crash(crashed):
    """The counts are those of the log; the death that no run recorded stands apart, and what to do comes last."""
    ended = walrun("status", crashed)

    assert (0, "") == (ended.code, ended.err)
    for line in (
        f"{crashed}: 18 items",
        "           1  started",
        "          15  succeeded",
        "           1  failed",
        "           1  in doubt",
        "key rule     item",
        "dead session: 1, not recorded by a run yet; 1 item of the started will be in doubt",
        "doubt bound  1 start has no outcome now: so many could a power cut leave in doubt",
        f"  walrun inspect {crashed}",
    ):
        assert line in ended.out.splitlines()
    assert any(line.endswith("in log format 1") for line in ended.out.splitlines())
    assert " ago)" in ended.out or "(just now)" in ended.out


def test_json_after_a_crash(crashed):
    """The fold stands at the top, by status word; what is not in the log stands under "now"."""
    status = walrun("status", "--json", crashed).json

    assert {**ZERO, "succeeded": 15, "failed": 1, "in_doubt": 1, "started": 1} == status["counts"]
    assert [1] == [session["session"] for session in status["sessions"]]
    assert (18, "item", 1) == (status["items"], status["key_rule"], status["last_session"])
    assert ([], [1], 1) == (status["now"]["alive"], status["now"]["dead_sessions"], status["now"]["doubts_coming"])
    assert f"walrun inspect {crashed}" in [step["command"] for step in status["now"]["next"]]
    assert (crashed / "data.mdb").stat().st_size == status["now"]["file_bytes"]
    assert 1 == status["now"]["format"]


def test_living_session_is_shown(tmp_path):
    """Whoever runs on the log is named, with what is running; such items are not in doubt."""
    with Runner(tmp_path / "log.wal") as runner, runner.claim(["a", "b"]) as claims, next(claims):
        text, status = (walrun("status", *json, tmp_path / "log.wal") for json in ([], ["--json"]))

    assert f"session 1    alive: pid {os.getpid()} on " in text.out
    assert [{"session": 1, "running": 1, "effect_running": False}] == status.json["now"]["alive"]
    assert ([], 0) == (status.json["now"]["dead_sessions"], status.json["now"]["doubts_coming"])
    assert "dead session" not in text.out


def test_finished_log_has_nothing_to_do(tmp_path):
    """When everything is done, that is the last word."""
    with Runner(tmp_path / "log.wal") as runner:
        runner.run(["a", "b"], str)

    ended = walrun("status", tmp_path / "log.wal")

    assert "Everything that this log has started is done." == ended.out.splitlines()[-1]
    assert "doubt bound  0 starts have no outcome now, so a power cut leaves nothing in doubt" in ended.out


def test_command_that_runs_again_can_be_pasted(tmp_path):
    """After a run of ``walrun`` itself the command to resume is shown, quoted for a shell, with its folder."""
    program = """
import os, sys
from wal_runner import Runner
sys.argv = ["/usr/bin/walrun", "run", "log.wal", "--items", "my mails.csv"]
Runner("log.wal").run(["a"], lambda item: os.kill(os.getpid(), 9))
"""
    assert -9 == python("-c", program, cwd=tmp_path).code

    here = walrun("status", "--json", "log.wal", cwd=tmp_path).json["now"]["next"]
    elsewhere = walrun("status", "--json", tmp_path / "log.wal").json["now"]["next"]

    command = "walrun run --resume log.wal --items 'my mails.csv'"
    assert command in [step["command"] for step in here]
    assert f"cd {tmp_path} && {command}" in [step["command"] for step in elsewhere]


# --- It is what the log says ----------------------------------------------------------------


def test_folding_replay_gives_status_after_a_crash(crashed):
    """Whoever folds the lines of replay gets what status shows."""
    assert folded(crashed) == status_without_now(crashed)


def test_folding_replay_gives_status_after_everything(crashed):
    """Losses, verdicts, reopenings, redone items, omitted results and cursors add up to the same."""
    for arguments in (
        ("resolve", crashed, "user-15", "--did-not-happen"),
        ("resolve", crashed, "user-17", "--happened", "--result", '{"a": [1, null]}'),
        ("retry", crashed, "user-12", "user-3", "--succeeded"),
    ):
        assert 0 == walrun(*arguments).code
    with Runner(crashed) as runner:
        runner.run(["user-12", "user-15", "omitted"], lambda item: object() if item == "omitted" else item)
        with suppress(ConnectionError):
            runner.run_pages(two_pages_and_a_crash, lambda _item: 1 / 0)

    status = status_without_now(crashed)

    assert folded(crashed) == status
    assert (1, {"pages": [2, "x"]}) == (status["results_omitted"], status["cursors"])


def two_pages_and_a_crash(cursor, _size):
    """Give one page, and fail at the next."""
    if cursor is not None:
        raise ConnectionError
    return ["page"], [2, "x"]


def test_folding_replay_gives_status_before_and_after_compact(crashed):
    """A compaction begins the history anew at its base; folding from there on gives the same."""
    assert 0 == walrun("resolve", crashed, "user-17", "--did-not-happen").code
    before = status_without_now(crashed)
    assert folded(crashed) == before

    assert 0 == walrun("compact", crashed).code

    after = status_without_now(crashed)
    assert folded(crashed) == after
    assert before["counts"] == after["counts"]
    assert 0 < after["base_seq"]


def test_folding_replay_gives_status_when_a_compacted_log_goes_on(crashed):
    """What happens behind the base adds to it: doubts from before it are settled, and new items are done."""
    assert 0 == walrun("compact", crashed).code
    assert 0 == walrun("resolve", crashed, "user-15", "user-17", "--did-not-happen").code
    with Runner(crashed) as runner:
        runner.run([f"user-{number}" for number in range(10, 30)], str)
    crash(crashed, CRASH_IN_THE_FIRST, "user-30")

    status = status_without_now(crashed)

    assert folded(crashed) == status
    assert {**ZERO, "succeeded": 30, "started": 1} == status["counts"]
    assert "base" == walrun("replay", "--json", crashed).json_lines[0]["type"]


CRASH_IN_THE_FIRST = """
import os, sys
from wal_runner import Runner
Runner(sys.argv[1]).run(sys.argv[2:], lambda item: os.kill(os.getpid(), 9))
"""


def test_conflicts_are_counted_and_told(tmp_path):
    """News of an attempt that is over is counted, in status and in the fold of replay."""
    from wal_runner.core.events import LateOutcome  # noqa: PLC0415 - only a lost process appends one by itself

    with Runner(tmp_path / "log.wal") as runner:
        runner.run(["a"], str)
        runner.writer.append([LateOutcome("a", runner.history("a")[0].seq, 5)])

    assert folded(tmp_path / "log.wal") == status_without_now(tmp_path / "log.wal")
    assert "1 outcome came after another one stood" in walrun("status", tmp_path / "log.wal").out


@pytest.mark.parametrize("raised", [OutcomeUnknown("gone"), KeyboardInterrupt()], ids=["lost reply", "Ctrl-C"])
def test_interrupted_items_fold_too(raised, tmp_path):
    """Doubt that arose in a living session is an event of its own."""

    def fail(_item):
        raise raised

    with Runner(tmp_path / "log.wal") as runner, suppress(KeyboardInterrupt):
        runner.run(["a"], fail)

    status = status_without_now(tmp_path / "log.wal")

    assert folded(tmp_path / "log.wal") == status
    assert 1 == status["counts"]["in_doubt"]


def test_the_fold_of_the_tests_can_fail(crashed, tmp_path):
    """A positive control: another history has another fold."""
    copy_log(crashed, tmp_path / "other.wal")
    assert 0 == walrun("resolve", tmp_path / "other.wal", "user-15", "--happened").code

    assert folded(crashed) != status_without_now(tmp_path / "other.wal")
