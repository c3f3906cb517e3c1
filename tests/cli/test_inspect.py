"""``walrun inspect``: who died, what was running, and what to do about it."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.terminal import crash, environment, walrun
from wal_runner import Runner, Status
from wal_runner.cli.inspect import where_of


BOOT = Path("/proc/sys/kernel/random/boot_id")


def lines_of(*arguments):
    """Give the lines of an inspection that went well."""
    ended = walrun("inspect", *arguments)

    assert (0, "") == (ended.code, ended.err)
    return ended.out.splitlines()


# --- Who died ---------------------------------------------------------------------------


def test_dead_session_is_described(crashed):
    """Who died, when it was last heard of, where, and what was running when it did."""
    lines = lines_of(crashed)
    text = "\n".join(lines)

    assert "session 1: died; no run has recorded it yet, the next one does" in lines
    assert f" on {socket.gethostname()}, boot " in text
    for word in ("  began        ", "  last record  ", "  process      pid ", "  command      -c ", "  folder       "):
        assert word in text
    assert "  in doubt     2 items" in lines
    assert 2 == sum(line.startswith(("  user-15  attempt 1, started ", "  user-17  attempt 1, ")) for line in lines)
    assert "OutcomeUnknown: gateway timed out" in text


def test_json_says_it_all(crashed):
    """The JSON holds the session, its host and boot, each doubt with its age and key, and what is not recorded yet."""
    found = walrun("inspect", "--json", crashed).json

    [session] = found["sessions"]
    assert (1, True, False, False) == (session["session"], session["died"], session["recorded"], session["alive"])
    assert (socket.gethostname(), True) == (session["host"], session["this_host"])
    assert (BOOT.read_text().strip(), True) == (session["boot"], session["this_boot"])
    assert [("user-15", "in_doubt", True), ("user-17", "in_doubt", False)] == [
        (item["item_id"], item["status"], item["recorded"]) for item in found["in_doubt"]
    ]
    assert ["OutcomeUnknown: gateway timed out", "session 1 died"] == [item["reason"] for item in found["in_doubt"]]
    assert all(item["age_s"] > 0 and 64 == len(item["idempotency_key"]) for item in found["in_doubt"])


def test_recorded_death_keeps_when_it_was(crashed):
    """Once a run has recorded it, the death is told with both times: last heard of, and found dead."""
    [before] = walrun("inspect", "--json", crashed).json["sessions"]
    assert 0 == walrun("resolve", crashed, "user-15", "--abandon").code

    [after] = walrun("inspect", "--json", crashed).json["sessions"]

    assert (True, True, "lost") == (after["died"], after["recorded"], after["ending"])
    assert before["last"] == after["last"] < after["ended"]
    assert "session 1: died" in lines_of(crashed)


def test_death_that_left_nothing_open_is_one_line(crashed):
    """Who died is still told when everything is settled, and no item is shown."""
    assert 0 == walrun("resolve", crashed, "user-15", "user-17", "--did-not-happen").code

    lines = lines_of(crashed)

    assert 1 == sum(line.startswith("session 1 died too, last record ") for line in lines)
    assert not any("In doubt" in line or "walrun resolve" in line for line in lines)


def test_quiet_log_says_so(tmp_path):
    """Where nothing happened there is nothing to show."""
    with Runner(tmp_path / "log.wal") as runner:
        runner.run(["a"], str)

    assert [f"{tmp_path}/log.wal: 1 succeeded", "", "Everything that this log has started is done."] == lines_of(
        tmp_path / "log.wal"
    )


def test_restart_and_another_host_are_told(crashed):
    """A machine that was restarted since, and a machine that is not this one, are told apart from this boot."""
    with Runner.open_read(crashed) as view:
        [report] = view.sessions()
    elsewhere = replace(report, info=report.info._replace(host="mail-2"))
    earlier = replace(report, info=report.info._replace(boot="0123456789"))

    assert "this one" == where_of(report)[-8:]
    assert "boot 01234567: an earlier one, the machine was restarted since" == where_of(earlier)
    assert "another host than this" == where_of(elsewhere)[-22:]


# --- What the next run will record -----------------------------------------------------------

CLAIMED_AHEAD = """
import os, sys
from wal_runner import Runner
def send(number):
    if number == 3_000:
        os.kill(os.getpid(), 9)
    return number if number > 2_990 else None
Runner(sys.argv[1]).run(range(5_000), send)
"""


def test_what_inspect_foretells_is_what_the_next_run_records(tmp_path):
    """Items that were claimed ahead, or finished and not committed, are not shown as in doubt; then they are not."""
    log = tmp_path / "log.wal"
    crash(log, CLAIMED_AHEAD)
    foretold = walrun("inspect", "--json", log).json
    assert ["3000"] == [item["item_id"] for item in foretold["in_doubt"]]
    [session] = foretold["sessions"]
    assert 1 == session["in_doubt"] < session["open"]

    with Runner(log) as runner:
        statuses = {item.item_id: item.status.word for item in runner.items()}

    assert ["3000"] == [item_id for item_id, status in statuses.items() if status == "in_doubt"]
    assert {item["item_id"]: item["status"] for item in session["proven"]} == {
        item["item_id"]: statuses[item["item_id"]] for item in session["proven"]
    }


# --- What is running ------------------------------------------------------------------------


def test_running_items_are_not_in_doubt(tmp_path):
    """What another process is at is shown as running, with its age."""
    with Runner(tmp_path / "log.wal") as runner, runner.claim(["a"]) as claims, next(claims):
        lines, found = lines_of(tmp_path / "log.wal"), walrun("inspect", "--json", tmp_path / "log.wal").json

    assert "session 1: alive" in lines
    assert 1 == sum(line.startswith("  a  attempt 1, started ") for line in lines)
    assert [("a", "started", False)] == [
        (item["item_id"], item["status"], item["effect_running"]) for item in found["running"]
    ]
    assert [] == found["in_doubt"]


ORPHANING = """
import os, subprocess, sys
from wal_runner import Runner
runner = Runner(sys.argv[1])
def send(item):
    child = subprocess.Popen(["cat"], stdout=subprocess.DEVNULL, pass_fds=[runner.session_descriptor])
    print(child.pid, flush=True)
    os.kill(os.getpid(), 9)
runner.run(["a"], send)
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs a way to wait for the end of another's child")
def test_effect_that_outlives_its_owner_is_told(tmp_path):
    """The process is dead and its command is not: the item is not in doubt until that has ended too."""
    log = tmp_path / "log.wal"
    with subprocess.Popen(
        [sys.executable, "-c", ORPHANING, log], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    ) as owner:
        orphan = os.pidfd_open(int(owner.stdout.readline()))
        assert -signal.SIGKILL == owner.wait()

        during, found = lines_of(log), walrun("inspect", "--json", log).json
        owner.stdin.close()  # which ends `cat`
        assert [orphan] == select.select([orphan], [], [], 30)[0]
        os.close(orphan)

    assert "session 1: owner dead, effect still running: a command that it started has not ended" in during
    assert ([], ["a"]) == (found["in_doubt"], [item["item_id"] for item in found["running"]])
    assert ["a"] == [item["item_id"] for item in walrun("inspect", "--json", log).json["in_doubt"]]


# --- What to do --------------------------------------------------------------------------------


def test_commands_can_be_pasted(crashed):
    """Each doubt comes with its three commands; one that is pasted into a shell settles it."""
    lines = walrun("inspect", "emails.wal", cwd=crashed.parent).out.splitlines()
    for verdict in ("--happened", "--did-not-happen", "--abandon"):
        assert f"  walrun resolve emails.wal user-15 {verdict}" in lines

    [command] = [line for line in lines if "user-17 --happened" in line]
    paste(command, crashed.parent)

    with Runner.open_read(crashed) as log:
        assert Status.SUCCEEDED is log.status("user-17")


STRANGE_IDS = ["it's a; $HOME", "-5", "--happened", "-", "line\nend\tü\\b\x01'2"]


def test_commands_for_strange_ids_can_be_pasted(tmp_path):
    """Whatever an id is made of, its command means that id, and shows no control character."""
    log = tmp_path / "log.wal"
    with Runner(log) as runner:
        runner.run(STRANGE_IDS, lambda _item: None, max_in_doubt=1)
        runner.retry(STRANGE_IDS, succeeded=True)
    crash(log, CRASH_IN_EACH, *STRANGE_IDS)

    found = walrun("inspect", "--json", "log.wal", cwd=tmp_path).json["in_doubt"]
    assert sorted(STRANGE_IDS) == sorted(item["item_id"] for item in found)
    assert all(item["next"]["abandon"].isprintable() for item in found)
    paste("\n".join(item["next"]["abandon"] for item in found), tmp_path)

    with Runner.open_read(log) as view:
        assert {Status.ABANDONED: len(STRANGE_IDS)} == {s: count for s, count in view.counts().items() if count}


CRASH_IN_EACH = """
import os, sys, threading
from wal_runner import Runner
items = sys.argv[2:]
all_run = threading.Barrier(len(items), action=lambda: os.kill(os.getpid(), 9))
Runner(sys.argv[1]).run(items, lambda item: all_run.wait(), workers=len(items))
"""


def paste(commands, cwd):
    """Run *commands* in a shell in which ``walrun`` is ours."""
    shell = f'set -e\nwalrun() {{ "{sys.executable}" -m wal_runner "$@"; }}\n{commands}'
    subprocess.run(["bash", "-c", shell], cwd=cwd, env=environment(), check=True, timeout=60)


def make_many_doubts(log, count):
    """Leave *count* items in doubt, in a session that ended in order."""
    with Runner(log) as runner:
        report = runner.run(range(count), lose_reply)
    assert count == report.in_doubt


def lose_reply(_item):
    """Lose the reply."""
    raise TimeoutError("no answer")


def test_thousands_of_doubts_fit_a_screen(tmp_path):
    """Twenty are shown and the rest is counted; the JSON and --ids have them all."""
    log = tmp_path / "log.wal"
    make_many_doubts(log, 1_000)

    lines, found = lines_of(log), walrun("inspect", "--json", log).json

    assert len(lines) < 60
    assert 20 == sum(line.lstrip()[:1].isdigit() and "attempt 1" in line for line in lines)
    assert "  and 980 more; all with --json, or only their ids with --ids, or --attempts" in lines
    assert [str(number) for number in range(1_000)] == [item["item_id"] for item in found["in_doubt"]]
    assert [str(number) for number in range(1_000)] == lines_of(log, "--ids")


def test_ids_are_what_resolve_reads(crashed):
    """``inspect --ids | resolve -`` settles them all."""
    ids = walrun("inspect", "--ids", crashed).out

    ended = walrun("resolve", crashed, "-", "--did-not-happen", stdin=ids)

    assert "user-15\nuser-17\n" == ids
    assert "2 items settled as did not happen" in ended.out


# --- Single items --------------------------------------------------------------------------------


def test_single_items_are_shown(crashed):
    """Each id that is named is shown as far as the log knows it."""
    lines = lines_of(crashed, "user-3", "user-12", "user-17", "nobody")

    assert ["user-3: succeeded", "user-12: failed", "user-17: in doubt"] == [
        line for line in lines if line.startswith("user-")
    ]
    assert '  result           {"sent":3}' in lines
    assert "  error            ValueError: no such address" in lines
    assert "  why              session 1 died" in lines
    assert f"  walrun resolve {crashed} user-17 --happened" in lines
    assert "nobody: pending, the log has never heard of it" in lines


def test_single_items_as_json(crashed):
    """An item is an object with item_id, status and attempts, whatever else is known."""
    items = walrun("inspect", "--json", crashed, "user-3", "user-12", "user-17", "nobody").json["items"]

    assert [
        ("user-3", "succeeded", 1),
        ("user-12", "failed", 1),
        ("user-17", "in_doubt", 1),
        ("nobody", "pending", 0),
    ] == [(item["item_id"], item["status"], item["attempts"]) for item in items]
    assert ({"sent": 3}, "no such address", "in_doubt") == (
        items[0]["result"],
        items[1]["error"]["message"],
        items[2]["becomes"],
    )
    assert json.dumps(items)
