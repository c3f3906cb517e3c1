"""What redis-py does beyond one command: pipelines, scripts, and repetitions of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.clients.case import TIMEOUT_S, new_token
from tests.clients.cases.redis_ import RedisPy, RedisPyDefault
from tests.clients.conftest import error_of, started
from tests.clients.proxy import HOST, Break, Proxy
from tests.clients.servers import redis_
from wal_runner.core.lost_reply import lost_reply


if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.usefixtures("sockets_may_leak"),
    pytest.mark.xdist_group(RedisPy.server_name),
]


@pytest.fixture
def server() -> redis_.Redis:
    return started(redis_.shared, RedisPy())


@pytest.fixture
def client(server: redis_.Redis) -> Iterator[Any]:
    client = RedisPy().connect(HOST, server.port)
    client.set("text", "not a list")
    yield client
    client.close()


@pytest.mark.parametrize("options", [{"transaction": True}, {"transaction": False}], ids=["multi", "plain"])
def test_pipeline_with_one_failure_is_in_doubt(server: redis_.Redis, client: Any, options: dict[str, bool]) -> None:
    """Redis has executed the other commands, with and without MULTI, so the item may not be repeated."""
    token = new_token()
    pipe = client.pipeline(**options).rpush(token, "1").rpush("text", "1")

    error = error_of(pipe.execute)

    assert (True, True) == (server.happened(token), lost_reply(error))


def test_aborted_multi_is_a_failure(server: redis_.Redis, client: Any) -> None:
    """EXEC executes nothing if a command was refused when it was queued."""
    token = new_token()
    pipe = client.pipeline().rpush(token, "1").execute_command("NONSENSE")

    error = error_of(pipe.execute)

    assert (False, False) == (server.happened(token), lost_reply(error))


def test_script_that_fails_midway_is_in_doubt(server: redis_.Redis, client: Any) -> None:
    """What a script wrote before its error stays."""
    token = new_token()
    script = "redis.call('RPUSH', KEYS[1], '1'); redis.call('RPUSH', 'text', '1')"

    error = error_of(lambda: client.eval(script, 1, token))

    assert (True, True) == (server.happened(token), lost_reply(error))


def test_script_that_does_not_compile_is_a_failure(client: Any) -> None:
    """Redis executed nothing of the script."""
    error = error_of(lambda: client.eval("this is not Lua", 0))

    assert not lost_reply(error)


def test_default_retries_send_eleven_times(server: redis_.Redis, proxy: Proxy) -> None:
    """The command is executed each time, if each reply is lost."""
    client, token = RedisPyDefault().connect(HOST, proxy.port), new_token()
    client.ping()
    proxy.arm(Break.NO_REPLY, token.encode(), lambda: server.happened(token), every=True)

    error = error_of(lambda: client.rpush(token, "1"))

    assert (11, True) == (server.count(token), lost_reply(error))


def test_failed_repetition_does_not_hide_the_first(server: redis_.Redis, proxy: Proxy) -> None:
    """The server executes the command and goes down: redis-py raises the error of its last attempt, connecting."""
    client, token = RedisPyDefault().connect(HOST, proxy.port), new_token()
    client.ping()

    def has_happened() -> bool:
        if not server.happened(token):
            return False
        proxy.close_new_connections()
        return True

    proxy.arm(Break.NO_REPLY, token.encode(), has_happened)

    error = error_of(lambda: client.rpush(token, "1"))

    assert (1, True) == (server.count(token), lost_reply(error))


def test_refused_repetition_does_not_hide_the_first(server: redis_.Redis, proxy: Proxy) -> None:
    """The server executes the command and becomes a replica, which refuses the repetition."""
    client, token = RedisPyDefault().connect(HOST, proxy.port), new_token()
    client.ping()
    become_a_replica_after(server, proxy, token)

    try:
        error = error_of(lambda: client.rpush(token, "1"))
    finally:
        server.ask("REPLICAOF NO ONE")

    assert ("ReadOnlyError", True, True) == (type(error).__name__, server.happened(token), lost_reply(error))


def test_refused_repetition_by_asyncio_does_not_hide_the_first(server: redis_.Redis, proxy: Proxy) -> None:
    """The same holds for the client of asyncio."""
    redis, token = pytest.importorskip("redis.asyncio"), new_token()
    become_a_replica_after(server, proxy, token)

    async def push() -> None:
        async with redis.Redis(host=HOST, port=proxy.port, socket_timeout=TIMEOUT_S) as client:
            await client.rpush(token, "1")

    try:
        error = error_of(lambda: asyncio.run(push()))
    finally:
        server.ask("REPLICAOF NO ONE")

    assert ("ReadOnlyError", True, True) == (type(error).__name__, server.happened(token), lost_reply(error))


@pytest.mark.parametrize("client", [RedisPy(), RedisPyDefault()], ids=lambda case: case.name)
def test_refusal_of_the_first_attempt_is_a_failure(server: redis_.Redis, client: RedisPy) -> None:
    """Retries that were not needed leave no doubt."""
    server.ask(f"REPLICAOF {HOST} 1")

    try:
        error = error_of(lambda: client.connect(HOST, server.port).rpush(new_token(), "1"))
    finally:
        server.ask("REPLICAOF NO ONE")

    assert ("ReadOnlyError", False) == (type(error).__name__, lost_reply(error))


def test_transaction_repeats_a_lost_exec(server: redis_.Redis, proxy: Proxy) -> None:
    """Redis.transaction() handles a lost reply as a change of the watched key, and repeats, whatever `retry` is."""
    client, token = RedisPy().connect(HOST, proxy.port), new_token()
    client.ping()
    proxy.arm(Break.NO_REPLY, b"RPUSH", lambda: server.happened(token))

    def push(pipe: Any) -> None:
        pipe.multi()
        pipe.rpush(token, "1")

    client.transaction(push, "watched")

    assert 2 == server.count(token)


def test_lost_exec_of_a_watching_pipeline_is_in_doubt(server: redis_.Redis, proxy: Proxy) -> None:
    """redis-py reports the lost reply as a WatchError, which usually means that nothing was executed."""
    client, token = RedisPy().connect(HOST, proxy.port), new_token()
    pipe = client.pipeline()
    pipe.watch("watched")
    pipe.multi()
    pipe.rpush(token, "1")
    proxy.arm(Break.NO_REPLY, token.encode(), lambda: server.happened(token))

    error = error_of(pipe.execute)

    assert ("WatchError", True, True) == (type(error).__name__, server.happened(token), lost_reply(error))


def test_changed_watched_key_is_a_failure(server: redis_.Redis, client: Any) -> None:
    """EXEC executes nothing if a watched key was changed."""
    token = new_token()
    pipe = client.pipeline()
    pipe.watch("watched")
    client.incr("watched")
    pipe.multi()
    pipe.rpush(token, "1")

    error = error_of(pipe.execute)

    assert (False, False) == (server.happened(token), lost_reply(error))


def become_a_replica_after(server: redis_.Redis, proxy: Proxy, token: str) -> None:
    def has_happened() -> bool:
        if not server.happened(token):
            return False
        server.ask(f"REPLICAOF {HOST} 1")
        return True

    proxy.arm(Break.NO_REPLY, token.encode(), has_happened)
