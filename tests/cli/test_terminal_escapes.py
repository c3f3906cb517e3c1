"""No text of a log, an argument or an error reaches the terminal in a form that the terminal acts on."""

import ast
import json
import re

import pytest

from tests.cli.terminal import ROOT, crash, walrun
from tests.support.examples import FULL
from wal_runner import Runner, Status
from wal_runner.cli.event_text import event_line
from wal_runner.cli.next_steps import rerun, resolve_commands
from wal_runner.cli.output import json_text
from wal_runner.cli.words import harmless_lines, is_argument, is_harmless, shell_word
from wal_runner.core.items import SessionInfo
from wal_runner.recovery.reader import HistoryEntry


# A title, a color, a C1 sequence, a backspace, DEL, marks of direction, line ends of Unicode, and a line of its own.
EVIL = "\x1b]0;PWNED\x07\x1b[31m\x9b5m\x08\x7f\u202e\u2066\u200f\u061c\u2028\r\t\nFORGED: all is well\u2069"
BAD = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]|^ *FORGED", re.MULTILINE
)

HOSTILE_PROGRAM = """
import os, sys
from wal_runner import OutcomeUnknown, Runner, Verdict
from wal_runner.log import host

log, evil = sys.argv[1:]
host.user_name = lambda: "user" + evil
host.host_name = lambda: "host" + evil
os.chdir(os.path.dirname(log))
os.mkdir("cwd" + evil)
os.chdir("cwd" + evil)
sys.argv[:] = ["/usr/bin/walrun", "run", "log" + evil, "--items", "x.csv" + evil, "--", "sh", "-c", "cmd" + evil]

def fn(item):
    kind = item["id" + evil].partition("|")[0]
    if kind == "failed":
        raise ValueError("message" + evil)
    if kind in {"doubted", "settled", "settled too"}:
        raise OutcomeUnknown("reason" + evil)
    if kind == "died":
        os.kill(os.getpid(), 9)
    if kind == "omitted":
        return type("name" + evil, (), {"__repr__": lambda self: evil})()
    return {"result" + evil: evil}

def fetch(cursor, _size):
    kinds = ["done", "omitted", "failed", "doubted", "settled", "settled too"] if cursor is None else ["died"]
    return [{"id" + evil: kind + "|" + evil} for kind in kinds], "cursor" + evil if cursor is None else None

runner = Runner(log)
runner.run([{"id" + evil: "first|" + evil}, {"id" + evil: "settled|" + evil}], fn, key="id" + evil)
runner.resolve("settled|" + evil, Verdict.happened({evil: evil}), by="by" + evil, note="note" + evil)
runner.run_pages(fetch, fn, key="id" + evil, source="source" + evil, max_in_doubt=1)
"""


@pytest.fixture(scope="module")
def evil_log(tmp_path_factory):
    """Make a log whose every text holds EVIL, and whose last session died."""
    folder = tmp_path_factory.mktemp("hostile")
    crash(folder / "a.wal", HOSTILE_PROGRAM, EVIL)
    return folder / "a.wal"


COMMANDS = [
    ("status", "LOG"),
    ("status", "LOG", "--json"),
    ("inspect", "LOG"),
    ("inspect", "LOG", "--json"),
    ("inspect", "LOG", "--ids"),
    ("inspect", "LOG", *(f"{kind}|{EVIL}" for kind in ("done", "failed", "doubted", "died", "omitted", "unknown"))),
    ("inspect", "LOG", "--json", *(f"{kind}|{EVIL}" for kind in ("done", "failed", "doubted", "died", "unknown"))),
    ("replay", "LOG"),
    ("replay", "LOG", "--json"),
    ("replay", "LOG", "--state"),
    ("replay", "LOG", "--state", "--json"),
    ("replay", "LOG", "--item", f"failed|{EVIL}"),
    ("replay", "LOG", "--item", f"unknown|{EVIL}"),
    ("replay", "LOG", "--state", "--item", f"failed|{EVIL}"),
    ("verify", "LOG"),
    ("verify", "LOG", "--json"),
    ("compact", "LOG", "--dry-run"),
    ("resolve", "LOG", f"unknown|{EVIL}", "--happened"),
    ("resolve", "LOG", f"done|{EVIL}", "--happened", "--note", EVIL, "--by", EVIL),
    ("resolve", "LOG", f"doubted|{EVIL}", "--happened", "--result", EVIL),
    ("retry", "LOG", f"doubted|{EVIL}"),
    ("retry", "LOG", f"unknown|{EVIL}"),
    ("retry", "LOG", f"failed|{EVIL}", "--json"),
    ("run", "LOG", "--items", "-", "--", "true"),
    ("run", "LOG", "--items", "-", "--key", "content", "--json", "--", "true"),
    ("resolve", "LOG", f"doubted|{EVIL}", "--abandon", "--json"),
]

ARGUMENTS = [
    (f"frobnicate{EVIL}",),
    ("status", f"--frobnicate{EVIL}"),
    ("status", "LOG", EVIL),
    ("status", f"no-log{EVIL}"),
    ("verify", f"no-log{EVIL}"),
    ("replay", "LOG", "--until", EVIL),
    ("run", EVIL),
    ("run", f"new{EVIL}", "--items", f"missing{EVIL}", "--", "true"),
    ("run", f"new{EVIL}", "--items", f"missing{EVIL}.csv", "--key", EVIL, "--", "true"),
    ("run", "new", "--items", "-", "--workers", EVIL, "--", "true"),
    ("run", "new", "--items", "-", "--in-doubt-exit", EVIL, "--", "true"),
    ("run", "new", "--items", "-", "--items-format", EVIL, "--", "true"),
    ("run", "new", "--items", "-", "--call", EVIL),
    ("run", "new", "--items", "-", "--", f"{{{EVIL}}}"),
    ("run", f"new{EVIL}", "--items", "-", "--", f"missing{EVIL}", "{}"),
    ("run", f"new{EVIL}", "--items", "-", "--", "sh", "-c", f"exit 1 # {EVIL}", "{}"),
    ("run", f"new{EVIL}", "--items", "-", "--call", "raising:fn"),
    ("run", f"new{EVIL}", "--items", "-", "--call", "raising_at_import:fn"),
    ("run", f"new{EVIL}", "--items", "-", "--call", "warning:fn"),
    ("resolve", "LOG", "-", "--happened"),
    ("demo", "--items", EVIL),
]

MODULES = {
    "raising": f"def fn(item): raise ValueError({EVIL!r})",
    "raising_at_import": f"raise ValueError({EVIL!r})",
    "warning": (
        "import logging, threading\n"
        f"def fn(item):\n    logging.getLogger({EVIL!r}).warning('%s', {EVIL!r})\n"
        f"    thread = threading.Thread(target=lambda: 1 / 0, name={EVIL!r})\n    thread.start(); thread.join()\n"
    ),
}


def streams(ended):
    """Return what was written, with what a terminal would act on, or take for a line of ours."""
    return [(name, BAD.findall(text)) for name, text in (("stdout", ended.out), ("stderr", ended.err))]


CLEAN = [("stdout", []), ("stderr", [])]


@pytest.mark.parametrize("arguments", COMMANDS, ids=[f"{n} {words[0]}" for n, words in enumerate(COMMANDS)])
def test_hostile_log_moves_no_cursor(evil_log, arguments):
    """Every command shows every text of a log in a form that a terminal does not act on."""
    ended = walrun(*(evil_log if word == "LOG" else word for word in arguments), stdin="new\n")

    assert CLEAN == streams(ended)
    assert "Traceback" not in ended.err
    assert ended.out + ended.err


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=[f"{n} {words[0][:10]}" for n, words in enumerate(ARGUMENTS)])
def test_hostile_arguments_move_no_cursor(evil_log, tmp_path, arguments):
    """Errors repeat arguments, exceptions of functions and log records; all of them are escaped."""
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)

    words = [evil_log if word == "LOG" else word for word in arguments]
    evil = EVIL.replace("\n", "")
    ended = walrun(*words, stdin=f'a{evil}\n1\t"{evil}\n', cwd=tmp_path)

    # The message of an exception that ends us takes several lines, as Python writes it.
    expected = [("stdout", []), ("stderr", ["FORGED"])] if "raising_at_import:fn" in arguments else CLEAN

    assert expected == streams(ended)
    assert ended.err


def test_hostile_log_is_hostile(evil_log):
    """The log of these tests does hold the escapes: a test of nothing would pass."""
    with Runner.open_read(evil_log) as view:
        assert f"failed|{EVIL}" in {item.item_id for item in view.items()}
        assert {f"result{EVIL}": EVIL} == view.item(f"first|{EVIL}").result
    assert EVIL in {part for line in walrun("replay", evil_log, "--json").json_lines for part in texts(line)}


def texts(value):
    """Yield the texts in a JSON value, and EVIL for one that holds it."""
    if isinstance(value, str):
        yield EVIL if EVIL in value else value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from texts(part)


# --- What holds for each part --------------------------------------------------------------


@pytest.mark.parametrize("kind", FULL, ids=lambda kind: kind.__name__)
def test_each_event_is_one_harmless_line(kind):
    """Whatever texts an event holds."""
    event = FULL[kind]
    evil = event._replace(**{n: EVIL for n, value in zip(event._fields, event, strict=True) if type(value) is str})

    line = event_line(HistoryEntry(1, 1, 1, evil), EVIL)

    assert line.isprintable()


@pytest.mark.parametrize("text", [EVIL, "\udce9", "\x00", "\U000e0001", "\U0001f600"])
def test_json_escapes_what_does_not_print(text):
    """It reads back as the same text."""
    shown = json_text({text: text})

    assert shown.isprintable()
    assert {text: text} == json.loads(shown)


def test_words_that_no_process_was_started_with_make_no_command():
    """A NUL ends a word in the shell: the command would name something else."""
    for text in ("a\x00b", "\ud800"):
        info = SessionInfo(1, "h", 1, "b", ("walrun", "run", text), "/", "u", "1", "1", 1)

        assert (None, {}) == (rerun([info], text).command, resolve_commands("log", text, 1, 1))
        with pytest.raises(ValueError, match="no argument"):
            shell_word(text)


def test_text_is_harmful_if_a_terminal_acts_on_it():
    """Joiners of emoji and spaces without a break are text."""
    assert [True, True, False, False] == [is_harmless(text) for text in ("ü x", "👩‍👩‍👧\u00a0", "a\x85", "a\u2067")]
    assert "a\\x1b\nb\\r" == harmless_lines("a\x1b\nb\r")
    assert is_argument("caf\udce9")


# --- Ids through a pipe ---------------------------------------------------------------------


STRANGE = [f"a{EVIL}", '"quoted"', '"', "12\tx", "\n", "plain", "👩‍👩‍👧"]


def test_attempts_with_controls_come_back_from_a_pipe(tmp_path):
    """``inspect --attempts`` prints ids with controls as JSON strings, and ``resolve -`` reads them back."""
    log = tmp_path / "a.wal"
    with Runner(log) as runner:
        runner.run(STRANGE, lose_reply)

    listed, ids = walrun("inspect", log, "--attempts"), walrun("inspect", log, "--ids")
    settled = walrun("resolve", log, "-", "--abandon", stdin=listed.out)

    assert [] == BAD.findall(listed.out.replace("\t", ""))
    assert (['"quoted"', '"', "plain", "👩‍👩‍👧"], True) == (ids.out.splitlines(), "3 ids left out" in ids.err)
    assert 0 == settled.code, settled.err
    with Runner.open_read(log) as view:
        assert {Status.ABANDONED} == {item.status for item in view.items()}


def lose_reply(_item):
    """Lose the reply."""
    raise TimeoutError("no answer")


# --- Nothing prints beside the one place ------------------------------------------------------


# Each may only shrink. The demo's own processes write numbers; progress writes constants and numbers; the output of
# the user's commands is passed on as it is.
PRINTS_ALLOWED = {
    "cli/output.py": 6,
    "cli/demo_sender.py": 1,
    "cli/demo_server.py": 1,
    "runner/command_output.py": 1,
    "runner/progress.py": 1,
    "runner/progress_bar.py": 1,
}


PRINTS = re.compile(
    r"(.*\.)?(print|echo|secho)|(error|plain|exception)\.show|(.*[._])?(stdout|stderr|stream)(\.buffer)?\.write(lines)?"
)


def test_nothing_prints_beside_the_one_place():
    """Text reaches the terminal through `wal_runner.cli.output` only."""
    package = ROOT / "wal_runner"
    found = {str(path.relative_to(package)): prints_in(path.read_text()) for path in sorted(package.rglob("*.py"))}

    assert PRINTS_ALLOWED == {name: count for name, count in found.items() if count}


@pytest.mark.parametrize(
    "source",
    ["print(1)", "click.echo(1)", "echo(1)", "sys.stdout.write(1)", "error.show()", "sys.stdout.buffer.write(1)"],
)
def test_each_way_to_print_is_found(source):
    """A check that finds nothing would pass."""
    assert 1 == prints_in(source)


def prints_in(source):
    """Count the calls in *source* that write to a standard stream."""
    calls = [ast.unparse(node.func) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return sum(PRINTS.fullmatch(call) is not None for call in calls)
