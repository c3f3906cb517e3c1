"""Exit codes of psql, ssh and rsync, whose connection to a real server is lost: each is in its preset."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.clients.case import new_token
from tests.clients.proxy import HOST, Break, Proxy
from tests.clients.servers import postgres, sshd
from tests.effects.lossy_server import LossyServer, hang, receive_nothing, refusing_port, silent_port
from tests.effects.programs import PATIENCE_S, exit_code
from tests.runner.driving import wait_until
from wal_runner.cli.exit_presets import PRESETS


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


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
    """Return the options of ssh for that server, independent of the user's own configuration."""
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
    wait_until(is_time, PATIENCE_S)
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
    """A needless doubt: ssh has one code for all its own errors."""
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
    """A missing source is reported by rsync itself, so its code is not in the preset."""
    code = exit_code(*rsync(shell_server, shell_server.port, tmp_path / "missing"))

    assert 23 == code
    assert code not in PRESETS["rsync"]
