"""gRPC: grpcio by threads and by asyncio, and google-api-core around it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from tests.clients.case import TIMEOUT_S, AsyncConnection, Case
from tests.clients.conditions import Condition
from tests.clients.http_case import NOT_TOLD
from tests.clients.servers import grpc_


if TYPE_CHECKING:
    from collections.abc import Iterator

OPTIONS = (("grpc.enable_retries", 0),)


class Grpcio(Case):
    """One unary call on one channel, with a deadline."""

    name = "grpcio"
    packages = ("grpcio",)
    server_name = "gRPC by grpcio (real server)"
    needless = {
        Condition.CONNECT_TIMEOUT: "a deadline says the same before and after the request was sent",
        Condition.SILENT: "a deadline says the same before and after the request was sent",
        Condition.HALF_REQUEST: NOT_TOLD,
    }

    @contextlib.contextmanager
    def serving(self) -> Iterator[grpc_.GrpcServer]:
        yield grpc_.shared()

    def connect(self, host: str, port: int) -> Any:
        import grpc

        return grpc.insecure_channel(f"{host}:{port}", options=OPTIONS)

    def connect_tls(self, host: str, port: int) -> Any:
        import grpc

        return grpc.secure_channel(f"{host}:{port}", grpc.ssl_channel_credentials(), options=OPTIONS)

    def act(self, connection: Any, token: str) -> None:
        connection.unary_unary(grpc_.METHOD)(token.encode(), timeout=TIMEOUT_S)


class GrpcioAsync(Grpcio):
    """The same by grpc.aio."""

    name = "grpcio, async"

    def connect(self, host: str, port: int) -> Any:
        import grpc.aio

        async def channel() -> Any:
            return grpc.aio.insecure_channel(f"{host}:{port}", options=OPTIONS)

        return AsyncConnection(channel)

    def connect_tls(self, host: str, port: int) -> Any:
        import grpc.aio

        async def channel() -> Any:
            return grpc.aio.secure_channel(f"{host}:{port}", grpc.ssl_channel_credentials(), options=OPTIONS)

        return AsyncConnection(channel)

    def act(self, connection: Any, token: str) -> None:
        async def call() -> None:
            await connection.inner.unary_unary(grpc_.METHOD)(token.encode(), timeout=TIMEOUT_S)

        connection.run(call())

    def close(self, connection: Any) -> None:
        connection.close(connection.inner.close())


class GoogleApiCore(Grpcio):
    """A call as generated Google clients make it, with their retries switched off."""

    name = "google-api-core, gRPC"
    packages = ("google-api-core", "grpcio")

    def act(self, connection: Any, token: str) -> None:
        from google.api_core.gapic_v1 import method

        stub = connection.unary_unary(grpc_.METHOD)
        method.wrap_method(stub, default_timeout=TIMEOUT_S)(token.encode(), retry=None)


CASES = (Grpcio(), GrpcioAsync(), GoogleApiCore())
