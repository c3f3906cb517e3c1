"""Exit codes of real programs whose reply was lost: each is in its preset, and codes of "never sent" are not."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.clients.case import new_token
from tests.clients.certificate import untrusted_certificate
from tests.clients.proxy import HOST, Break, Proxy
from tests.clients.servers import postgres, sshd
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
from wal_runner.cli.exit_presets import EXIT_CODE_MAX, PRESETS, exit_codes_of


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.effects.lossy_server import Lose

NOTES = Path(__file__).parents[1] / "clients" / "notes" / "zz_exit_codes.md"
GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "run-commands.md"
PATIENCE_S = 30


def exit_code(program: str, *arguments: object, stdin: str = "", **environment: str) -> int:
    """Return the exit code of a program; skip the test if it is not installed."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        pytest.skip(f"{program} is not installed")
    ended = subprocess.run(
        [path, *map(str, arguments)],
        check=False,
        capture_output=True,
        env={**os.environ, **environment},
        input=stdin.encode(),
        timeout=PATIENCE_S,
    )
    return ended.returncode


# --- The option ------------------------------------------------------------------------------


def test_presets_and_numbers_are_combined() -> None:
    """The codes of each name, and each number."""
    assert frozenset({99, *PRESETS["psql"], *PRESETS["ssh"]}) == exit_codes_of("psql, 99,ssh")


@pytest.mark.parametrize("text", ["wget", "curl,", "curl;psql", "0", "256", "-1", "CURL", "٣", ""])
def test_unknown_preset_lists_the_known_ones(text: str) -> None:
    """Whoever mistypes a name sees what there is."""
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
    """Connecting timed out, so nothing was sent, and the code is that of a lost reply: a needless doubt."""
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


# --- psql ------------------------------------------------------------------------------------


@pytest.fixture
def database() -> postgres.Postgres:
    """Return the server that the cases share."""
    try:
        return postgres.shared()
    except FileNotFoundError as error:
        pytest.skip(str(error))


def insert(token: str) -> str:
    """Return a statement that has the effect *token*."""
    return f"INSERT INTO effects VALUES ('{token}');"  # noqa: S608 - a token of our own


def psql(port: int, *arguments: str, stdin: str = "") -> int:
    """Return the exit code of psql."""
    options = ("-X", "-h", HOST, "-p", port, "-U", postgres.USER, "-d", "postgres", "-v", "ON_ERROR_STOP=1")
    return exit_code("psql", *options, *arguments, stdin=stdin, PGSSLMODE="disable", PGCONNECT_TIMEOUT="2")


@pytest.mark.parametrize("how", [Break.NO_REPLY, Break.HALF_REPLY, Break.RESET])
@pytest.mark.parametrize("is_script", [False, True], ids=["command", "script"])
def test_psql_whose_connection_was_lost(database: postgres.Postgres, how: Break, *, is_script: bool) -> None:
    """The row is committed; the code is in the preset."""
    token = new_token()
    with Proxy(database.port) as proxy:
        proxy.arm(how, token.encode(), lambda: database.happened(token))
        code = psql(proxy.port, stdin=insert(token)) if is_script else psql(proxy.port, "-c", insert(token))

    assert (True, 2) == (database.happened(token), code)
    assert code in PRESETS["psql"]


def test_psql_script_that_fails_may_have_committed_a_part(database: postgres.Postgres) -> None:
    """Code 3 is in the preset; with one transaction nothing was committed, and the doubt is needless."""
    token, other = new_token(), new_token()
    bad = "no such statement;"

    assert (3, True) == (psql(database.port, stdin=insert(token) + bad), database.happened(token))
    assert (3, False) == (psql(database.port, "-1", stdin=insert(other) + bad), database.happened(other))
    assert 3 in PRESETS["psql"]


def test_psql_command_that_is_refused_failed(database: postgres.Postgres) -> None:
    """One -c is one transaction, so that a refusal undoes it; its code is not in the preset."""
    token = new_token()
    code = psql(database.port, "-c", f"{insert(token)} no such statement")

    assert (1, False) == (code, database.happened(token))
    assert code not in PRESETS["psql"]


# --- ssh and rsync ---------------------------------------------------------------------------


@pytest.fixture
def shell_server() -> sshd.Sshd:
    """Return the server that the cases share."""
    try:
        return sshd.shared()
    except FileNotFoundError as error:
        pytest.skip(str(error))


def ssh_options(server: sshd.Sshd, port: int) -> list[str]:
    """Return what makes ssh talk to that server, whoever runs it."""
    settings = {
        "StrictHostKeyChecking": "no",
        "UserKnownHostsFile": os.devnull,
        "BatchMode": "yes",
        "LogLevel": "ERROR",
        "ConnectTimeout": "2",
    }
    chosen = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    return ["-F", "none", "-i", str(server.user_key), *chosen, "-p", str(port)]


def lose_when(proxy: Proxy, is_time: Callable[[], bool], program: Sequence[str]) -> int:
    """Return the exit code of *program*, whose connection is closed when *is_time*."""
    if shutil.which(program[0]) is None:
        pytest.skip(f"{program[0]} is not installed")
    running = subprocess.Popen(program, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE_S
    while not is_time():
        assert time.monotonic() < deadline, "the effect never came"
        time.sleep(0.005)
    proxy.drop_all()
    return running.wait(PATIENCE_S)


def test_ssh_whose_connection_was_lost(shell_server: sshd.Sshd) -> None:
    """The command had its effect; the code is in the preset."""
    token = new_token()
    with Proxy(shell_server.port) as proxy:
        command = f"echo {token} >> {shell_server.log}; sleep 5"
        words = ["ssh", *ssh_options(shell_server, proxy.port), f"{shell_server.user}@{HOST}", command]
        code = lose_when(proxy, lambda: shell_server.happened(token), words)

    assert 255 == code
    assert code in PRESETS["ssh"]


@pytest.mark.parametrize(("command", "code"), [("exit 3", 3), ("exit 255", 255), ("kill -9 $$", 255)])
def test_ssh_passes_the_code_of_the_command_on(shell_server: sshd.Sshd, command: str, code: int) -> None:
    """A command that was killed has no code, and a code of 255 is its own or that of ssh."""
    where = f"{shell_server.user}@{HOST}"

    assert code == exit_code("ssh", *ssh_options(shell_server, shell_server.port), where, command)


def test_ssh_that_never_connected_has_the_same_code(shell_server: sshd.Sshd) -> None:
    """A needless doubt: ssh has one code for all that goes wrong with it."""
    with refusing_port() as port:
        assert 255 == exit_code("ssh", *ssh_options(shell_server, port), f"{shell_server.user}@{HOST}", "true")


def rsync(server: sshd.Sshd, port: int, source: Path, *options: str) -> list[str]:
    """Return the words that copy *source* into a folder of the same name."""
    shell = " ".join(["ssh", *ssh_options(server, port)])
    return ["rsync", "-a", "-e", shell, *options, str(source), f"{server.user}@{HOST}:{server.files}"]


def test_rsync_whose_connection_was_lost(shell_server: sshd.Sshd, tmp_path: Path) -> None:
    """A part was copied; the code is in the preset."""
    source = tmp_path / new_token()
    source.mkdir()
    (source / "first").write_bytes(b"small")
    (source / "second").write_bytes(os.urandom(1 << 22))
    target = shell_server.files / source.name
    with Proxy(shell_server.port) as proxy:
        words = rsync(shell_server, proxy.port, source, "--bwlimit=1000")
        code = lose_when(proxy, (target / "first").exists, words)

    assert not (target / "second").exists()
    assert code in PRESETS["rsync"]


def test_rsync_daemon_that_is_silent_times_out() -> None:
    """Code 30 for a lost reply, 35 while connecting: only the first is in the preset."""
    with LossyServer(receive_nothing, hang) as server, silent_port() as port:
        silent = exit_code("rsync", "--timeout=1", "-a", os.devnull, f"rsync://{HOST}:{server.port}/x/")
        never = exit_code("rsync", "--contimeout=1", "-a", os.devnull, f"rsync://{HOST}:{port}/x/")

    assert [30, 35] == [silent, never]
    assert [True, False] == [code in PRESETS["rsync"] for code in (silent, never)]


def test_rsync_that_says_what_it_did_not_copy_failed(shell_server: sshd.Sshd, tmp_path: Path) -> None:
    """A source that is not there is rsync's own complete report."""
    code = exit_code(*rsync(shell_server, shell_server.port, tmp_path / "missing"))

    assert 23 == code
    assert code not in PRESETS["rsync"]


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
    """The mail was taken over, and the code is in the preset."""
    token = new_token()
    with SmtpServer() as server:
        server.answers["."] = reply
        code = sendmail(server.port, token)

        assert (True, 76) == (server.happened(token), code)
    assert code in PRESETS["sendmail"]


def test_sendmail_that_timed_out() -> None:
    """The mail was taken over, and no reply came."""
    with LossyServer(receive_smtp, hang) as server:
        code = sendmail(server.port, new_token())

        assert (True, 74) == (server.arrived.is_set(), code)
    assert code in PRESETS["sendmail"]


@pytest.mark.parametrize(("command", "expected"), [("MAIL", 65), ("RCPT", 65), ("DATA", 65), (".", 69)])
def test_sendmail_that_was_refused_failed(command: str, expected: int) -> None:
    """The server says no, and the code is not in the preset."""
    token = new_token()
    with SmtpServer() as server:
        server.answers[command] = b"550 no"
        code = sendmail(server.port, token)

        assert (False, expected) == (server.happened(token), code)
    assert code not in PRESETS["sendmail"]
