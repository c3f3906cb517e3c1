"""MongoDB by pymongo: without its retryable writes, and with them, as is the default."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from tests.clients.case import TIMEOUT_S, Case
from tests.clients.conditions import Condition
from tests.clients.servers import mongo


if TYPE_CHECKING:
    from collections.abc import Iterator

SAME_ERROR = "the same error as after the whole insert"


class Pymongo(Case):
    """One insert, with retryWrites=False."""

    name = "pymongo"
    packages = ("pymongo",)
    server_name = "MongoDB's OP_MSG (protocol server)"
    needless = {
        Condition.HALF_REQUEST: SAME_ERROR,
        Condition.CLOSED_WHILE_IDLE: "pymongo looks whether a connection is alive after a second of idleness only; "
        + SAME_ERROR,
        Condition.DOWN_WHILE_IDLE: "pymongo looks whether a connection is alive after a second of idleness only; "
        + SAME_ERROR,
    }
    options: dict[str, Any] = {"retryWrites": False}

    @contextlib.contextmanager
    def serving(self) -> Iterator[mongo.Mongo]:
        yield mongo.shared()

    def connect(self, host: str, port: int) -> Any:
        import pymongo

        milliseconds = round(TIMEOUT_S * 1000)
        return pymongo.MongoClient(
            host,
            port,
            directConnection=True,
            connectTimeoutMS=milliseconds,
            socketTimeoutMS=milliseconds,
            serverSelectionTimeoutMS=milliseconds,
            **self.options,
        )

    def connect_tls(self, host: str, port: int) -> Any:
        import pymongo

        milliseconds = round(TIMEOUT_S * 1000)
        return pymongo.MongoClient(
            host, port, directConnection=True, tls=True, serverSelectionTimeoutMS=milliseconds, **self.options
        )

    def act(self, connection: Any, token: str) -> None:
        connection.effects.effects.insert_one({"token": token})


class PymongoDefault(Pymongo):
    """The default: pymongo repeats an insert once, and the server recognizes it; each reply is lost, not only one."""

    name = "pymongo, default retryable writes"
    breaks_every_request = True
    needless = {
        Condition.HALF_REQUEST: SAME_ERROR,
        Condition.DOWN_WHILE_IDLE: "pymongo raises the error of its first attempt; " + SAME_ERROR,
    }
    options = {}


CASES = (Pymongo(), PymongoDefault())
