"""What the how-to pages talk to: a database, a mail server, a payment provider, a model, all on this machine.

A page that needs one finds its address in the environment, as it would in a user's program. The servers misbehave now
and then, as the pages say that servers do.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import threading
import time
import urllib.parse
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tests.clients import proxy
from tests.clients.servers import postgres, smtp


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager


class Needs(NamedTuple):
    """What a page needs: *packages* to import, and a server, which yields the page's environment."""

    packages: tuple[str, ...]
    serving: Callable[[], AbstractContextManager[dict[str, str]]]


# --- Payments ---------------------------------------------------------------------------------------------


class Payments:
    """A provider with Stripe's rules about keys; it loses some replies after it has charged."""

    def __init__(self) -> None:
        self.payments: dict[str, dict[str, Any]] = {}
        """By idempotency key."""
        self.requests: Counter[str] = Counter()
        self._lock = threading.Lock()

    def create(self, key: str, fields: dict[str, str]) -> tuple[dict[str, Any], bool]:
        """Charge, or repeat the first answer to *key*; return it, and whether the reply is lost on its way."""
        with self._lock:
            self.requests[key] += 1
            if key not in self.payments:
                metadata = {name[9:-1]: value for name, value in fields.items() if name.startswith("metadata[")}
                payment = {"id": f"pi_{len(self.payments)}", "object": "payment_intent", "metadata": metadata}
                self.payments[key] = payment
            is_lost = self.requests[key] == 1 and len(self.payments) % 5 == 0
            return self.payments[key], is_lost

    def search(self, query: str) -> dict[str, Any]:
        """Answer ``metadata['key']:'...'``."""
        key = query.split("'")[3]
        return {
            "object": "search_result",
            "data": [self.payments[key]] if key in self.payments else [],
            "has_more": False,
        }


class _PaymentsHandler(BaseHTTPRequestHandler):
    payments: Payments

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        payment, is_lost = self.payments.create(self.headers["Idempotency-Key"], dict(urllib.parse.parse_qsl(body)))
        if not is_lost:
            _answer(self, 200, payment)
        else:
            self.close_connection = True

    def do_GET(self) -> None:
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)["query"][0]
        _answer(self, 200, self.payments.search(query))

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def payments() -> Iterator[dict[str, str]]:
    """Run the provider; when the page is done, each order was charged once."""
    provider = Payments()
    handler = type("Handler", (_PaymentsHandler,), {"payments": provider})
    with _serving(handler) as port:
        yield {"STRIPE_URL": f"http://127.0.0.1:{port}", "STRIPE_KEY": "sk_test_local"}

    orders = Counter(payment["metadata"]["order"] for payment in provider.payments.values())
    assert {f"order-{n}" for n in range(20)} == set(orders)
    assert {1} == set(orders.values()), "an order was charged twice"
    assert max(provider.requests.values()) > 1, "no reply was lost, so the page showed nothing"


# --- A model -----------------------------------------------------------------------------------------------


class _ModelHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answered: Counter[str]
    refused: set[str]

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][0]["content"]
        number = int(question.split()[-1])
        if number % 10 == 7 and question not in self.refused:
            self.refused.add(question)
            _answer(self, 429 if number % 20 == 7 else 500, {"error": {"message": "try again later"}})
            return
        self.answered[question] += 1
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": f"yes, {number}"}}
        usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
        reply = {
            "id": "c1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [choice],
            "usage": usage,
        }
        _answer(self, 200, reply)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def model() -> Iterator[dict[str, str]]:
    """Run a model that refuses every tenth question once; when the page is done, each was answered once."""
    answered: Counter[str] = Counter()
    handler = type("Handler", (_ModelHandler,), {"answered": answered, "refused": set()})
    with _serving(handler) as port:
        yield {"OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1", "OPENAI_API_KEY": "local"}

    assert 150 == len(answered)
    assert {1} == set(answered.values()), "an answer was paid twice"


# --- Databases ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def databases() -> Iterator[dict[str, str]]:
    """Run PostgreSQL with a source and a target; when the page is done, each invoice is stored once."""
    server = postgres.shared()
    server.execute("DROP TABLE IF EXISTS invoices, paid")
    server.execute("CREATE TABLE invoices AS SELECT n AS number, n * 100 AS cents FROM generate_series(1, 500) n")
    server.execute("CREATE TABLE paid (number integer, euros numeric)")
    address = f"host=127.0.0.1 port={server.port} user={postgres.USER} dbname=postgres"
    yield {"SOURCE_DATABASE": address, "TARGET_DATABASE": address}

    assert "500|500" == server.execute("SELECT count(*), count(DISTINCT number) FROM paid").strip()


# --- Mail ------------------------------------------------------------------------------------------------------


class _MailServer(smtp.SmtpServer):
    token = re.compile(rb"Message-ID: <([0-9a-f]{64})@example.org>")


@contextlib.contextmanager
def mail() -> Iterator[dict[str, str]]:
    """Run a mail server that goes away once; when the page is done, none was sent twice, and few are missing."""
    with _MailServer() as server, proxy.Proxy(server.port) as between:

        def go_away() -> None:
            while len(server.tokens()) < 10:
                time.sleep(0.001)
            between.drop_all()

        thread = threading.Thread(target=go_away, daemon=True)
        thread.start()
        yield {"SMTP_HOST": proxy.HOST, "SMTP_PORT": str(between.port)}
        thread.join(1)

        assert {1} == {server.times(token) for token in server.tokens()}, "a mail was sent twice"
        assert 36 <= len(server.tokens()) <= 40, "each of four workers loses one mail at most"


SERVICES: Final[dict[str, Needs]] = {
    "call-models.md": Needs(("openai", "httpx"), model),
    "charge-cards.md": Needs(("stripe",), payments),
    "copy-between-databases.md": Needs(("psycopg",), databases),
    "send-mail.md": Needs((), mail),
}
"""By the name of the page; one that is not here needs nothing."""


@contextlib.contextmanager
def serving(page: str) -> Iterator[dict[str, str]]:
    """Run what *page* needs, and yield its environment.

    Raises:
        FileNotFoundError: A package or a server is not installed; the text says which.

    """
    needs = SERVICES.get(page)
    if needs is None:
        yield {}
        return
    for package in needs.packages:
        if importlib.util.find_spec(package) is None:
            raise FileNotFoundError(package)
    with needs.serving() as environment:
        yield environment


@contextlib.contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(handler: BaseHTTPRequestHandler, status: int, body: dict[str, Any]) -> None:
    text = json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(text)))
    handler.end_headers()
    handler.wfile.write(text)
