"""Requests that an SDK repeats by itself: a repetition that cannot connect does not hide the try that had its effect.

The server does what the first request asks for, closes the connection without a reply, and takes no further one.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from typing import TYPE_CHECKING, Any

import pytest

from tests.clients.case import new_token
from tests.clients.conftest import skip_or_fail
from tests.clients.servers.http import HttpServer
from tests.clients.servers.sharing import HOST
from tests.effects.lossy_server import refusing_port
from wal_runner.core.lost_reply import lost_reply


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.clients.servers.http import Reply

TIMEOUT_S = 2.0

pytestmark = pytest.mark.filterwarnings("ignore")  # clients forget sockets when a connection breaks


# --- The SDKs, with retries of their own that do not wait for long ---------------------------------------------------


def by_boto3(base: str, token: str) -> None:
    client = library("boto3").client(
        "s3",
        endpoint_url=base,
        region_name="eu-central-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="example",  # noqa: S106 - no secret
        config=library("botocore.config").Config(retries={"total_max_attempts": 2}, proxies={}),
    )
    client.put_object(Bucket="effects", Key="one", Body=token.encode())


def by_stripe(base: str, token: str) -> None:
    stripe = library("stripe")
    http_client = stripe.RequestsClient(timeout=TIMEOUT_S)
    http_client._sleep_time_seconds = lambda *_: 0.0
    client = stripe.StripeClient(
        "sk_test_0", base_addresses={"api": base}, http_client=http_client, max_network_retries=1
    )
    client.v1.payment_intents.create({"amount": 500, "currency": "eur", "description": token})


def by_slack(base: str, token: str) -> None:
    library("slack_sdk").WebClient("xoxb-0", base_url=f"{base}/api/").chat_postMessage(channel="C1", text=token)


def by_slack_async(base: str, token: str) -> None:
    client = library("slack_sdk.web.async_client").AsyncWebClient("xoxb-0", base_url=f"{base}/api/")
    asyncio.run(client.chat_postMessage(channel="C1", text=token))


def by_azure(base: str, token: str) -> None:
    policies = library("azure.core.pipeline.policies")
    retry = policies.RetryPolicy(retry_total=2, retry_backoff_factor=0)
    with library("azure.core").PipelineClient(base, policies=[retry]) as client:
        request = library("azure.core.rest").HttpRequest("PUT", f"{base}/effects", content=token.encode())
        client.send_request(request).raise_for_status()


def by_azure_async(base: str, token: str) -> None:
    async def send() -> None:
        policies = library("azure.core.pipeline.policies")
        retry = policies.AsyncRetryPolicy(retry_total=2, retry_backoff_factor=0)
        async with library("azure.core").AsyncPipelineClient(base, policies=[retry]) as client:
            request = library("azure.core.rest").HttpRequest("PUT", f"{base}/effects", content=token.encode())
            (await client.send_request(request)).raise_for_status()

    asyncio.run(send())


def by_google(base: str, token: str) -> None:
    exceptions = library("google.api_core.exceptions")

    def post() -> None:
        with library("requests").Session() as session:
            session.trust_env = False
            response = session.post(base, data=token, timeout=TIMEOUT_S)
        if not response.ok:
            raise exceptions.from_http_response(response)

    def is_repeated(error: Exception) -> bool:
        return "NewConnectionError" not in str(error)

    library("google.api_core.retry").Retry(predicate=is_repeated, initial=0.01)(post)()


HIDING = (by_boto3, by_stripe, by_slack, by_slack_async)
"""SDKs that keep no error of an earlier try, only how many tries there were."""

KEEPING = (by_azure, by_azure_async, by_google)
"""SDKs that keep the errors of earlier tries."""


# --- Tests -----------------------------------------------------------------------------------------------------------


def name_of(client: Callable[..., None]) -> str:
    return client.__name__.removeprefix("by_")


@pytest.mark.parametrize("reply", [None, (502, {"Connection": "close"}, b"")], ids=["lost", "502"])
@pytest.mark.parametrize("client", [*HIDING, *KEEPING], ids=name_of)
def test_repetition_in_vain_does_not_hide_the_first(client: Callable[[str, str], None], reply: Reply) -> None:
    """The last attempt was refused; the first one had its effect."""
    token = new_token()

    with server_that_dies_after_one_request(reply) as (server, base):
        error = error_of(client, base, token)

        assert (True, True) == (server.happened(token), lost_reply(error)), repr(error)


@pytest.mark.parametrize("client", KEEPING, ids=name_of)
def test_tries_that_were_all_refused_are_a_failure(client: Callable[[str, str], None]) -> None:
    """If the errors of earlier attempts are kept, they say that nothing was sent."""
    with refusing_port() as port:
        assert not lost_reply(error_of(client, f"http://{HOST}:{port}", new_token()))


# --- Helpers ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def server_that_dies_after_one_request(reply: Reply) -> Iterator[tuple[HttpServer, str]]:
    with HttpServer() as server:

        def respond(*_: object) -> Reply:
            server.stop_listening()
            return reply

        server.respond = respond
        yield server, f"http://{HOST}:{server.port}"


def error_of(client: Callable[[str, str], None], base: str, token: str) -> Exception:
    with pytest.raises(Exception) as raised:  # noqa: PT011  # which class it is, is not the point
        client(base, token)
    return raised.value


def library(name: str) -> Any:
    """Import *name*; skip the test, or fail, if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        skip_or_fail(name)
