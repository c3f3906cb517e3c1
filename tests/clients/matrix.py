"""Run one client under one condition, and say what became of the effect and what `lost_reply` said of the error.

Imported by the tests, and by the tool that writes docs/reference/lost-replies.md. Invariant: what happened is the
server's word, the verdict is `lost_reply`'s on the very exception that the client raised.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import pkgutil
import ssl
import threading
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.clients.case import AsyncConnection, Case, new_token
from tests.clients.certificate import untrusted_certificate
from tests.clients.conditions import NEVER_IN_DOUBT, WHILE_CONNECTING, Condition
from tests.clients.proxy import HOST, QUIET_S, Break, Proxy
from tests.effects.lossy_server import UNRESOLVABLE_NAME, refusing_port, silent_port
from wal_runner.core.lost_reply import connection_unusable, lost_reply


if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.clients.case import Server

SETTLE_S: Final = 0.15
"""How long the server may take to do what it was sent half or whole: then its state is final."""

BREAKS: Final = {
    Condition.HALF_REQUEST: Break.HALF_REQUEST,
    Condition.NO_REPLY: Break.NO_REPLY,
    Condition.HALF_REPLY: Break.HALF_REPLY,
    Condition.RESET: Break.RESET,
    Condition.HANG: Break.HANG,
}

DONE: Final = "done"
FAILED: Final = "failed"
IN_DOUBT: Final = "in doubt"


@dataclass(frozen=True, slots=True)
class Cell:
    """What came of one effect of one client under one condition.

    *variant* tells apart what a gateway answers. *is_usable* is None where the connection was never made.
    """

    case: str
    condition: Condition
    variant: str
    happened: bool
    verdict: str
    error: BaseException | None
    called_unusable: bool
    is_usable: bool | None

    @property
    def parts(self) -> tuple[str, str, str, str]:
        """Return what the page says, without the name of the error, which may vary from run to run."""
        what = self.condition.value + (f": {self.variant}" if self.variant else "")
        return what, "yes" if self.happened else "no", self.verdict, self.connection

    @property
    def connection(self) -> str:
        """Return what the page says of the connection afterwards."""
        if self.is_usable is None or self.error is None:
            return ""
        return "renewed" if self.called_unusable else "kept"


def cases() -> list[Case]:
    """Return every case of every module in tests/clients/cases."""
    folder = Path(__file__).parent / "cases"
    found: list[Case] = []
    for module in sorted(pkgutil.iter_modules([str(folder)]), key=lambda one: one.name):
        found.extend(importlib.import_module(f"tests.clients.cases.{module.name}").CASES)
    return found


def variants(case: Case, condition: Condition) -> list[str]:
    """Return what a gateway answers, where it is a gateway that answers; else one empty variant."""
    return list(case.gateway_answers) if condition is Condition.GATEWAY else [""]


def applies(case: Case, condition: Condition) -> bool:
    """Return whether *condition* makes sense for *case*."""
    return condition not in case.skipped and (condition is not Condition.GATEWAY or bool(case.gateway_answers))


def run(case: Case, server: Server, condition: Condition, variant: str = "") -> Cell:
    """Have one effect under *condition*; return what came of it."""
    if not gc.get_freeze_count():
        gc.freeze()  # the modules of thirty clients: a collection after each cell is quick without them
    with warnings.catch_warnings():
        # Clients forget sockets when connecting fails; that is theirs.
        warnings.simplefilter("ignore")
        try:
            if condition in WHILE_CONNECTING:
                return _run_while_connecting(case, server, condition)
            return _run_on_a_connection(case, server, condition, variant)
        finally:
            gc.collect()


def complaints(case: Case, cell: Cell) -> list[str]:
    """Return what is wrong with *cell*: an effect that would be repeated, or a doubt that no note explains."""
    wrong = []
    shown = f"{case.name}, {cell.condition.value} {cell.variant}: {describe(cell.error)}"
    if is_repeated(case, cell):
        wrong.append(f"happened and called failed, so it would be repeated: {shown}")
    is_needless = (case.is_safe or not cell.happened) and cell.verdict == IN_DOUBT
    if is_needless and cell.condition in NEVER_IN_DOUBT:
        wrong.append(f"surely never sent and in doubt: {shown}")
    elif is_needless and cell.condition not in case.needless:
        wrong.append(f"nothing happened, or the request is safe, and in doubt without a reason in `needless`: {shown}")
    if not is_needless and (case.is_safe or not cell.happened) and cell.condition in case.needless:
        wrong.append(f"`needless` has a reason for a doubt that there is not: {shown}")
    if cell.is_usable is False and cell.error is not None and not cell.called_unusable:
        wrong.append(f"the connection cannot be used again, and the table does not say so: {shown}")
    return wrong


def is_repeated(case: Case, cell: Cell) -> bool:
    """Return whether an effect that happened is called failed, so that the next run would repeat it."""
    return cell.happened and cell.verdict == FAILED and not case.is_safe


def describe(error: BaseException | None) -> str:
    """Return the error and its causes, for a person who extends the table."""
    if error is None:
        return "no error"
    kind = type(error)
    shown = f"{kind.__module__}.{kind.__qualname__}: {str(error)[:200]}"
    behind = error.__cause__ or error.__context__
    return shown if behind is None else f"{shown} <- {describe(behind)}"


# --- While connecting -----------------------------------------------------------------------------------------


def _run_while_connecting(case: Case, server: Server, condition: Condition) -> Cell:
    token = new_token()
    with _address(server, condition) as (host, port):
        error, connection = None, None
        connect = case.connect_tls if condition is Condition.TLS_FAILURE else case.connect
        try:
            connection = connect(host, port)
            case.act(connection, token)
        except Exception as raised:  # noqa: BLE001 - whatever the client raises is what is looked at
            error = raised
        happened = _has_happened(server, token)
        _close(case, connection)
    return _cell(case, condition, "", happened=happened, error=error, is_usable=None)


@contextlib.contextmanager
def _address(server: Server, condition: Condition) -> Iterator[tuple[str, int]]:
    match condition:
        case Condition.REFUSED:
            with refusing_port() as port:
                yield HOST, port
        case Condition.UNKNOWN_HOST:
            yield UNRESOLVABLE_NAME, server.port
        case Condition.CONNECT_TIMEOUT:
            with silent_port() as port:
                yield HOST, port
        case Condition.TLS_FAILURE:
            with _untrusted_tls(server.port) as port:
                yield "localhost", port
        case _:
            with Proxy(server.port) as proxy:
                if condition is Condition.CLOSED_AT_ONCE:
                    proxy.close_new_connections()
                else:
                    proxy.say_nothing()
                yield HOST, proxy.port


@contextlib.contextmanager
def _untrusted_tls(_port: int) -> Iterator[int]:
    """Yield a port on which the TLS handshake is made with an untrusted certificate."""
    import socket

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*untrusted_certificate())
    listener = socket.create_server((HOST, 0))

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), client, context.wrap_socket(client, server_side=True) as wrapped:
                wrapped.recv(1)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(1)


# --- On a connection that was made -----------------------------------------------------------------------------


def _run_on_a_connection(case: Case, server: Server, condition: Condition, variant: str) -> Cell:
    with Proxy(server.port, case.through_proxy) as proxy:
        connection = _connected(case, server, proxy)
        try:
            return _break(case, server, proxy, connection, condition, variant=variant)
        finally:
            proxy.drop_all()
            _close(case, connection)


def _connected(case: Case, server: Server, proxy: Proxy) -> Any:
    """Return a connection on which one effect went well: lazy clients are connected then, and the case works at all.

    What goes wrong here is not what is looked at: on a busy machine a handshake may take longer than TIMEOUT_S.
    """
    for last_try in (False, False, True):
        connection, first = None, new_token()
        try:
            connection = case.connect(HOST, proxy.port)
            case.act(connection, first)
        except Exception:
            _close(case, connection)
            if last_try:
                raise
        else:
            assert server.happened(first), f"{case.name}: an undisturbed effect did not happen"
            return connection
    raise AssertionError("the last try returns or raises")


def _break(case: Case, server: Server, proxy: Proxy, connection: Any, condition: Condition, *, variant: str) -> Cell:
    token = new_token()
    if condition in (Condition.CLOSED_WHILE_IDLE, Condition.DOWN_WHILE_IDLE):
        if condition is Condition.DOWN_WHILE_IDLE:
            proxy.refuse_new_connections()
        proxy.drop_all()
        _let_see(connection, QUIET_S)
        plan = None
    else:
        how = Break.ANSWER if condition is Condition.GATEWAY else BREAKS.get(condition, Break.NO_REPLY)
        answer = case.gateway_answers.get(variant, b"")
        plan = proxy.arm(
            how, case.marker(token), lambda: server.happened(token), answer, every=case.breaks_every_request
        )
        plan.is_answered_before = case.is_answered_before
        plan.writes_before = case.writes_before
    error = _error_of(case, connection, token)
    if plan is not None:
        assert plan.has_struck.wait(10), f"{case.name}: the marker never came, so nothing was broken: {error!r}"
        assert plan.failure is None, f"{case.name}: {plan.failure}"
    proxy.disarm()
    if plan is not None and plan.how is Break.HANG:
        proxy.drop_all()
        # A channel of gRPC needs a moment to see that it must connect again.
        time.sleep(SETTLE_S)
    happened = _has_happened(server, token)

    if condition is Condition.USED_AGAIN:
        # What is written before the client has seen that the connection is gone may be in doubt with good reason.
        _let_see(connection, SETTLE_S)
    again = new_token()
    error_again = _error_of(case, connection, again)
    happened_again = _has_happened(server, again)
    if condition is Condition.USED_AGAIN:
        return _cell(case, condition, variant, happened=happened_again, error=error_again, is_usable=None)
    is_usable = error_again is None and happened_again
    if not is_usable:
        # A client that connects again by itself may not have seen yet that it must.
        time.sleep(SETTLE_S)
        last = new_token()
        is_usable = _error_of(case, connection, last) is None and _has_happened(server, last)
    return _cell(case, condition, variant, happened=happened, error=error, is_usable=is_usable)


def _let_see(connection: Any, seconds: float) -> None:
    """Wait until the client's system knows that a connection was closed, and its event loop if it has one."""
    time.sleep(seconds)
    if isinstance(connection, AsyncConnection):
        connection.run(asyncio.sleep(QUIET_S))


def _has_happened(server: Server, token: str) -> bool:
    """Return whether the effect happened: at once if it did, else when the server has had time to do what it got."""
    deadline = time.monotonic() + SETTLE_S
    while not (happened := server.happened(token)) and time.monotonic() < deadline:
        time.sleep(SETTLE_S / 10)  # poll: that an effect does not come has no event
    return happened


def _error_of(case: Case, connection: Any, token: str) -> BaseException | None:
    try:
        case.act(connection, token)
    except Exception as raised:  # noqa: BLE001 - whatever the client raises is what is looked at
        return raised
    return None


def _cell(
    case: Case,
    condition: Condition,
    variant: str,
    *,
    happened: bool,
    error: BaseException | None,
    is_usable: bool | None,
) -> Cell:
    verdict = DONE if error is None else IN_DOUBT if lost_reply(error) else FAILED
    return Cell(
        case=case.name,
        condition=condition,
        variant=variant,
        happened=happened,
        verdict=verdict,
        error=error,
        called_unusable=error is not None and connection_unusable(error),
        is_usable=is_usable,
    )


def _close(case: Case, connection: Any) -> None:
    if connection is not None:
        with contextlib.suppress(Exception):
            case.close(connection)
