"""The matrix and the scenarios catch what they are there for: tables and drivers that are wrong on purpose."""

from __future__ import annotations

import contextlib
import smtplib
from typing import TYPE_CHECKING

import pytest

from tests.clients import matrix, proxy
from tests.clients.conditions import Condition
from tests.clients.servers import smtp
from tests.clients.test_scenarios import WORKERS, Restart, cut_off, run_through, tokens_of
from wal_runner import Status


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.clients.case import Case

pytestmark = pytest.mark.filterwarnings("ignore")  # clients forget sockets when a connection breaks


def case_called(name: str) -> Case:
    return next(case for case in matrix.cases() if case.name == name)


@pytest.mark.parametrize("name", ["http.client", "smtplib"])
def test_table_that_repeats_effects_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost reply that is called a failure is the worst that a table can do."""
    case = case_called(name)
    monkeypatch.setattr(matrix, "lost_reply", lambda _error: False)
    with case.serving() as server:
        cell = matrix.run(case, server, Condition.NO_REPLY)

    assert any(complaint.startswith("happened and called failed") for complaint in matrix.complaints(case, cell))


@pytest.mark.parametrize("condition", [Condition.REFUSED, Condition.USED_AGAIN])
def test_table_that_doubts_everything_is_caught(condition: Condition, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each item held without need costs time to settle."""
    case = case_called("smtplib")
    monkeypatch.setattr(matrix, "lost_reply", lambda _error: True)
    with case.serving() as server:
        cell = matrix.run(case, server, condition)

    assert any(complaint.startswith("surely never sent and in doubt") for complaint in matrix.complaints(case, cell))


def test_table_that_keeps_dead_connections_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker would keep the dead connection, and each further item would fail."""
    case = case_called("smtplib")
    monkeypatch.setattr(matrix, "connection_unusable", lambda _error: False)
    with case.serving() as server:
        cell = matrix.run(case, server, Condition.NO_REPLY)

    assert any(
        complaint.startswith("the connection cannot be used again") for complaint in matrix.complaints(case, cell)
    )


def test_workers_that_keep_dead_connections_are_caught(tmp_path: Path) -> None:
    """Without renewal every item after the outage fails, so the scenario tests renewal."""

    @contextlib.contextmanager
    def connect() -> Iterator[smtplib.SMTP]:
        session = smtplib.SMTP(proxy.HOST, between.port, local_hostname="localhost", timeout=5)
        try:
            yield session
        finally:
            session.close()

    def send(token: str, session: smtplib.SMTP) -> None:
        session.sendmail("from@example.org", ["to@example.org"], f"Subject: hello\r\n\r\n{token}\r\n")

    mails = 200
    with smtp.SmtpServer() as server, proxy.Proxy(server.port) as between:
        restart = Restart(lambda: cut_off(between), between.disarm, down_s=0.1)
        look = run_through(
            tmp_path,
            send,
            restart,
            lambda: [token for token in tokens_of(mails) for _ in range(server.times(token))],
            workers=WORKERS,
            per_worker=connect,
            renew=False,
            rows=mails,
        )

    with pytest.raises(AssertionError, match="FAILED"):
        look.check(doubts_max=WORKERS, failures_max=WORKERS)
    assert look.first[Status.FAILED] > mails / 4
