"""An answer is about one attempt: what `inspect --attempts` prints and `resolve` takes."""

import pytest

from tests.cli.terminal import walrun
from wal_runner import OutcomeUnknown, Runner, Status, Verdict


def lose_reply(_item):
    raise OutcomeUnknown("no answer")


def doubt_again(log, *items):
    """Let somebody settle *items* as not happened, and the next run lose their replies again."""
    with Runner(log) as runner:
        for doubt in runner.in_doubt():
            if doubt.item_id in items:
                runner.resolve(doubt, Verdict.did_not_happen())
        runner.run(items, lose_reply)


@pytest.fixture
def log(tmp_path):
    """Give a log with three items in doubt: "a" in its first attempt, "b" and "c" in their second."""
    path = tmp_path / "log.wal"
    with Runner(path) as runner:
        runner.run(["a", "b", "c"], lose_reply)
    doubt_again(path, "b", "c")
    return path


def statuses(log):
    with Runner.open_read(log) as view:
        return {item.item_id: item.status for item in view.items()}


def attempts(log):
    """Give what ``inspect --attempts`` prints, by id."""
    lines = walrun("inspect", log, "--attempts").out.splitlines()
    return {line.split("\t")[1]: line.split("\t")[0] for line in lines}


DOUBTS = dict.fromkeys("abc", Status.IN_DOUBT)


def test_attempts_are_what_resolve_reads(log):
    """``inspect --attempts | resolve -`` settles them all, whichever attempt each is at."""
    listed = walrun("inspect", log, "--attempts").out
    ended = walrun("resolve", log, "-", "--happened", stdin=listed)

    assert 3 == len(listed.splitlines())
    assert (0, "3 items settled as happened") == (ended.code, ended.out[:27])
    assert dict.fromkeys("abc", Status.SUCCEEDED) == statuses(log)


def test_ids_and_attempts_can_be_mixed(log):
    """An id alone is enough for the item that was started once."""
    ended = walrun("resolve", log, "-", "--happened", stdin=f"a\n{attempts(log)['b']}\tb\n")

    assert 0 == ended.code
    assert DOUBTS | {"a": Status.SUCCEEDED, "b": Status.SUCCEEDED} == statuses(log)


@pytest.mark.parametrize("arguments", [("b",), ("a", "b"), ("-",)])
def test_id_alone_of_a_later_attempt_is_refused(log, arguments):
    """It may be an answer about an earlier one; all or none."""
    ended = walrun("resolve", log, *arguments, "--happened", stdin="a\nb\n")

    assert (1, "") == (ended.code, ended.out)
    assert "'b' was started 2 times" in ended.err
    assert "inspect LOG --attempts" in ended.err
    assert DOUBTS == statuses(log)


def test_attempt_names_one(log):
    """``--attempt SEQ`` with an id."""
    ended = walrun("resolve", log, "b", "--attempt", attempts(log)["b"], "--did-not-happen")

    assert 0 == ended.code
    assert DOUBTS | {"b": Status.PENDING} == statuses(log)


@pytest.mark.parametrize("form", ["--ids", "--attempts"])
def test_answer_from_an_older_list_settles_nothing(log, form):
    """Meanwhile somebody settled the item, it ran again, and the doubt is about that run."""
    listed = walrun("inspect", log, form).out.splitlines(keepends=True)[0]
    doubt_again(log, "a")
    ended = walrun("resolve", log, "-", "--did-not-happen", stdin=listed)

    assert 1 == ended.code
    assert "Nothing was written." in ended.err
    assert DOUBTS == statuses(log)


def test_attempt_that_is_over_is_told_from_the_later_one(log):
    """The message says that there is a later attempt, and where to look."""
    older = attempts(log)["a"]
    doubt_again(log, "a")
    ended = walrun("resolve", log, "a", "--attempt", older, "--happened")

    assert 1 == ended.code
    assert f"the attempt {older} of 'a', and in doubt is a later one, attempt {attempts(log)['a']}" in ended.err


def test_commands_name_later_attempts_only(log):
    """What inspect prints can be pasted: with --attempt where an id alone would be refused."""
    found = {item["item_id"]: item for item in walrun("inspect", log, "--json").json["in_doubt"]}

    assert "--attempt" not in found["a"]["next"]["happened"]
    assert f"--attempt {found['b']['start_seq']} --happened" in found["b"]["next"]["happened"]
    assert found["b"]["next"]["abandon"] in walrun("inspect", log, "b").out


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (("resolve", "LOG", "a", "b", "--attempt", "5", "--happened"), ""),
        (("resolve", "LOG", "-", "--attempt", "5", "--happened"), "a\n"),
        (("resolve", "LOG", "a", "--attempt", "five", "--happened"), ""),
        (("resolve", "LOG", "-", "--happened"), "5\ta\n6\ta\n"),
        (("resolve", "LOG", "-", "--happened"), "5\t\n"),
        (("inspect", "LOG", "--ids", "--attempts"), ""),
    ],
)
def test_attempts_that_are_not_clear_are_usage_errors(log, arguments, stdin):
    """Nothing is written."""
    ended = walrun(*(log if argument == "LOG" else argument for argument in arguments), stdin=stdin)

    assert (2, "") == (ended.code, ended.out)
    assert DOUBTS == statuses(log)


def test_id_that_looks_like_an_attempt_is_not_listed_alone(tmp_path):
    """A number, a tab and more would be read as an attempt of another item."""
    log = tmp_path / "log.wal"
    with Runner(log) as runner:
        runner.run(["7\tb", "b"], lose_reply)

    ids = walrun("inspect", log, "--ids")
    ended = walrun("resolve", log, "-", "--abandon", stdin=walrun("inspect", log, "--attempts").out)

    assert ("b\n", True) == (ids.out, "1 id left out" in ids.err)
    assert 0 == ended.code
    assert {"7\tb": Status.ABANDONED, "b": Status.ABANDONED} == statuses(log)
