"""SDKs of services over HTTP, each at a local server that answers as the service does."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from tests.clients.case import TIMEOUT_S, AsyncConnection
from tests.clients.http_case import ServiceCase
from tests.clients.servers import apis, gateways


if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.clients.servers.http import HttpServer

GATEWAYS = ("nginx, 502", "nginx, 504", "Envoy, 503 reset", "Varnish, 503", "server, 500")
KEY_IN_USE = (
    '{"error": {"type": "idempotency_error", "code": "idempotency_key_in_use", "message": "There is currently '
    'another in-progress request using this Idempotent Key."}}'
)


class Sdk(ServiceCase):
    """One request that is not safe, with the SDK's own retries switched off."""

    server_name = "the service's API (protocol server)"
    gateway_answers = {name: gateways.AFTER_IT_WAS_DONE[name] for name in GATEWAYS}

    @contextlib.contextmanager
    def serving(self) -> Iterator[HttpServer]:
        yield apis.shared()


class OpenAI(Sdk):
    """A chat completion."""

    name = "openai"
    packages = ("openai",)

    def client(self, address: str) -> Any:
        import openai

        return openai.OpenAI(base_url=f"{address}/v1", api_key="sk-0", timeout=TIMEOUT_S, max_retries=0)

    def act(self, connection: Any, token: str) -> None:
        messages = [{"role": "user", "content": token}]
        connection.chat.completions.create(model="gpt-4o-mini", messages=messages)


class OpenAIAsync(OpenAI):
    """The same by AsyncOpenAI."""

    name = "openai, async"

    def client(self, address: str) -> Any:
        import openai

        async def connect() -> Any:
            return openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="sk-0", timeout=TIMEOUT_S, max_retries=0)

        return AsyncConnection(connect)

    def act(self, connection: Any, token: str) -> None:
        messages = [{"role": "user", "content": token}]
        connection.run(connection.inner.chat.completions.create(model="gpt-4o-mini", messages=messages))

    def close(self, connection: Any) -> None:
        connection.close(connection.inner.close())


class Anthropic(Sdk):
    """A message."""

    name = "anthropic"
    packages = ("anthropic",)

    def client(self, address: str) -> Any:
        import anthropic

        return anthropic.Anthropic(base_url=address, api_key="sk-0", timeout=TIMEOUT_S, max_retries=0)

    def act(self, connection: Any, token: str) -> None:
        messages = [{"role": "user", "content": token}]
        # Old versions have a time-out of ten minutes for each call, which goes before that of the client.
        connection.messages.create(model="claude-3-5-haiku-latest", max_tokens=20, messages=messages, timeout=TIMEOUT_S)


class Stripe(Sdk):
    """A payment, with the idempotency key that stripe makes up for each call."""

    name = "stripe"
    packages = ("stripe", "requests")
    gateway_answers = {
        **Sdk.gateway_answers,
        "stripe, 409": gateways.answer(409, "Conflict", KEY_IN_USE, "Content-Type: application/json"),
    }

    def client(self, address: str) -> Any:
        import stripe

        return stripe.StripeClient(
            "sk_test_0",
            base_addresses={"api": address},
            http_client=stripe.RequestsClient(timeout=TIMEOUT_S),
            max_network_retries=0,
        )

    def act(self, connection: Any, token: str) -> None:
        services = getattr(connection, "v1", connection)  # old versions have no `v1`
        services.payment_intents.create({"amount": 500, "currency": "eur", "description": token})

    def close(self, connection: Any) -> None:
        """Leave it to the garbage collector: a StripeClient cannot be closed."""


class Twilio(Sdk):
    """A text message."""

    name = "twilio"
    packages = ("twilio", "requests")

    def client(self, address: str) -> Any:
        from twilio.http.http_client import TwilioHttpClient
        from twilio.rest import Client

        client = Client("AC0", "token", http_client=TwilioHttpClient(timeout=TIMEOUT_S))
        client.api.base_url = address
        return client

    def act(self, connection: Any, token: str) -> None:
        connection.messages.create(to="+15005550006", from_="+15005550001", body=token)

    def close(self, connection: Any) -> None:
        connection.http_client.session.close()


class Slack(Sdk):
    """A message to a channel."""

    name = "slack_sdk"
    packages = ("slack_sdk",)

    def client(self, address: str) -> Any:
        from slack_sdk import WebClient

        return WebClient("xoxb-0", base_url=f"{address}/api/", timeout=TIMEOUT_S, retry_handlers=[])

    def act(self, connection: Any, token: str) -> None:
        connection.chat_postMessage(channel="C1", text=token)

    def close(self, connection: Any) -> None:
        """Do nothing: each request has a connection of its own."""


class AzureCore(Sdk):
    """A request through a pipeline without a RetryPolicy, by requests."""

    name = "azure-core"
    packages = ("azure-core", "requests")

    def client(self, address: str) -> Any:
        from azure.core import PipelineClient
        from azure.core.pipeline.policies import HeadersPolicy
        from azure.core.pipeline.transport import RequestsTransport

        transport = RequestsTransport(connection_timeout=TIMEOUT_S, read_timeout=TIMEOUT_S)
        return PipelineClient(address, policies=[HeadersPolicy()], transport=transport)

    def act(self, connection: Any, token: str) -> None:
        from azure.core.rest import HttpRequest

        request = HttpRequest("POST", connection.format_url("/effects"), content=token.encode())
        connection.send_request(request).raise_for_status()


class AzureCoreAsync(Sdk):
    """The same by aiohttp."""

    name = "azure-core, async"
    packages = ("azure-core", "aiohttp")

    def client(self, address: str) -> Any:
        from azure.core import AsyncPipelineClient
        from azure.core.pipeline.policies import HeadersPolicy
        from azure.core.pipeline.transport import AioHttpTransport

        async def connect() -> Any:
            transport = AioHttpTransport(connection_timeout=TIMEOUT_S, read_timeout=TIMEOUT_S)
            return AsyncPipelineClient(address, policies=[HeadersPolicy()], transport=transport)

        return AsyncConnection(connect)

    def act(self, connection: Any, token: str) -> None:
        from azure.core.rest import HttpRequest

        async def send() -> None:
            request = HttpRequest("POST", connection.inner.format_url("/effects"), content=token.encode())
            (await connection.inner.send_request(request)).raise_for_status()

        connection.run(send())

    def close(self, connection: Any) -> None:
        connection.close(connection.inner.close())


class GoogleHttp(Sdk):
    """A request as google-cloud-storage makes it: by requests, and the status turned into an error."""

    name = "google-api-core, HTTP"
    packages = ("google-api-core", "requests")

    def client(self, address: str) -> Any:
        import requests

        session = requests.Session()
        session.trust_env = False
        session.base = address  # type: ignore[attr-defined]
        return session

    def act(self, connection: Any, token: str) -> None:
        from google.api_core.exceptions import from_http_response

        response = connection.post(f"{connection.base}/v1/effects", json={"name": token}, timeout=TIMEOUT_S)
        if not response.ok:
            raise from_http_response(response)


CASES = (
    OpenAI(),
    OpenAIAsync(),
    Anthropic(),
    Stripe(),
    Twilio(),
    Slack(),
    AzureCore(),
    AzureCoreAsync(),
    GoogleHttp(),
)
