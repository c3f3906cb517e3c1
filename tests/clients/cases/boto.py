"""AWS by boto3: an object put into S3, and a message sent to an SQS queue."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any

from tests.clients.case import TIMEOUT_S
from tests.clients.http_case import ServiceCase
from tests.clients.servers import aws, gateways


if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.clients.servers.http import HttpServer

FROM_GATEWAYS = {name: gateways.AFTER_IT_WAS_DONE[name] for name in ("nginx, 502", "Envoy, 503 reset", "Varnish, 503")}


@functools.cache
def _session() -> Any:
    """Return the one session of this process: making one, and reading the models of the services, takes long."""
    import boto3

    return boto3.session.Session()


def _error(status: int, phrase: str, code: str, *, protocol: str) -> bytes:
    """Return what S3 or SQS answers by itself."""
    if protocol == "xml":
        text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{phrase}</Message></Error>'
        return gateways.answer(status, phrase, text, "Content-Type: application/xml")
    text = f'{{"__type": "com.amazonaws.sqs#{code}", "message": "{phrase}"}}'
    return gateways.answer(status, phrase, text, "Content-Type: application/x-amz-json-1.0")


class Aws(ServiceCase):
    """A client of one service, with the client's retries switched off."""

    packages = ("boto3", "botocore")
    service: str
    protocol: str

    @contextlib.contextmanager
    def serving(self) -> Iterator[HttpServer]:
        yield aws.shared()

    def client(self, address: str) -> Any:
        from botocore.config import Config

        return _session().client(
            self.service,
            endpoint_url=address,
            region_name="eu-central-1",
            aws_access_key_id="AKIDEXAMPLE",
            aws_secret_access_key="example",  # noqa: S106 - no secret
            config=Config(
                connect_timeout=TIMEOUT_S,
                read_timeout=TIMEOUT_S,
                retries={"total_max_attempts": 1},
                s3={"addressing_style": "path"},
                proxies={},
            ),
        )


class S3(Aws):
    """The token is the object's content."""

    name = "boto3, S3"
    server_name = "S3 (protocol server)"
    service = "s3"
    protocol = "xml"
    gateway_answers = {
        **FROM_GATEWAYS,
        "S3, InternalError": _error(500, "We encountered an internal error.", "InternalError", protocol="xml"),
        "S3, RequestTimeout": _error(400, "Your socket connection was idle.", "RequestTimeout", protocol="xml"),
    }

    def act(self, connection: Any, token: str) -> None:
        connection.put_object(Bucket=aws.BUCKET, Key="one", Body=token.encode())


class Sqs(Aws):
    """The token is the message."""

    name = "boto3, SQS"
    server_name = "SQS (protocol server)"
    service = "sqs"
    protocol = "json"
    gateway_answers = {
        **FROM_GATEWAYS,
        "SQS, InternalError": _error(500, "Internal error", "InternalFailure", protocol="json"),
    }

    def act(self, connection: Any, token: str) -> None:
        url = f"{connection.meta.endpoint_url}/000000000000/effects"
        connection.send_message(QueueUrl=url, MessageBody=token)


CASES = (S3(), Sqs())
