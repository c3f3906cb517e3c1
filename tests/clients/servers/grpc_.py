"""A gRPC server of our own: grpcio's, with one method that notes the token that it is sent."""

from __future__ import annotations

from concurrent import futures
from typing import Any

from tests.clients.servers.sharing import HOST, shared_server


METHOD = "/effects.Effects/Have"
WORKERS = 8

REFUSE = b"refuse "
"""A request that begins so is answered with the status whose name follows, before the token."""


class GrpcServer:
    """A server that runs until `close`."""

    def __init__(self) -> None:
        import grpc

        self._happened: set[str] = set()
        self._server = grpc.server(futures.ThreadPoolExecutor(WORKERS))
        self._server.add_generic_rpc_handlers((_handlers(self._have),))
        self.port: int = self._server.add_insecure_port(f"{HOST}:0")
        self._server.start()

    def happened(self, token: str) -> bool:
        """Return whether a request with *token* was carried out."""
        return token in self._happened

    def close(self) -> None:
        """Stop at once."""
        self._server.stop(None).wait(5)

    def _have(self, request: bytes, context: Any) -> bytes:
        import grpc

        if request.startswith(REFUSE):
            _, name, _ = request.split(b" ", 2)
            context.abort(grpc.StatusCode[name.decode()], "refused by the server")
        self._happened.add(request.decode())
        return b"done " + request


def _handlers(have: Any) -> Any:
    import grpc

    _, service, method = METHOD.split("/")
    return grpc.method_handlers_generic_handler(service, {method: grpc.unary_unary_rpc_method_handler(have)})


shared = shared_server(GrpcServer)
