"""Failpoints: nothing happens unless one is armed, and then what was armed, where and when it was."""

import ast
import re
import signal
from pathlib import Path

import pytest

import wal_runner
from tests.unit.log.children import child
from wal_runner import failpoints
from wal_runner.failpoints import NAMES, VARIABLE, FailpointReached, arm, disarm, failpoint


A, B = NAMES[:2]

PROGRAM = """
import sys
from wal_runner.failpoints import FailpointReached, failpoint
for turn in range(1, 5):
    print(turn)
    try:
        failpoint(sys.argv[1])
    except FailpointReached:
        print("raised")
"""


@pytest.fixture(autouse=True)
def disarmed():
    """Leave no failpoint armed for the tests that follow."""
    disarm()
    yield
    disarm()


def run(setting, name=A):
    """Run four turns past the failpoint *name*; return what was printed, the exit code, and the last complaint."""
    with child(PROGRAM, name, variables={VARIABLE: setting}) as one:
        code, complaint = one.end()
        return list(iter(one.hear, "")), code, complaint.strip().rpartition("\n")[2]


# --- In this process ------------------------------------------------------------------------


def test_nothing_happens_unless_armed():
    """In production every failpoint is a no-op."""
    assert {} == failpoints._armed
    assert {None} == {failpoint(name) for name in NAMES}


def test_armed_failpoint_acts_when_it_is_reached():
    """The action is called there, and at no other failpoint."""
    calls = []
    arm(A, lambda: calls.append("called"))
    failpoint(B)
    before = list(calls)
    failpoint(A)

    assert ([], ["called"]) == (before, calls)


@pytest.mark.parametrize("hit", [1, 2, 5])
def test_action_is_called_once_at_the_hit_asked_for(hit):
    """The hits before and after it pass."""
    hits = []
    current = 0

    def note():
        hits.append(current)

    arm(A, note, hit=hit)
    for current in range(1, 8):  # noqa: B007 - note() reads it
        failpoint(A)

    assert [hit] == hits
    assert {} == failpoints._armed


def test_several_failpoints_count_for_themselves():
    """One that is armed does not use up another's hits."""
    calls = []
    arm(A, lambda: calls.append("a"), hit=2)
    arm(B, lambda: calls.append("b"))
    for name in (A, B, A, B):
        failpoint(name)

    assert ["b", "a"] == calls


def test_arming_again_replaces():
    """The last arming of a failpoint is the one that counts."""
    calls = []
    arm(A, lambda: calls.append("first"))
    arm(A, lambda: calls.append("second"), hit=2)
    failpoint(A)
    failpoint(A)

    assert ["second"] == calls


def test_action_may_arm_again():
    """A failpoint is spent before its action runs, so that the action decides about the next hit."""
    calls = []

    def act():
        calls.append(len(calls))
        if len(calls) < 3:
            arm(A, act)

    arm(A, act)
    for _ in range(5):
        failpoint(A)

    assert [0, 1, 2] == calls


def test_disarming_makes_it_a_no_op_again():
    """What one test armed cannot reach the next."""
    arm(A, pytest.fail)
    disarm()

    assert None is failpoint(A)


def test_error_of_the_action_comes_out_of_the_failpoint():
    """That is what `raise` is: the code around the failpoint sees an error there."""
    arm(A, failpoints._ACTIONS["raise"])
    with pytest.raises(FailpointReached):
        failpoint(A)

    assert None is failpoint(A)


def test_unknown_name_is_refused():
    """A failpoint that is misspelt would let a test pass that crashed nothing."""
    with pytest.raises(ValueError, match=r"There is no failpoint 'commit\.bfore'") as caught:
        arm("commit.bfore", pytest.fail)

    assert "There is no failpoint 'commit.bfore'. The names are in failpoints.NAMES." == str(caught.value)


# --- From the environment, in a child --------------------------------------------------------


@pytest.mark.crash
@pytest.mark.parametrize(("setting", "turns"), [("kill", 1), ("kill:1", 1), ("kill:3", 3)])
def test_child_is_killed_at_the_hit(setting, turns):
    """SIGKILL at the failpoint: nothing runs after it, no `finally` and no `atexit`."""
    assert ([str(turn) for turn in range(1, turns + 1)], -signal.SIGKILL, "") == run(f"{A}={setting}")


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("raise", ["1", "raised", "2", "3", "4"]),
        ("raise:3", ["1", "2", "3", "raised", "4"]),
        ("raise:9", ["1", "2", "3", "4"]),
    ],
)
def test_error_is_raised_in_the_child_at_the_hit(setting, expected):
    """One error at the hit asked for, none when it is not reached."""
    assert (expected, 0, "") == run(f"{A}={setting}")


@pytest.mark.parametrize("setting", ["", f"{B}=kill"])
def test_child_passes_what_is_not_armed(setting):
    """An empty setting and another failpoint's leave this one a no-op."""
    assert (["1", "2", "3", "4"], 0, "") == run(setting)


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("commit.bfore=kill", "ValueError: There is no failpoint 'commit.bfore'. The names are in failpoints.NAMES."),
        (f"{A}=explode", "ValueError: A failpoint cannot 'explode'. It can kill, raise."),
        (A, "ValueError: A failpoint cannot ''. It can kill, raise."),
        (f"{A}=kill:0", "ValueError: A failpoint is reached for the first time at hit 1, not 0."),
        (f"{A}=kill:often", "ValueError: invalid literal for int() with base 10: 'often'"),
    ],
)
def test_setting_that_means_nothing_ends_the_child(setting, complaint):
    """A test whose crash was not armed must fail, not pass unharmed."""
    assert ([], 1, complaint) == run(setting)


# --- The names ----------------------------------------------------------------------------------


def test_names_are_unique_and_say_where_and_when():
    """A name is the place and the moment, as in commit.before_head."""
    assert len(NAMES) == len(set(NAMES))
    assert [] == [name for name in NAMES if not re.fullmatch(r"[a-z]+\.(before|after)_[a-z_]+", name)]


def reached_names():
    """Return the names that the package's code passes to `failpoint`, and what is no plain name."""
    for path in sorted(Path(wal_runner.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "failpoint":
                yield node.args[0].value if isinstance(node.args[0], ast.Constant) else f"{path.name}:{node.lineno}"


def test_every_failpoint_in_the_code_can_be_armed():
    """A name that is misspelt where it is reached could never be armed."""
    reached = set(reached_names())

    assert reached
    assert set() == reached - set(NAMES)
