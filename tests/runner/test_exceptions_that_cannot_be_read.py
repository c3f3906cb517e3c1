"""Exceptions of fn that raise when they are read: each is the matter of its item, and the run goes on."""

import pytest

from tests.runner.driving import DRIVERS, Effects, claim, named, numbers, serial, statuses, threads
from wal_runner import Runner, Status, lost_reply


IDS = [str(number) for number in range(20)]
EVIDENCE = ["__cause__", "__context__", "__class__", "args"]
TEXT = ["__str__", "__repr__", "__traceback__", "__notes__", "__bool__", "__len__", "errno", "code"]
METHODS = {"__str__", "__repr__", "__bool__", "__len__"}


def unreadable(attribute, base=OSError, raised=RuntimeError):
    """Make an exception class of which *attribute* raises when it is read."""

    def read(_self):
        raise raised(f"{attribute} cannot be read")

    return type("Unreadable", (base,), {attribute: read if attribute in METHODS else property(read)})


class Hidden(type):
    """A metaclass that does not let its classes be named."""

    def __getattribute__(cls, name):
        if name in {"__name__", "__qualname__", "__module__", "__mro__"}:
            raise RuntimeError("no names")
        return super().__getattribute__(name)


def failing(error):
    """Make an fn that raises *error* for two items, far apart."""
    return Effects({"3", "12"}, lambda _: error("no luck"))


@pytest.mark.parametrize("raised", [RuntimeError, SystemExit])
@pytest.mark.parametrize("attribute", EVIDENCE)
@pytest.mark.parametrize("drive", DRIVERS, ids=named)
def test_error_without_readable_evidence_leaves_doubt(runner, drive, attribute, raised):
    """Whether the request was acted on cannot be read from it, so nobody knows; everything else runs."""
    report = drive(runner, IDS, failing(unreadable(attribute, raised=raised)))

    assert {"seen": 20, "succeeded": 18, "in_doubt": 2} == numbers(report)
    assert ["12", "3"] == sorted(doubt.item_id for doubt in runner.in_doubt())


@pytest.mark.parametrize("raised", [RuntimeError, SystemExit])
@pytest.mark.parametrize("attribute", TEXT)
def test_error_without_readable_text_is_recorded_all_the_same(runner, attribute, raised):
    """What it says about the request can be read: it is the failure that it was, with another text."""
    report = DRIVERS[0](runner, IDS, failing(unreadable(attribute, raised=raised)))

    assert {"seen": 20, "succeeded": 18, "failed": 2} == numbers(report)


@pytest.mark.parametrize("drive", DRIVERS, ids=named)
def test_error_whose_class_has_no_name_leaves_doubt(runner, drive):
    """A metaclass may raise as well."""
    report = drive(runner, IDS, failing(Hidden("Nameless", (OSError,), {})))

    assert {"seen": 20, "succeeded": 18, "in_doubt": 2} == numbers(report)
    assert runner.in_doubt()[0].reason.startswith("Nameless: no luck")


@pytest.mark.parametrize("attribute", ["__class__", "args", "__bool__"])
@pytest.mark.parametrize("drive", [serial, threads, claim], ids=named)
def test_base_exception_that_cannot_be_read_is_raised(runner, drive, attribute):
    """It ends the run as any other, and by itself; asyncio would read the one that ends its main task."""
    error = unreadable(attribute, base=BaseException)
    raised = None
    try:
        drive(runner, IDS, failing(error))
    except BaseException as caught:  # noqa: BLE001 - pytest.raises would read it
        raised = type(caught)

    assert error is raised
    assert Status.IN_DOUBT in statuses(runner).values()


@pytest.mark.parametrize(
    "setting", [lost_reply, (TimeoutError,), (), lambda _error: False], ids=["default", "types", "never", "function"]
)
def test_settings_of_outcome_unknown_do_not_raise(path, setting):
    """Whatever is asked about an error that cannot be read, the answer is that nobody knows."""
    with Runner(path) as runner:
        report = runner.run(IDS, failing(unreadable("__cause__")), outcome_unknown=setting)

    assert {"seen": 20, "succeeded": 18, "in_doubt": 2} == numbers(report)


def test_member_of_a_group_that_cannot_be_read_leaves_doubt(runner):
    """It may be the one whose reply was lost."""
    group = ExceptionGroup("some", [ValueError("no"), unreadable("args")("no")])
    report = runner.run(IDS, failing(lambda _: group))

    assert {"seen": 20, "succeeded": 18, "in_doubt": 2} == numbers(report)


def test_idempotent_run_retries_an_unreadable_error(runner):
    """There a redo is harmless, so it is a failure."""
    report = runner.run(IDS, failing(unreadable("__cause__")), idempotent=True)

    assert {"seen": 20, "succeeded": 18, "failed": 2} == numbers(report)
