"""As much of S3 and SQS as one request needs: PutObject, and SendMessage in its JSON protocol and the one before."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from tests.clients.servers.http import HttpServer
from tests.clients.servers.sharing import shared_server


if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.clients.servers.http import Reply

BUCKET = "effects"
REQUEST_ID = {"x-amzn-RequestId": "c6f0a1de-0000-4000-8000-000000000001", "x-amz-request-id": "4442587FB7D0A2F9"}


def respond(_method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
    """Answer as SQS does if the request names its target, else as S3."""
    if headers.get("x-amz-target") == "AmazonSQS.SendMessage":
        text = json.loads(body)["MessageBody"].encode()
        answer = {
            "MD5OfMessageBody": hashlib.md5(text, usedforsecurity=False).hexdigest(),
            "MessageId": "0001" * 9,
            # Only so long that the middle of the reply lies in the body.
            "SequenceNumber": "1" * 400,
        }
        return 200, {"Content-Type": "application/x-amz-json-1.0", **REQUEST_ID}, json.dumps(answer).encode()
    if b"Action=SendMessage" in body:  # the protocol of old versions of boto3, with replies in XML
        text = parse_qs(body)[b"MessageBody"][0]
        digest = hashlib.md5(text, usedforsecurity=False).hexdigest()
        result = f"<MD5OfMessageBody>{digest}</MD5OfMessageBody><MessageId>{'0001' * 9}</MessageId>"
        result += f"<SequenceNumber>{'1' * 400}</SequenceNumber>"
        answered = f"<SendMessageResponse><SendMessageResult>{result}</SendMessageResult></SendMessageResponse>"
        return 200, {"Content-Type": "text/xml", **REQUEST_ID}, answered.encode()
    if path.partition("?")[0].startswith(f"/{BUCKET}/"):
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        return 200, {"ETag": f'"{etag}"', "Server": "AmazonS3", **REQUEST_ID}, b""
    return 404, {"Content-Type": "application/xml"}, b"<Error><Code>NoSuchBucket</Code></Error>"


shared = shared_server(lambda: HttpServer(respond))
