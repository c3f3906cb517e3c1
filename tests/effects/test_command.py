"""Commands as effects: what runs, what it is told, and what each way of ending means."""

import fcntl
import json
import os
import select
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wal_runner.errors import OutcomeUnknown
from wal_runner.runner import command
from wal_runner.runner.command import CommandEffect, CommandFailed, CommandTemplate, CommandTemplateInvalid
from wal_runner.runner.command_output import Passage


KEY = "ab" * 32

# A bound for what should take milliseconds; a test that reaches it fails.
PATIENCE_S = 20


def shell(script, **options):
    """Return the effect that runs *script* with the item as its first argument."""
    return CommandEffect(CommandTemplate(["/bin/sh", "-c", script, "sh", "{}"]), **options)


def python(program, **options):
    """Return the effect that runs a Python *program* with the item as its first argument."""
    return CommandEffect(CommandTemplate([sys.executable, "-c", program, "{}"]), **options)


def run(effect, item="a"):
    """Run *effect* for *item* as a run would, and return its result."""
    return effect(item, "id-of-a", 1, KEY)


def open_files():
    """Return how many descriptors this process has open."""
    return len(list(Path("/dev/fd").iterdir()))


class Line:
    """A pipe that commands inherit: they write to it, and it ends when the last of them is dead."""

    def __init__(self):
        self.read_end, self.write_end = os.pipe()

    @property
    def path(self):
        """The line as a script can name it; plain sh knows descriptors of one digit only."""
        return f"/dev/fd/{self.write_end}"

    def hear(self):
        """Return what a command has written, or b"" when all are dead."""
        ready, _, _ = select.select([self.read_end], [], [], PATIENCE_S)
        assert ready, "nothing was heard"
        return os.read(self.read_end, 1000)

    def let_go(self):
        """Close our own end for writing, so that only the commands hold it."""
        if self.write_end is not None:
            os.close(self.write_end)
            self.write_end = None


@pytest.fixture
def line():
    """Give a line to commands that a test starts."""
    given = Line()
    yield given
    given.let_go()
    os.close(given.read_end)


@pytest.fixture
def threads():
    """Run effects in threads, as a run with workers does."""
    with ThreadPoolExecutor(8) as pool:
        yield pool


# --- The template ------------------------------------------------------------------------

ITEM = {"id": 7, "name": "Ann O'Hara; rm -rf /", "tags": ["x", None], "no": None, "ü": "ü"}


@pytest.mark.parametrize(
    ("argument", "item", "expected"),
    [
        ("{}", "a b; $(c)", "a b; $(c)"),
        ("-x={}.{}", "a", "-x=a.a"),
        ("{}", {"b": 1, "a": "ü"}, '{"b":1,"a":"ü"}'),
        ("{}", 5, "5"),
        ("{}", None, "null"),
        ("{}", "", ""),
        ("{name}", ITEM, "Ann O'Hara; rm -rf /"),
        ("{id}-{tags}-{no}", ITEM, '7-["x",null]-null'),
        ("{ü}", ITEM, "ü"),
        ('{"user":{id}}', ITEM, '{"user":7}'),
        ("{}", "{id}", "{id}"),
    ],
)
def test_braces_are_filled_in(argument, item, expected):
    """{} is the item and {name} a field; text goes in as it is, the rest as compact JSON."""
    assert [expected] == CommandTemplate([argument]).fill(item)


@pytest.mark.parametrize(
    "argument",
    [
        "{print $1}",
        '{"a": 1}',
        "{a b}",
        "{ id }",
        "{{id}}",
        "{{}}",
        "${id}",
        "{1,2}",
        "{1}",
        "{id",
        "id}",
        "{",
        "{{",
        "}}",
        "{id!r}",
        "{id:>5}",
        "{a.b}",
        "{a-b}",
        "%s $1 \\{",
        "",
    ],
)
def test_other_braces_are_left_alone(argument):
    """What is no place for the item reaches the command exactly as written."""
    template = CommandTemplate(["echo", argument])

    assert ["echo", argument] == template.fill(ITEM)
    assert () == template.fields


def test_fields_are_named_once_in_order():
    """The names that a template uses are known before any item is."""
    assert ("b", "a") == CommandTemplate(["{b}{a}", "{b}", "{}"]).fields


@pytest.mark.parametrize("item", [ITEM, {"id": None, "name": 1}])
def test_a_template_that_fits_is_accepted(item):
    """Fields of the first item pass the check."""
    CommandTemplate(["echo", "{id}", "{name}", "{}"]).check(item)


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (ITEM, "{nmae}, {x} of the command is no field of the first item. The fields are id, name, tags"),
        (
            "text",
            "{id}, {nmae}, {x} of the command is no field of the first item. The items are not mappings",
        ),
        (
            ["id"],
            "so {} is all there is. If the braces are the command's own, put a space inside them: { id }.",
        ),
    ],
)
def test_a_name_that_is_no_field_is_refused(item, said):
    """A mistyped field is found before any start, with the fields that there are."""
    with pytest.raises(CommandTemplateInvalid) as refusal:
        CommandTemplate(["echo", "{id}", "{nmae}", "{x}"]).check(item)

    assert said in str(refusal.value)


def test_a_program_that_does_not_exist_is_refused():
    """A mistyped program is found before any start, rather than once an item."""
    with pytest.raises(CommandTemplateInvalid, match="no-such-program is no program"):
        CommandTemplate(["no-such-program", "{}"]).check("a")
    CommandTemplate(["{}", "x"]).check("a")  # a program that the item names is not known yet


@pytest.mark.parametrize("argv", [[], [""], ["echo", "a\0b"]])
def test_no_command_is_refused(argv):
    """A template that can never run is refused when it is made."""
    with pytest.raises(CommandTemplateInvalid):
        CommandTemplate(argv)


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"name": "x"}, "no field 'id'"),
        ("text", "no field 'id'"),
        ({"id": "a\0b"}, "The field 'id' of the item holds a NUL"),
        ({"id": "a\ud800"}, "The field 'id' of the item holds a lone surrogate"),
        ({"id": {1, 2}}, "The field 'id' of the item cannot be written as JSON"),
    ],
)
def test_an_item_that_does_not_fit_is_refused(item, said):
    """A later item without the field, or with what no argument can hold, runs nothing."""
    with pytest.raises(CommandTemplateInvalid) as refusal:
        CommandTemplate(["echo", "{id}"]).fill(item)

    assert said in str(refusal.value)
    assert "Nothing ran" in str(refusal.value)


# --- What the command is given ---------------------------------------------------------------


def test_the_item_is_one_argument_without_a_shell():
    """No item, however it is written, is anything but one argument."""
    effect = python("import sys, json; print(json.dumps(sys.argv[1:]))")

    for item in ("a b", "$(touch x); `y` && z", "*", "-rf", "ü\n'\"", "{}"):
        assert [item] == json.loads(run(effect, item))


def test_the_environment_names_item_id_attempt_and_key(monkeypatch):
    """A script finds what it needs in its environment, beside our own."""
    monkeypatch.setenv("OURS", "kept")
    monkeypatch.setenv("WALRUN_ITEM", "of an outer walrun")
    names = ["OURS", "WALRUN_ITEM", "WALRUN_ITEM_ID", "WALRUN_ATTEMPT", "WALRUN_IDEMPOTENCY_KEY"]
    effect = CommandEffect(CommandTemplate(["/bin/sh", "-c", ";".join(f'echo "${name}"' for name in names)]))

    assert ["kept", '{"n":"ü"}', "the id", "3", KEY] == effect({"n": "ü"}, "the id", 3, KEY).split("\n")


def test_standard_input_is_empty():
    """A command that reads its input does not eat the items that walrun reads from its own."""
    items_read, items_write = os.pipe()
    os.write(items_write, b"next item\n")
    os.close(items_write)
    ours = os.dup(0)
    os.dup2(items_read, 0)
    try:
        output = run(shell("cat"))
    finally:
        os.dup2(ours, 0)
    left = os.read(items_read, 100)
    os.close(items_read)
    os.close(ours)

    assert output is None
    assert b"next item\n" == left


def test_the_command_has_a_session_of_its_own():
    """Ctrl-C on the terminal goes to the foreground session, where the command is not."""
    assert "True" == run(python("import os; print(os.getsid(0) == os.getpid())"))


def test_a_running_command_holds_the_lock(tmp_path, line, threads):
    """While the command of a dead walrun runs, its session is not free to be called dead."""
    path = tmp_path / "session"
    lock = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    release_read, release_write = os.pipe()
    effect = shell(
        f"echo up >{line.path}; read x </dev/fd/{release_read}", pass_fds=(lock, line.write_end, release_read)
    )
    running = threads.submit(run, effect)
    heard = line.hear()
    os.close(lock)  # as the kernel does when walrun is killed
    other = os.open(path, os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
    os.write(release_write, b"go\n")
    running.result(PATIENCE_S)
    fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)

    assert b"up\n" == heard
    for descriptor in (other, release_read, release_write):
        os.close(descriptor)


@pytest.mark.parametrize("item", ["a\0b", "a\ud800"])
def test_an_item_that_no_environment_can_hold_runs_nothing(item, tmp_path):
    """The item stands in the environment even where no argument names it."""
    effect = CommandEffect(CommandTemplate(["/bin/sh", "-c", f"touch {tmp_path}/ran"]))
    with pytest.raises(CommandTemplateInvalid, match="Nothing ran"):
        run(effect, item)
    with pytest.raises(CommandTemplateInvalid, match="The item's id holds"):
        effect("a", item, 1, KEY)

    assert [] == list(tmp_path.iterdir())


def test_an_item_that_is_too_large_runs_nothing():
    """The operating system's limit is a failure that says what to do."""
    with pytest.raises(CommandFailed, match="never began: the item is too large") as failure:
        run(shell("echo"), "x" * 3_000_000)

    assert failure.value.exit_code is None


# --- What becomes of its output ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("printf 'a\\nb\\n'", "a\nb"),
        ("printf 'a\\r\\n'", "a"),
        ("printf 'a\\n\\n'", "a\n"),
        ("printf ' a '", " a "),
        ("printf 'a\\377b'", "a\ufffdb"),
        ("printf '\\n'", ""),
        (":", None),
    ],
)
def test_standard_output_is_the_result(script, expected):
    """The result is the output as text, without its last line end."""
    assert expected == run(shell(script))


def test_output_over_the_limit_is_dropped_and_marked():
    """A command that writes a lot neither waits nor fills the log."""
    effect = python("import sys; sys.stdout.write('é' * 1_000_000)", output_bytes_max=5)

    assert "éé\n[walrun: output over 5 bytes; 1,999,995 more were dropped]" == run(effect)
    assert "12345" == run(shell("printf 12345", output_bytes_max=5))


def test_both_streams_are_read_at_once():
    """A command that fills its standard error first is not left hanging."""
    effect = python("import sys; sys.stderr.write('e\\n' * 200_000); print('done')", timeout_s=PATIENCE_S)

    assert "done" == run(effect)


def test_standard_error_is_passed_on(capsys):
    """What a command complains of is seen as it would be without walrun; its output is not."""
    run(shell("printf 'one\\ntwo' >&2; echo out"))

    assert ("", "one\ntwo\n") == capsys.readouterr()


def test_output_is_shown_when_asked_for(capsys):
    """With echo the output is passed on too, and is still the result."""
    assert "one\ntwo" == run(shell("printf 'one\\ntwo'", echo=True))
    assert ("one\ntwo\n", "") == capsys.readouterr()


def test_lines_are_passed_on_whole():
    """Commands that run at once do not mix within a line, and a huge line is not held back."""
    written = []

    class Stream:
        encoding = "ascii"

        def write(self, text):
            written.append(text)

        def flush(self):
            pass

    passage = Passage(Stream)
    for data in (b"a", b"b\nc\n", b"", b"d", "é\n".encode(), b"x" * 70_000, b"e"):
        passage.feed(data)
    passage.finish()

    assert ["ab\nc\n", "d\\xe9\n", "x" * 70_000 + "\n", "e\n"] == written


def test_a_reader_that_is_gone_does_not_fail_the_command(monkeypatch):
    """`walrun run 2>&1 | head` ends the reading, not the effects."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    nobody_reads = os.fdopen(write_end, "w")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", nobody_reads)

        assert "done" == run(shell("echo talk >&2; echo done"))
    with pytest.raises(BrokenPipeError):  # the talk is still in its buffer
        nobody_reads.close()


def test_a_background_process_does_not_hold_the_item(monkeypatch):
    """The item ends with its command, though what that left behind keeps the pipes open."""
    monkeypatch.setattr(command, "DRAIN_S_MAX", 0.1)
    left_behind = int(run(shell("sleep 600 & echo $!")))
    os.kill(left_behind, signal.SIGKILL)  # fails if it is not there any more

    assert left_behind > 0


# --- What its end means ---------------------------------------------------------------------


def test_an_exit_code_is_a_failure_with_the_last_words():
    """A command that says that it failed has failed, and its error stands in the log."""
    with pytest.raises(CommandFailed) as failure:
        run(shell("echo first >&2; echo 'no such user' >&2; exit 3"))

    assert (3, "first\nno such user") == (failure.value.exit_code, failure.value.stderr_tail)
    assert "/bin/sh ended with exit code 3. It said: first\nno such user\n" in str(failure.value)


def test_only_the_last_words_are_kept():
    """A command that writes megabytes of errors does not fill the log."""
    with pytest.raises(CommandFailed) as failure:
        run(python("import sys; sys.stderr.write('e' * 1_000_000 + 'end'); sys.exit(1)"))

    assert failure.value.stderr_tail.startswith("...eee")
    assert failure.value.stderr_tail.endswith("eeeend")
    assert len(failure.value.stderr_tail) == 3 + command.STDERR_TAIL_BYTES


def test_chosen_exit_codes_mean_in_doubt():
    """The 28 and 52 of curl are lost replies, if the caller says so; other codes stay failures."""
    effect = shell("exit $1", in_doubt_exits=frozenset({28, 52}))
    with pytest.raises(OutcomeUnknown, match="exit code 28, which was declared"):
        run(effect, "28")
    with pytest.raises(CommandFailed):
        run(effect, "29")

    assert run(effect, "0") is None


@pytest.mark.parametrize("name", ["KILL", "TERM", "SEGV"])
def test_killed_by_a_signal_is_in_doubt(name):
    """Who was killed cannot say how far it came."""
    with pytest.raises(OutcomeUnknown, match=f"was killed by SIG{name}.*It said: before"):
        run(shell(f"echo before >&2; kill -{name} $$"))


def test_a_shells_word_for_a_signal_is_pointed_out():
    """137 is a plain exit code of a shell; the message says what it usually means."""
    with pytest.raises(CommandFailed, match=r"killed by SIGKILL; .*--in-doubt-exit 137"):
        run(shell("exit 137"))


def test_a_lost_exit_code_is_in_doubt():
    """A process that ignores SIGCHLD never learns exit codes; none of them is a success."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with pytest.raises(OutcomeUnknown, match="its exit code was lost"):
            run(shell("exit 1"))
    finally:
        signal.signal(signal.SIGCHLD, before)


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (None, 0, "was not found"),
        ("#!/bin/sh\n", 0o600, "is not executable"),
        ("#!/no/such/interpreter\n", 0o700, "the interpreter in its first line was not"),
        ("echo\n", 0o700, "needs a first line like #!/bin/sh"),
    ],
)
def test_a_command_that_cannot_start_has_failed(tmp_path, content, mode, said):
    """Nothing ran, so nothing is in doubt."""
    path = tmp_path / "program"
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    with pytest.raises(CommandFailed) as failure:
        run(CommandEffect(CommandTemplate([str(path), "{}"])))

    assert f"{path} never began" in str(failure.value)
    assert said in str(failure.value)
    assert failure.value.exit_code is None


def test_no_descriptor_is_left_open():
    """Ten thousand items need no more descriptors than one."""
    before = open_files()
    for script in ("echo a", "exit 1", "kill -KILL $$"):
        try:
            run(shell(script))
        except (CommandFailed, OutcomeUnknown):
            continue

    assert before == open_files()


# --- Timeouts and interruptions ------------------------------------------------------------------


def test_a_command_that_runs_too_long_is_in_doubt_and_dead(line):
    """At the timeout the command and what it started are ended, and nobody knows how far it came."""
    effect = shell("echo before >&2; sleep 600 & wait", timeout_s=0.3, pass_fds=(line.write_end,))
    with pytest.raises(OutcomeUnknown, match=r"ran longer than 0\.3 s and was terminated.*It said: before"):
        run(effect)
    line.let_go()

    assert b"" == line.hear()


def test_a_timeout_holds_for_a_command_with_closed_pipes():
    """Closing its output does not free a command from its timeout."""
    started = time.monotonic()
    with pytest.raises(OutcomeUnknown, match="ran longer"):
        run(shell("exec >&- 2>&-; exec sleep 600", timeout_s=0.2))

    assert time.monotonic() - started < PATIENCE_S


def test_a_quick_command_does_not_wait_for_its_timeout():
    """A timeout costs nothing when it is not reached."""
    assert "a" == run(shell("echo a", timeout_s=600))


def test_a_terminated_command_may_tidy_up(line, threads):
    """SIGTERM comes first, and leaves the time to end well; the item is in doubt all the same."""
    script = f"trap 'echo tidied >{line.path}; exit 0' TERM; echo up >{line.path}; while :; do sleep 0.01; done"
    effect = shell(script, pass_fds=(line.write_end,))
    running = threads.submit(run, effect)
    heard = [line.hear()]
    effect.interrupt_all()
    heard.append(line.hear())
    with pytest.raises(OutcomeUnknown, match="was interrupted"):
        running.result(PATIENCE_S)

    assert [b"up\n", b"tidied\n"] == heard


def test_a_command_that_will_not_end_is_killed(line, threads, monkeypatch):
    """A command that ignores SIGTERM is dead soon after."""
    monkeypatch.setattr(command, "TERMINATE_GRACE_S", 0.1)
    program = (
        "import os, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"os.write({line.write_end}, b'up'); signal.pause()"
    )
    effect = python(program, pass_fds=(line.write_end,))
    running = threads.submit(run, effect)
    heard = line.hear()
    effect.interrupt_all()
    with pytest.raises(OutcomeUnknown, match="was interrupted"):
        running.result(PATIENCE_S)
    line.let_go()

    assert [b"up", b""] == [heard, line.hear()]


def test_interrupting_ends_all_and_starts_no_more(line, threads):
    """The second Ctrl-C leaves in doubt what was running, and nothing more than that."""
    effect = shell(f"echo $1 >{line.path}; sleep 600", pass_fds=(line.write_end,))
    running = [threads.submit(run, effect, str(number)) for number in range(4)]
    heard = b""
    while len(heard.split()) < len(running):
        heard += line.hear()
    effect.interrupt_all()
    for one in running:
        with pytest.raises(OutcomeUnknown, match="was interrupted"):
            one.result(PATIENCE_S)
    with pytest.raises(CommandFailed, match="never began, because the run was interrupted"):
        run(effect)
    line.let_go()

    assert {b"0", b"1", b"2", b"3"} == set(heard.split())
    assert b"" == line.hear()


def test_keyboard_interrupt_leaves_no_command_behind(line, monkeypatch):
    """An exception that comes while we wait ends the command before it goes on."""

    class PressesCtrlC:
        def write(self, text):
            assert "up\n" == text
            signal.raise_signal(signal.SIGINT)

        def flush(self):
            pass

    effect = shell("echo up >&2; sleep 600", pass_fds=(line.write_end,))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", PressesCtrlC())
        with pytest.raises(KeyboardInterrupt):
            run(effect)
    line.let_go()

    assert b"" == line.hear()


def test_many_commands_at_once_keep_their_outputs_apart(threads):
    """Each thread gets the output of its own command."""
    effect = shell("echo $1; echo $1 >&2")

    assert [str(n) for n in range(40)] == list(threads.map(lambda n: run(effect, str(n)), range(40)))
