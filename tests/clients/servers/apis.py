"""The APIs of some services, as far as one request each: the path says whose it is, the reply is as theirs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from tests.clients.servers.http import HttpServer
from tests.clients.servers.sharing import shared_server


if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.clients.servers.http import Reply

TEXT: Final = "Done. " * 20
"""Long enough that the middle of the reply lies in the body."""

REPLIES: Final[dict[str, Any]] = {
    "/v1/chat/completions": {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": TEXT}}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 20, "total_tokens": 29},
    },
    "/v1/messages": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-3-5-haiku-latest",
        "content": [{"type": "text", "text": TEXT}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 9, "output_tokens": 20},
    },
    "/v1/payment_intents": {
        "id": "pi_1",
        "object": "payment_intent",
        "amount": 500,
        "currency": "eur",
        "status": "succeeded",
        "description": TEXT,
    },
    "/2010-04-01/Accounts/AC0/Messages.json": {
        "sid": "SM1",
        "account_sid": "AC0",
        "body": TEXT,
        "status": "queued",
        "to": "+15005550006",
        "uri": "/2010-04-01/Accounts/AC0/Messages/SM1.json",
    },
    "/api/chat.postMessage": {"ok": True, "channel": "C1", "ts": "1700000000.000100", "message": {"text": TEXT}},
}
CREATED: Final = {"name": "effects/1", "text": TEXT}


def respond(_method: str, path: str, _headers: Mapping[str, str], _body: bytes) -> Reply:
    """Answer what the service of *path* answers when the request was carried out."""
    reply = REPLIES.get(path.partition("?")[0], CREATED)
    return 200, {"Content-Type": "application/json", "request-id": "req_1"}, json.dumps(reply).encode()


shared = shared_server(lambda: HttpServer(respond))
