"""Handlers and filters of the program that raise: what they do to their own messages is no matter of the run."""

import asyncio
import logging
import re
from pathlib import Path

import pytest

from tests.runner.driving import DRIVERS, Effects, named, numbers
from wal_runner import Runner, Status
from wal_runner.shielded_logger import ShieldedLogger


ROOT = Path(__file__).parents[2]
IDS = ["a", "b", "c"]


class Raising(logging.Handler):
    """A handler whose connection is broken."""

    def emit(self, record):  # noqa: ARG002 - as logging calls it
        """Raise, as a handler of the program's own may."""
        raise BrokenPipeError("the log server is gone")


def refuse(*_, **__):
    raise KeyError("no tenant")


@pytest.fixture(params=["handler", "filter of the handler", "filter of the logger", "factory"])
def raising(request, monkeypatch):
    """Make logging raise for each message of the library."""
    logger = logging.getLogger("wal_runner")
    handler = Raising() if request.param == "handler" else logging.NullHandler()
    logger.addHandler(handler)
    if request.param == "filter of the handler":
        handler.addFilter(refuse)
    if request.param == "filter of the logger":
        for name in ("wal_runner.runner.run", "wal_runner.runner.settling", "wal_runner.log.head"):
            monkeypatch.setattr(logging.getLogger(name), "filters", [refuse])
    if request.param == "factory":
        monkeypatch.setattr(logging, "_logRecordFactory", refuse)
    yield
    logger.removeHandler(handler)


@pytest.mark.usefixtures("raising")
@pytest.mark.parametrize("drive", DRIVERS, ids=named)
def test_report_survives_a_handler_that_raises(runner, drive):
    """The warning that a run ended not ok is lost; its report is not."""
    report = drive(runner, IDS, Effects({"b"}))

    assert {"seen": 3, "succeeded": 2, "failed": 1} == numbers(report)


@pytest.mark.usefixtures("raising")
def test_exception_survives_a_handler_that_raises(runner):
    """What the source raised is raised, and nothing else."""

    def source():
        yield "a"
        raise EOFError("no more")

    with pytest.raises(EOFError, match="no more"):
        runner.run(source(), Effects({"a"}))


@pytest.mark.usefixtures("raising")
def test_cancellation_survives_a_handler_that_raises(runner):
    """Also the warning about what was left behind comes in the middle of the cleanup."""
    begun = asyncio.Event()

    async def fn(_item):
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)

    async def main():
        run = asyncio.create_task(runner.run_async(["a"], fn, cancel_wait=0))
        await begun.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError) as raised:
            await run
        await asyncio.sleep(0.1)
        return raised.value.left_behind

    assert ["a"] == asyncio.run(main())
    assert Status.IN_DOUBT is runner.status("a")


def test_record_names_the_line_that_logs(path, caplog):
    """And not the shield around the call."""
    with Runner(path) as runner:
        runner.run(["a"], Effects({"a"}))

    assert {"run.py"} == {record.filename for record in caplog.records}


def test_every_message_goes_through_the_shield():
    """No other module of the package gets a logger of its own."""
    loggers = [
        str(file.relative_to(ROOT))
        for file in (ROOT / "wal_runner").rglob("*.py")
        if re.search(r"logging\.(getLogger|debug|info|warning|error|exception|log)\(", file.read_text())
    ]

    assert ["wal_runner/shielded_logger.py"] == loggers


def test_shield_lets_an_interrupt_pass(monkeypatch):
    """Ctrl-C inside of a handler is none of the handler's errors."""
    shielded = ShieldedLogger("wal_runner.test")

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(shielded.logger, "log", interrupted)
    with pytest.raises(KeyboardInterrupt):
        shielded.warning("a message")
