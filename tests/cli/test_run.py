"""``walrun run``, as an operator uses it: items in, effects out, and an exit code that a script can test."""

import json
import os
import shlex
import subprocess
import sys
from contextlib import suppress

import pytest

from tests.cli.terminal import environment, python, walrun
from wal_runner import Runner, Status
from wal_runner.recovery.verifying import verify


PRINT_ITEM = ("--", "printf", "%s\n", "{}")


@pytest.fixture
def folder(tmp_path):
    """Give the folder in which commands run; every log in it is verified at the end."""
    yield tmp_path
    for log in tmp_path.glob("*.wal"):
        assert [] == list(verify(log))


def write(folder, name, *lines):
    """Write a file of items."""
    (folder / name).write_text("".join(f"{line}\n" for line in lines))
    return name


def run(folder, *arguments, **how):
    """Run ``walrun run a.wal`` in *folder*."""
    return walrun("run", "a.wal", *arguments, cwd=folder, **how)


def shell(script):
    """Give the words for a command that runs *script* with the item as ``$1``."""
    return ("--", "sh", "-c", script, "sh", "{}")


def statuses(folder):
    """Give what the log says of each item."""
    with Runner.open_read(folder / "a.wal") as view:
        return {item.item_id: item.status.word for item in view.items()}


# --- Items ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "lines", "more", "expected"),
    [
        ("a.txt", ["one", "two"], (), "one\ntwo\n"),
        (
            "a.csv",
            ["id,name", "7,Ann", '8,"B, C"'],
            ("--key", "id"),
            '{"id":"7","name":"Ann"}\n{"id":"8","name":"B, C"}\n',
        ),
        ("a.jsonl", ['{"id": 7}', '{"id": 8}'], ("--key", "id"), '{"id":7}\n{"id":8}\n'),
        ("a.jsonl", ["7", '"x"'], (), "7\nx\n"),
        ("a.data", ["one"], ("--items-format", "txt"), "one\n"),
    ],
)
def test_files_of_items_are_read(folder, name, lines, more, expected):
    """Each line or row of a file is an item, and {} is that item."""
    ended = run(folder, "--items", write(folder, name, *lines), *more, "--print", *PRINT_ITEM)

    assert (0, expected) == (ended.code, ended.out), ended.err


def test_items_come_from_stdin(folder):
    """A pipe is a source like a file; its lines are text unless --items-format says more."""
    ended = run(folder, "--items", "-", "--print", *PRINT_ITEM, stdin="a\nb\n")
    as_json = run(folder, "--items", "-", "--items-format", "jsonl", "--print", *PRINT_ITEM, stdin='"b"\n"c"\n')

    assert (0, "a\nb\n") == (ended.code, ended.out)
    assert (0, "c\n") == (as_json.code, as_json.out)


def test_no_items_are_no_error(folder):
    """An empty batch is done."""
    ended = run(folder, "--items", "-", *PRINT_ITEM)

    assert 0 == ended.code
    assert "no items" in ended.err


def test_fields_are_filled_in_without_a_shell(folder):
    """{name} is a field; no quote, space or semicolon in it means anything."""
    items = write(folder, "a.jsonl", json.dumps({"id": 1, "to": "Ann O'H; echo x > y $(z)", "n": [1, None]}))
    ended = run(folder, "--items", items, "--key", "id", "--print", "--", "printf", "%s|%s\n", "-{to}-", "{n}")

    assert "-Ann O'H; echo x > y $(z)-|[1,null]\n" == ended.out
    assert not (folder / "y").exists()


def test_words_behind_the_dashes_are_the_commands_own(folder):
    """What looks like an option of ours is none there, and a second -- belongs to the command."""
    ended = run(folder, "--items", "-", "--print", "--", "printf", "%s\n", "--json", "-j", "--", "{}", stdin="a\n")

    assert (0, "--json\n-j\n--\na\n") == (ended.code, ended.out)


def test_command_finds_its_item_in_the_environment(folder):
    """The id and the idempotency key go along with the effect; the key is the same on every attempt."""
    script = 'echo "$WALRUN_ITEM_ID|$WALRUN_ITEM|$WALRUN_IDEMPOTENCY_KEY|$WALRUN_ATTEMPT"; [ $WALRUN_ATTEMPT = 2 ]'
    items = write(folder, "a.jsonl", '{"id": 7, "x": 1}')
    first, second = (run(folder, "--items", items, "--key", "id", "--print", *shell(script)) for _ in range(2))

    assert (3, 0) == (first.code, second.code)
    item_id, item, key, attempt = first.out.strip().split("|")
    assert ("7", '{"id":7,"x":1}', "1") == (item_id, item, attempt)
    assert 64 == len(key)
    assert f'7|{{"id":7,"x":1}}|{key}|2\n' == second.out


def test_output_is_the_result(folder):
    """What a command writes to stdout is kept, and shown only where --print asks for it."""
    ended = run(folder, "--items", "-", *shell('echo "receipt $1"; echo talk >&2'), stdin="a\n")

    assert (0, "") == (ended.code, ended.out)
    assert "talk" in ended.err
    with Runner.open_read(folder / "a.wal") as view:
        assert "receipt a" == view.item("a").result


# --- Keys -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "expected"), [("id", ["7"]), ("id,region", ['["7","eu"]', '["7","us"]']), ("content", 2)]
)
def test_key_names_the_items(folder, key, expected):
    """A field, several fields, or the whole content; an id that comes twice is run once."""
    items = write(folder, "a.csv", "id,region", "7,eu", "7,us", "7,eu")
    ended = run(folder, "--items", items, "--key", key, "--json", *PRINT_ITEM)

    assert 0 == ended.code
    assert expected in (list(statuses(folder)), len(statuses(folder)))
    assert 3 == ended.json["succeeded"] + ended.json["duplicates"]


def test_another_key_on_the_same_log_is_refused(folder):
    """It would make every item look new."""
    items = write(folder, "a.csv", "id,name", "7,Ann")
    run(folder, "--items", items, "--key", "id", *PRINT_ITEM)
    ended = run(folder, "--items", items, "--key", "name", "--print", *PRINT_ITEM)

    assert (1, "") == (ended.code, ended.out)
    assert "field:id" in ended.err


# --- What is wrong from the beginning ---------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--items", "a.csv", "--key", "id"), "Say what to run"),
        (("--items", "a.csv", "--key", "id", "--call", "m:f", "--", "echo"), "not both"),
        (("--items", "a.csv", "--key", "id", "echo", "{}"), "behind --"),
        (("--items", "a.csv", "--key", "id", "curl", "-s", "{}"), "behind --"),
        (("--", "echo"), "--items"),
        (("--items", "a.csv", "--key", "id", "--", "echo", "{idd}"), "{idd} of the command is no field"),
        (("--items", "a.txt", "--", "echo", "{id}"), "{id} of the command is no field"),
        (("--items", "a.csv", "--key", "id", "--", "no-such-program", "{}"), "no program"),
        (("--items", "a.csv", "--key", "idd", "--", "echo"), "no field 'idd'. It has: id, name"),
        (("--items", "a.csv", "--key", "id,", "--", "echo"), "empty name"),
        (("--items", "a.csv", "--", "echo"), "--key with one of its fields (id, name)"),
        (("--items", "a.txt", "--key", "id", "--", "echo"), "have no fields"),
        (("--items", "a.jsonl", "--key", "id", "--", "echo"), "None"),
        (("--items", "b.jsonl", "--", "echo"), "cannot be named"),
        (("--items", "a.data", "--", "echo"), "--items-format"),
        (("--items", "a.txt", "-j", "0", "--", "echo"), "-j"),
        (("--items", "a.txt", "--timeout", "0", "--", "echo"), "no time to wait"),
        (("--items", "a.txt", "--timeout", "nan", "--", "echo"), "no time to wait"),
        (("--items", "a.txt", "--in-doubt-exit", "0", "--", "echo"), "from 1 to 255"),
        (("--items", "a.txt", "--in-doubt-exit", "28;52", "--", "echo"), "from 1 to 255"),
        (("--items", "a.txt", "--max-in-doubt", "0", "--", "echo"), "--max-in-doubt"),
        (("--items", "a.txt", "--print", "--json", "--", "echo"), "both write to stdout"),
        (("--items", "a.txt", "--call", "m:f", "--timeout", "1"), "are for commands"),
        (("--items", "a.txt", "--call", "m"), "module:function"),
        (("--items", "a.txt", "--call", "no_such:f"), "no module no_such"),
        (("--items", "a.txt", "--call", "m:g"), "m has no g"),
        (("--items", "a.txt", "--call", "m:number"), "a value of type int cannot be called"),
        (("--items", "a.txt", "--call", "m:lazy"), "lazy is a generator function, or wraps one"),
        (("--items", "a.txt", "--call", "m:bound"), "is a generator function, or wraps one"),
        (("--items", "a.txt", "--result-bytes-max", "9", "--", "echo"), "is for --call"),
    ],
)
def test_what_cannot_work_is_a_usage_error(folder, arguments, complaint):
    """It is told from the command line and the first item; nothing runs, and no log is made."""
    write(folder, "a.csv", "id,name", "7,Ann")
    write(folder, "a.txt", "a")
    write(folder, "a.data", "a")
    write(folder, "a.jsonl", '{"id": null}')
    write(folder, "b.jsonl", "[1]")
    lazy = ("def lazy(item): yield item", "class Lazy:", "    def __call__(self, item): yield item", "bound = Lazy()")
    write(folder, "m.py", "number = 7", "def f(item): return item", *lazy)
    ended = run(folder, *arguments)

    assert (2, "") == (ended.code, ended.out)
    assert complaint in ended.err
    assert not (folder / "a.wal").exists()


def test_missing_file_of_items_is_an_error(folder):
    """It is told before a log is made."""
    ended = run(folder, "--items", "none.txt", *PRINT_ITEM)

    assert 1 == ended.code
    assert "none.txt: No such file" in ended.err
    assert not (folder / "a.wal").exists()


def test_resume_never_creates_a_log(folder):
    """A mistyped path is told, instead of everything being run again on a new log."""
    ended = run(folder, "--items", "-", "--resume", *PRINT_ITEM, stdin="a\n")

    assert (10, "") == (ended.code, ended.out)
    assert str(folder / "a.wal") in ended.err
    assert not (folder / "a.wal").exists()


def test_damaged_log_is_told_apart(folder):
    """Code 12: run nothing on it."""
    run(folder, "--items", "-", *PRINT_ITEM, stdin="a\n")
    log = folder / "a.wal"
    log.rename(folder / "broken")
    data = folder / "broken" / "data.mdb"
    data.write_bytes(data.read_bytes()[:4096])
    ended = walrun("run", "broken", "--items", "-", *PRINT_ITEM, cwd=folder, stdin="a\n")

    assert (12, "") == (ended.code, ended.out)


# --- Outcomes ----------------------------------------------------------------------------------


def test_done_items_are_not_run_again(folder):
    """A rerun runs what is new and what failed, and nothing else."""
    script = 'echo "$1" >> ran; [ "$1" != b ] || [ -e repaired ]'
    first = run(folder, "--items", "-", *shell(script), stdin="a\nb\n")
    (folder / "repaired").touch()
    second = run(folder, "--items", "-", *shell(script), stdin="a\nb\nc\n")

    assert (3, 0) == (first.code, second.code)
    assert "a\nb\nb\nc\n" == (folder / "ran").read_text()
    assert {"a": "succeeded", "b": "succeeded", "c": "succeeded"} == statuses(folder)


def test_first_line_says_which_log_it_is(folder):
    """Whoever mistypes a path sees a new log where one should be resumed."""
    script = "case $1 in b) exit 1;; c) kill -9 $$;; esac"
    first, second = (run(folder, "--items", "-", *shell(script), stdin="a\nb\nc\n") for _ in range(2))

    assert f"new log {folder}/a.wal" == first.err.splitlines()[0]
    assert f"resuming {folder}/a.wal: 1 done, 1 failed, 1 in doubt" == second.err.splitlines()[0]


@pytest.mark.parametrize(
    ("script", "options", "reason"),
    [
        ("kill -9 $$", (), "was killed by SIGKILL"),
        ("exec sleep 60", ("--timeout", "0.2"), "ran longer than 0.2 s"),
        ("exit 52", ("--in-doubt-exit", "28,52"), "exit code 52"),
    ],
)
def test_lost_outcome_is_in_doubt_and_held(folder, script, options, reason):
    """Killed, timed out or declared so: the effect may have happened, and no rerun repeats it."""
    arguments = ("--items", "-", *options, *shell(f'echo "$1" >> ran; {script}'))
    first, second = (run(folder, *arguments, stdin="a\n") for _ in range(2))

    assert (4, 4) == (first.code, second.code)
    assert "a\n" == (folder / "ran").read_text()
    assert {"a": "in_doubt"} == statuses(folder)
    for ended in (first, second):
        assert reason in ended.err
        assert "1 item is in doubt" in ended.err


def test_doubt_beats_failure(folder):
    """A script that tests for 4 finds out about doubts whatever else went wrong."""
    ended = run(folder, "--items", "-", *shell('[ "$1" = a ] && kill -9 $$; exit 1'), stdin="a\nb\n")

    assert 4 == ended.code
    assert {"a": "in_doubt", "b": "failed"} == statuses(folder)


def test_idempotent_items_are_run_again(folder):
    """Where a redo is harmless a lost outcome is a failure, and an older doubt is run again."""
    script = "[ -e repaired ] || kill -9 $$"
    held = run(folder, "--items", "-", *shell(script), stdin="a\n")
    redone = run(folder, "--items", "-", "--idempotent", *shell(script), stdin="a\nb\n")
    (folder / "repaired").touch()
    done = run(folder, "--items", "-", "--idempotent", *shell(script), stdin="a\nb\n")

    assert (4, 3, 0) == (held.code, redone.code, done.code)


def test_item_that_does_not_fit_fails_alone(folder):
    """A field that a later item lacks is that item's failure: its command never began."""
    items = write(folder, "a.jsonl", '{"id": 1, "to": "Ann"}', '{"id": 2}', '{"id": 3, "to": "Bob"}')
    ended = run(folder, "--items", items, "--key", "id", "--print", "--", "echo", "{to}")

    assert (3, "Ann\nBob\n") == (ended.code, ended.out)
    assert "2: The item has no field 'to'" in ended.err


def test_bad_line_ends_the_run_behind_what_came_before(folder):
    """It is named; what was read is done and on record; repaired, the same command goes on."""
    items = write(folder, "a.jsonl", '"a"', "nonsense", '"c"')
    first = run(folder, "--items", items, "--json", *PRINT_ITEM)
    write(folder, "a.jsonl", '"a"', '"b"', '"c"')
    second = run(folder, "--items", items, "--json", *PRINT_ITEM)

    assert (1, 0) == (first.code, second.code)
    assert "Error: a.jsonl:2 is no JSON value" in first.err
    assert ("a.jsonl:2", 1, 1) == (first.json["error"][:9], first.json["succeeded"], first.json["exit_code"])
    assert (2, 1) == (second.json["succeeded"], second.json["skipped"])


def test_workers_run_at_once(folder):
    """With -j 3 three commands run at once: each waits for the other two."""
    script = "touch here-$1; while [ ! -e here-a ] || [ ! -e here-b ] || [ ! -e here-c ]; do :; done"
    ended = run(folder, "--items", "-", "-j", "3", "--timeout", "50", *shell(script), stdin="a\nb\nc\n")

    assert 0 == ended.code


def test_doubt_bound_is_kept_and_told(folder):
    """--max-in-doubt 1 commits each item by itself, and the summary says what a power cut could have left."""
    ended = run(folder, "--items", "-", "-j", "4", "--max-in-doubt", "1", "--json", *PRINT_ITEM, stdin="a\nb\nc\n")

    assert 1 == ended.json["doubt_bound"]
    assert "A power cut could have left at most 1 item in doubt." in ended.err


# --- Functions --------------------------------------------------------------------------------


MODULE = """
import asyncio, threading
from wal_runner import OutcomeUnknown, current_attempt

barrier = threading.Barrier(3)
begun = []

def double(item):
    return {"twice": 2 * item, "id": current_attempt().item_id}

def meet(item):
    barrier.wait(60)

async def meet_async(item):
    begun.append(item)
    while len(begun) < 3:
        await asyncio.sleep(0)
    return item

def fail(item):
    raise OutcomeUnknown("no reply") if item == 1 else ValueError("no such address")

class Sender:
    def send(self, item):
        return "sent"

sender = Sender()
"""


@pytest.mark.parametrize(("name", "expected"), [("double", {"twice": 2, "id": "1"}), ("sender.send", "sent")])
def test_function_is_called(folder, name, expected):
    """A function of a module in the working folder gets the item; what it returns is the result."""
    (folder / "shop.py").write_text(MODULE)
    ended = run(folder, "--items", write(folder, "a.jsonl", "1"), "--call", f"shop:{name}")

    assert 0 == ended.code, ended.err
    with Runner.open_read(folder / "a.wal") as view:
        assert expected == view.item("1").result


def test_omitted_results_are_told_once_with_the_first_reason(folder):
    """The summary says how many and why; the library's warning about the same is left out."""
    (folder / "shop.py").write_text("def made(item):\n    return object()\n")
    ended = run(folder, "--items", write(folder, "a.jsonl", "1", "2"), "--json", "--call", "shop:made")
    told = [line for line in ended.err.splitlines() if "kept" in line or "keep" in line]

    assert ["2 results could not be kept; the items have succeeded all the same."] == told
    assert "  1: an object cannot be stored" in ended.err
    assert (2, "1") == (ended.json["results_omitted"], ended.json["first_omitted"]["item_id"])


KILLING = "import os\n\ndef fn(item):\n    if item == 'bad':\n        os.kill(os.getpid(), 9)\n"


@pytest.mark.parametrize(
    ("more", "codes"),
    [((), [-9, -9, -9, 4]), (("--max-deaths", "1"), [-9, 4]), (("--max-deaths", "0"), [-9] * 5)],
    ids=["by default", "once", "without a bound"],
)
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_item_that_kills_walrun_is_held(folder, more, codes, kind):
    """After --max-deaths it is in doubt: `status` and `inspect` say why, and the others are done."""
    (folder / "shop.py").write_text(KILLING.replace("def", kind))
    command = ("--items", write(folder, "a.txt", "bad", "one"), "--idempotent", *more, "--call", "shop:fn")
    found = [run(folder, *command).code for _ in codes]
    status = walrun("status", "a.wal", cwd=folder)
    now = walrun("status", "--json", "a.wal", cwd=folder).json["now"]
    inspected = walrun("inspect", "a.wal", cwd=folder)

    assert codes == found
    if codes[-1] == 4:
        assert {"bad": "in_doubt", "one": "succeeded"} == statuses(folder)
        assert "in doubt (1 held because their process died with them repeatedly)" in status.out
        assert 1 == now["held_for_deaths"]
        deaths = len(codes) - 1
        assert f"in flight in {deaths} death{'s' if deaths > 1 else ''}, alone in the last" in inspected.out
        assert f"attempt {deaths}, held 2" in inspected.out
        assert deaths == walrun("inspect", "--json", "a.wal", cwd=folder).json["in_doubt"][0]["deaths"]
        assert f"  deaths           {deaths} " in walrun("inspect", "a.wal", "bad", cwd=folder).out
    else:
        assert 0 == now["held_for_deaths"]


def test_larger_results_are_kept_if_asked_for(folder):
    """1 MiB is the limit; --result-bytes-max raises it, for coroutine functions too."""
    (folder / "shop.py").write_text("async def made(item):\n    return 'x' * 2_000_000\n")
    items = write(folder, "a.jsonl", "1")
    ended = run(folder, "--items", items, "--result-bytes-max", "3000000", "--json", "--call", "shop:made")

    assert (0, 0) == (ended.code, ended.json["results_omitted"])


def test_required_results_end_the_run_with_code_6(folder):
    """The item whose result cannot be kept has succeeded; nothing more is started."""
    (folder / "shop.py").write_text("def made(item):\n    return object()\n")
    items = write(folder, "a.jsonl", *map(str, range(50)))
    ended = run(folder, "--items", items, "--results", "required", "--json", "--call", "shop:made")
    told = run(folder, "--items", items, "--results", "required", "--call", "shop:made")

    assert (6, 1, "result_required") == (ended.code, ended.json["succeeded"], ended.json["ended_because"])
    assert "The run ended there, since --results required asks for every result." in told.err


CONNECTING = """
import socket
from contextlib import contextmanager
from pathlib import Path

attempts = []

class Link:
    def __enter__(self):
        attempts.append(None)
        if len(attempts) > 1 and not Path("up").exists():
            raise ConnectionRefusedError("no database")
        return len(attempts)

    def __exit__(self, *_):
        pass

@contextmanager
def broken():
    raise ConnectionRefusedError("no database")
    yield

def connect():
    return Link()

class LinkAsync:
    async def __aenter__(self):
        return connect().__enter__()

    async def __aexit__(self, *_):
        pass

def connect_async():
    return LinkAsync()

def store(item, number):
    if item == 3 and number == 1:
        raise BrokenPipeError("lost")
    if item == 4:
        raise ValueError("no")
    return number

async def store_async(item, number):
    return store(item, number)
"""


@pytest.mark.parametrize(
    ("options", "used"),
    [((), [1, 1, 2, 2]), (("--renew", "always"), [1, 1, 3, 3]), (("--renew", "never"), [1, 1, 1, 1])],
)
@pytest.mark.parametrize("suffix", ["", "_async"])
def test_connections_of_a_function_are_renewed(folder, options, used, suffix):
    """--per-worker makes what the function gets besides its item, and --renew says when it is made again."""
    (folder / "shop.py").write_text(CONNECTING)
    (folder / "up").touch()
    items = write(folder, "a.jsonl", *map(str, range(1, 7)))
    words = ("--per-worker", f"shop:connect{suffix}", *options, "--call", f"shop:store{suffix}")
    ended = run(folder, "--items", items, "--json", *words)
    with Runner.open_read(folder / "a.wal") as view:
        results = dict(view.results())

    assert (4, 4, 1, 1) == (ended.code, ended.json["succeeded"], ended.json["failed"], ended.json["in_doubt"])
    assert dict(zip(["1", "2", "5", "6"], used, strict=True)) == results


@pytest.mark.parametrize("as_json", [True, False])
def test_run_without_connections_ends_with_code_6(folder, as_json):
    """What happened, the last error of connecting, and the command that goes on, with its options."""
    (folder / "shop.py").write_text(CONNECTING)
    items = write(folder, "a.jsonl", *map(str, range(1, 4)), *map(str, range(5, 50)))
    words = ("--per-worker", "shop:connect", "--connect-timeout", "0.2", "--idempotent", "--call", "shop:store")
    ended = run(folder, "--items", items, *(["--json"] if as_json else []), *words)

    assert 6 == ended.code
    if as_json:
        assert ("connection", "ConnectionRefusedError: no database", False, 2, 1) == tuple(
            ended.json[name] for name in ("ended_because", "connect_error", "ok", "succeeded", "failed")
        )
    else:
        assert "no worker could connect again within --connect-timeout. The last error:" in ended.err
        assert "  ConnectionRefusedError: no database" in ended.err
        assert "run the same again to go on" in ended.err
        assert f"--resume a.wal --items {items} --per-worker shop:connect --connect-timeout 0.2" in ended.err
        (folder / "up").touch()
        again = run(folder, "--items", items, "--json", *words)
        assert (3, None, 45) == (again.code, again.json["ended_because"], again.json["succeeded"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--per-worker", "shop:connect", "--", "true"), "--per-worker is for --call"),
        (("--renew", "never", "--call", "shop:store"), "are for --per-worker"),
        (("--connect-timeout", "5", "--call", "shop:store"), "are for --per-worker"),
        (("--connect-timeout", "0", "--per-worker", "shop:connect", "--call", "shop:store"), "no time to wait"),
        (("--per-worker", "shop:nothing", "--call", "shop:store"), "--per-worker shop:nothing: shop has no nothing"),
        (("--per-worker", "shop", "--call", "shop:store"), "as in --per-worker shop.prices:update"),
    ],
)
def test_connection_options_that_make_no_sense_are_refused(folder, words, says):
    """A usage error, before a log is made."""
    (folder / "shop.py").write_text(CONNECTING)
    ended = run(folder, "--items", write(folder, "a.jsonl", "1"), *words)

    assert 2 == ended.code
    assert says in ended.err
    assert not (folder / "a.wal").exists()


def test_function_is_called_by_its_name_in_errors(folder):
    """And not by that of the wrapper that the command line puts around it."""
    (folder / "shop.py").write_text("def made(item):\n    return map(str, [item])\n")
    ended = run(folder, "--items", write(folder, "a.jsonl", "1"), "--call", "shop:made")

    assert "made returned a map" in ended.err
    assert "<locals>" not in ended.err


@pytest.mark.parametrize("name", ["meet", "meet_async"])
def test_functions_run_at_once(folder, name):
    """-j is for functions too: threads, or coroutines of a coroutine function. Each waits for the others."""
    (folder / "shop.py").write_text(MODULE)
    items = write(folder, "a.jsonl", "1", "2", "3")
    ended = run(folder, "--items", items, "-j", "3", "--json", "--call", f"shop:{name}")

    assert (0, 3) == (ended.code, ended.json["succeeded"]), ended.err


def test_functions_fail_and_leave_doubt_as_in_the_library(folder):
    """An exception is a failure; one that says that the reply was lost leaves doubt."""
    (folder / "shop.py").write_text(MODULE)
    ended = run(folder, "--items", write(folder, "a.jsonl", "1", "2"), "--call", "shop:fail")

    assert 4 == ended.code
    assert {"1": "in_doubt", "2": "failed"} == statuses(folder)
    assert "1: no reply" in ended.err
    assert "2: no such address" in ended.err


def test_module_that_fails_to_import_shows_why(folder):
    """Its own error is not taken for a module that does not exist."""
    (folder / "shop.py").write_text("import no_such_thing")
    ended = run(folder, "--items", "-", "--call", "shop:f", stdin="a\n")

    assert 1 == ended.code
    assert "No module named 'no_such_thing'" in ended.err
    assert "shop.py" in ended.err


# --- What is said ------------------------------------------------------------------------------


def test_json_is_the_report(folder):
    """Stdout is one line of JSON, with the numbers of the report, the log and the exit code."""
    ended = run(folder, "--items", "-", "--json", *shell('[ "$1" = a ]'), stdin="a\nb\n")

    assert 3 == ended.code
    assert {
        "log": str(folder / "a.wal"),
        "seen": 2,
        "succeeded": 1,
        "failed": 1,
        "exit_code": 3,
        "ok": False,
    }.items() <= (ended.json.items())
    assert {"succeeded": 1, "failed": 1}.items() <= ended.json["totals"].items()


def test_summary_says_what_to_do_next(folder):
    """Counts, reasons, and commands; the library's own warning is left out."""
    script = "case $1 in b) echo bad address >&2; exit 1;; c) kill -9 $$;; esac"
    ended = run(folder, "--items", "-", *shell(script), stdin="a\nb\nc\n")

    assert "1 succeeded, 1 failed, 1 in doubt" in ended.err
    assert "b: sh ended with exit code 1. It said: bad address" in ended.err
    assert "c: sh was killed by SIGKILL" in ended.err
    assert "The run of" not in ended.err
    assert "Traceback" not in ended.err


def test_commands_of_the_summary_can_be_pasted(folder):
    """What it says to do about a doubt and a failure does it, pasted into a shell as it stands."""
    items = write(folder, "the items.txt", "it's a", "b")
    script = """[ -e repaired ] || case "$1" in b) exit 1;; *) kill -9 $$;; esac"""
    ended = run(folder, "--items", items, *shell(script))
    lines = [line.strip() for line in ended.err.splitlines()]
    [verdict] = [line for line in lines if "resolve" in line and "--did-not-happen" in line]
    [rerun] = [line for line in lines if " run --resume " in line]
    (folder / "repaired").touch()
    codes = [paste(folder, line) for line in (verdict, rerun)]

    assert 4 == ended.code
    assert [0, 0] == codes
    assert {"it's a": "succeeded", "b": "succeeded"} == statuses(folder)


def test_all_done_is_said(folder):
    """So that nobody has to wonder."""
    ended = run(folder, "--items", "-", *PRINT_ITEM, stdin="a\n")

    assert "Everything that this log has started is done." == ended.err.splitlines()[-1]


def test_short_run_in_a_pipe_shows_no_progress(folder):
    """Cron mails what is written to stderr: the first line, and the summary."""
    ended = run(folder, "--items", "-", *PRINT_ITEM, stdin="a\nb\n")

    assert 4 == len(ended.err.splitlines())


def test_terminal_shows_a_bar_and_stdout_stays_data(folder):
    """On a terminal the run is seen as it goes; what the commands print goes where it was sent, untouched."""
    items = write(folder, "a.txt", "a", "b", "c")
    ours, theirs = os.openpty()
    arguments = ["run", "a.wal", "--items", items, "--print", *shell('echo "$1"; echo talk >&2')]
    with (
        open(ours, "rb", buffering=0) as screen,  # noqa: PTH123 - a descriptor
        subprocess.Popen(
            [sys.executable, "-m", "wal_runner", *arguments],
            cwd=folder,
            env=environment({"TERM": "xterm", "COLUMNS": "100"}),
            stdout=subprocess.PIPE,
            stderr=theirs,
        ) as process,
    ):
        os.close(theirs)
        shown = read_to_the_end(screen)
        out = process.stdout.read()

    assert (0, b"a\nb\nc\n") == (process.returncode, out)
    assert "3 of 3" in shown
    assert "talk" in shown
    assert "Everything that this log has started is done." in shown


def read_to_the_end(screen):
    """Read what a terminal shows until nobody writes to it any more."""
    shown = b""
    # A terminal that nobody has open any more says EIO, not the end of the file.
    with suppress(OSError):
        while part := screen.read(4096):
            shown += part
    return shown.decode()


def test_run_by_the_script_is_the_same(folder):
    """The console script's command can be pasted too; here by the entry point that it calls."""
    program = "import sys; sys.argv[0] = 'walrun'; from wal_runner.cli.main import main; main()"
    arguments = ["run", "a.wal", "--items", write(folder, "a.txt", "a"), *shell("exit 1")]
    ended = python("-c", program, *arguments, cwd=folder)

    assert 3 == ended.code
    assert f"  walrun run --resume a.wal --items a.txt {shlex.join(shell('exit 1'))}" in ended.err.splitlines()


def test_log_holds_what_the_report_says(folder):
    """The totals of the report are the counts of the log."""
    ended = run(folder, "--items", "-", "--json", *shell('[ "$1" = a ]'), stdin="a\nb\n")
    with Runner.open_read(folder / "a.wal") as view:
        counts = view.counts()

    assert ended.json["totals"] == {status.word: counts[status] for status in Status}


def paste(folder, line):
    """Run *line* as a shell would."""
    return subprocess.run(
        ["sh", "-c", line], cwd=folder, env=environment(), check=False, capture_output=True
    ).returncode


def test_run_with_doubts_says_what_idempotent_would_do(folder):
    """The last line names the option; a run that has it does not need to be told."""
    items = write(folder, "items.txt", "one")
    told = run(folder, "--items", items, *shell("kill -9 $$"))
    silent = run(folder, "--items", items, "--idempotent", *shell("kill -9 $$"))

    assert "add --idempotent" in told.err.splitlines()[-1]
    assert "add --idempotent" not in silent.err
