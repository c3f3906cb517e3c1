"""Exit codes of real programs whose reply was lost: each is in its preset, and codes of "never sent" are not."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.clients.case import new_token
from tests.clients.certificate import untrusted_certificate
from tests.clients.proxy import HOST
from tests.clients.servers.smtp import SmtpServer
from tests.effects.lossy_server import (
    UNRESOLVABLE_NAME,
    LossyServer,
    close,
    cut,
    garble,
    hang,
    receive_http,
    receive_nothing,
    receive_smtp,
    refusing_port,
    reset,
    silent_port,
)
from tests.effects.programs import PATIENCE_S, exit_code
from wal_runner.cli.exit_presets import EXIT_CODE_MAX, PRESETS, exit_codes_of


if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.effects.lossy_server import Lose

NOTES = Path(__file__).parents[1] / "clients" / "notes" / "zz_exit_codes.md"
GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "run-commands.md"


# --- The option ------------------------------------------------------------------------------


def test_presets_and_numbers_are_combined() -> None:
    """The codes of each name, and each number."""
    assert frozenset({99, *PRESETS["psql"], *PRESETS["ssh"]}) == exit_codes_of("psql, 99,ssh")


@pytest.mark.parametrize("text", ["wget", "curl,", "curl;psql", "0", "256", "-1", "CURL", "٣", ""])
def test_unknown_preset_lists_the_known_ones(text: str) -> None:
    """The error for a mistyped name lists the known ones."""
    with pytest.raises(ValueError, match=r"from 1 to 255.*presets are aws, curl, psql, rsync, sendmail, ssh\."):
        exit_codes_of(text)


def test_presets_are_exit_codes_of_failures() -> None:
    """0 is success, and no code is above 255."""
    assert [] == [code for codes in PRESETS.values() for code in codes if not 1 <= code <= EXIT_CODE_MAX]


def test_page_has_the_codes_of_the_presets() -> None:
    """The table says "in doubt" of the codes in a preset, and of no other."""
    said: dict[str, set[int]] = {}
    for program, codes, verdict in re.findall(
        r"^\| (\w+) \| ([\d, ]+) \|.*\| (in doubt|failed) \|", NOTES.read_text(), re.MULTILINE
    ):
        if verdict == "in doubt":
            said.setdefault(program, set()).update(map(int, codes.split(",")))

    assert {name: set(codes) for name, codes in PRESETS.items()} == said


# --- curl ------------------------------------------------------------------------------------


def curl(address: str, *arguments: str) -> int:
    """Return the exit code of a POST."""
    # Of two -o the first one counts.
    return exit_code("curl", "-sS", "--max-time", "1", "-d", "charge=1", *arguments, "-o", os.devnull, address)


def answer(reply: bytes) -> Lose:
    """Return a way to reply with *reply*."""

    def lose(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(reply)

    return lose


HUGE_HEADER = b"HTTP/1.1 200 OK\r\nX: " + b"y" * 400_000 + b"\r\n\r\n"
BAD_GZIP = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello"
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
TO_ITSELF = b"HTTP/1.1 307 Again\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"
GATEWAY_TIMEOUT = b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("lose", "options", "codes"),
    [
        (close, (), {52}),
        (reset, (), {56}),
        (hang, (), {28}),
        (cut, (), {18}),
        (garble, (), {1}),
        (answer(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"), (), {8}),
        (answer(GATEWAY_TIMEOUT), ("--fail",), {22}),
        (answer(GATEWAY_TIMEOUT), ("--fail-with-body",), {22}),
        (answer(HELLO), ("-o", "/dev/full"), {23}),
        (answer(HUGE_HEADER), (), {27, 56, 100}),  # newer versions of curl have codes of their own for this
        (answer(TO_ITSELF), ("--location", "--max-redirs", "2"), {47}),
        (answer(BAD_GZIP), ("--compressed",), {61, 23}),
        (answer(HELLO), ("--max-filesize", "2"), {63}),
    ],
)
def test_curl_after_the_request_was_acted_on(lose: Lose, options: Sequence[str], codes: set[int]) -> None:
    """The server had the whole request; the code is in the preset."""
    with LossyServer(receive_http, lose) as server:
        code = curl(f"http://{HOST}:{server.port}/", *options)

        assert server.arrived.is_set()
    assert code in codes
    assert code in PRESETS["curl"]


def test_curl_that_never_connected_failed() -> None:
    """Refused, unknown, and TLS that fails: none of these codes is in the preset."""
    with refusing_port() as port, LossyServer(receive_nothing, close) as server:
        refused = curl(f"http://{HOST}:{port}/")
        unknown = curl(f"http://{UNRESOLVABLE_NAME}/")
        tls = curl(f"https://{HOST}:{server.port}/")

    assert [7, 6, 35] == [refused, unknown, tls]
    assert PRESETS["curl"].keys().isdisjoint({refused, unknown, tls})


def test_curl_with_an_untrusted_certificate_failed() -> None:
    """The handshake ends before the request."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*untrusted_certificate())

    def serve(listener: socket.socket) -> None:
        peer, _ = listener.accept()
        with peer, pytest.raises(OSError, match=r"."):
            context.wrap_socket(peer, server_side=True)

    with socket.create_server((HOST, 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        code = curl(
            f"https://localhost:{listener.getsockname()[1]}/",
            "--resolve",
            f"localhost:{listener.getsockname()[1]}:{HOST}",
        )
        thread.join(PATIENCE_S)

    assert 60 == code
    assert code not in PRESETS["curl"]


def test_curl_has_one_code_for_both_time_outs() -> None:
    """Connecting timed out, so nothing was sent, but the code is that of a lost reply: a needless doubt."""
    with silent_port() as port:
        code = curl(f"http://{HOST}:{port}/", "--connect-timeout", "0.3")

    assert 28 == code
    assert code in PRESETS["curl"]


SCRIPT = re.compile(r"^cat > charge.sh <<'EOF'\n(.*?)^EOF$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    ("status", "expected"), [(200, 0), (204, 0), (303, 99), (404, 111), (429, 111), (500, 99), (503, 111), (504, 99)]
)
def test_script_of_the_guide_tells_statuses_apart(tmp_path: Path, status: int, expected: int) -> None:
    """Done, refused, and in doubt by the code that `--in-doubt-exit curl,99` names."""
    [script] = SCRIPT.findall(GUIDE.read_text())
    (tmp_path / "charge.sh").write_text(script)
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    reply = answer(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode())
    with LossyServer(receive_http, reply) as server:
        code = exit_code("sh", tmp_path / "charge.sh", "7", SHOP=f"http://{HOST}:{server.port}")

    assert expected == code
    assert (code in exit_codes_of("curl,99")) is (expected == 99)


# --- aws and sendmail ------------------------------------------------------------------------


def aws(port: int, *words: str) -> int:
    """Return the exit code of one request to a service at *port*, sent once."""
    return exit_code(
        "aws",
        *("--endpoint-url", f"http://{HOST}:{port}", "--cli-read-timeout", "1", "--cli-connect-timeout", "1"),
        *words,
        AWS_ACCESS_KEY_ID="key",
        AWS_SECRET_ACCESS_KEY="secret",  # noqa: S106 - of nobody
        AWS_DEFAULT_REGION="us-east-1",
        AWS_MAX_ATTEMPTS="1",
    )


PUT_ITEM = ("dynamodb", "put-item", "--table-name", "t", "--item", '{"id": {"S": "1"}}')


@pytest.mark.parametrize(("lose", "words"), [(close, PUT_ITEM), (answer(GATEWAY_TIMEOUT), PUT_ITEM)])
def test_aws_after_the_request_was_acted_on(lose: Lose, words: Sequence[str]) -> None:
    """The service had the whole request; the code is in the preset."""
    with LossyServer(receive_http, lose) as server:
        code = aws(server.port, *words)

        assert server.arrived.is_set()
    assert code in PRESETS["aws"]


def test_aws_upload_whose_reply_was_lost(tmp_path: Path) -> None:
    """`aws s3` has a code of its own."""
    (tmp_path / "bill").write_bytes(b"content")
    with LossyServer(receive_http, close) as server:
        code = aws(server.port, "s3", "cp", str(tmp_path / "bill"), "s3://bucket/bill")

    assert 1 == code
    assert code in PRESETS["aws"]


def sendmail(port: int, token: str) -> int:
    """Return the exit code of msmtp, which stands in for sendmail, for a mail that holds *token*."""
    options = (f"--host={HOST}", f"--port={port}", "--timeout=1", "--tls=off", "--auth=off", "--from=a@example.com")
    return exit_code("msmtp", *options, "b@example.com", stdin=f"\n{token}\n")


@pytest.mark.parametrize("reply", [b"", b"what?"], ids=repr)
def test_sendmail_whose_connection_was_lost(reply: bytes) -> None:
    """The server accepted the mail, and the code is in the preset."""
    token = new_token()
    with SmtpServer() as server:
        server.answers["."] = reply
        code = sendmail(server.port, token)

        assert (True, 76) == (server.happened(token), code)
    assert code in PRESETS["sendmail"]


def test_sendmail_that_timed_out() -> None:
    """The server accepted the mail, and no reply came."""
    with LossyServer(receive_smtp, hang) as server:
        code = sendmail(server.port, new_token())

        assert (True, 74) == (server.arrived.is_set(), code)
    assert code in PRESETS["sendmail"]


@pytest.mark.parametrize(("command", "expected"), [("MAIL", 65), ("RCPT", 65), ("DATA", 65), (".", 69)])
def test_sendmail_that_was_refused_failed(command: str, expected: int) -> None:
    """The server refuses the mail, and the code is not in the preset."""
    token = new_token()
    with SmtpServer() as server:
        server.answers[command] = b"550 no"
        code = sendmail(server.port, token)

        assert (False, expected) == (server.happened(token), code)
    assert code not in PRESETS["sendmail"]
