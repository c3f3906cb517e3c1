"""What pymongo does beyond one insert: its own repetition, batches, a client that was closed."""

from __future__ import annotations

import pytest

from tests.clients.case import new_token
from tests.clients.cases.mongo import Pymongo, PymongoDefault
from tests.clients.conftest import error_of, started
from tests.clients.proxy import HOST, Break, Proxy
from tests.clients.servers import mongo
from wal_runner.core.lost_reply import connection_unusable, lost_reply


pytestmark = [
    pytest.mark.usefixtures("sockets_may_leak"),
    pytest.mark.xdist_group(Pymongo.server_name),
]


@pytest.fixture
def server() -> mongo.Mongo:
    return started(mongo.shared, Pymongo())


def test_retryable_write_is_executed_once(server: mongo.Mongo, proxy: Proxy) -> None:
    """The client sends the insert twice, and the server recognizes the second."""
    client, token = PymongoDefault().connect(HOST, proxy.port), new_token()
    plan = proxy.arm(Break.NO_REPLY, token.encode(), lambda: server.happened(token), every=True)

    error = error_of(lambda: client.effects.effects.insert_one({"token": token}))
    client.close()

    assert (2, 1, True) == (len(plan.pairs), server.counts[token], lost_reply(error))


def test_missing_server_does_not_hide_the_first_attempt(server: mongo.Mongo, proxy: Proxy) -> None:
    """The server executes the insert and goes down: pymongo raises the error of its first attempt."""
    client, token = PymongoDefault().connect(HOST, proxy.port), new_token()
    client.admin.command("ping")

    def has_happened() -> bool:
        if not server.happened(token):
            return False
        proxy.close_new_connections()
        return True

    proxy.arm(Break.NO_REPLY, token.encode(), has_happened)

    error = error_of(lambda: client.effects.effects.insert_one({"token": token}))
    client.close()

    assert (1, True) == (server.counts[token], lost_reply(error))


def test_closed_client_is_unusable(server: mongo.Mongo) -> None:
    """Nothing is sent, and the worker needs another client."""
    client = Pymongo().connect(HOST, server.port)
    client.admin.command("ping")
    client.close()

    error = error_of(lambda: client.effects.effects.insert_one({"token": new_token()}))

    assert (False, True) == (lost_reply(error), connection_unusable(error))


def test_command_that_the_server_refuses_is_a_failure(server: mongo.Mongo) -> None:
    """The connection stays usable."""
    client = Pymongo().connect(HOST, server.port)

    error = error_of(lambda: client.admin.command("nonsense"))
    client.close()

    assert (False, False) == (lost_reply(error), connection_unusable(error))
