"""Exit codes of known programs that leave the effect in doubt: what ``--in-doubt-exit curl`` means.

Imported by ``walrun run`` only. Invariant: a code is here unless the program exits with it only before its request is
sent, or only after a reply that says no. docs/reference/lost-replies.md shows how each code was verified.
"""

from __future__ import annotations

from typing import Final


EXIT_CODE_MAX: Final = 255

PRESETS: Final[dict[str, dict[int, str]]] = {
    # Version 1 of aws uses 255 for every error, version 2 for connections and time-outs.
    "aws": {
        1: "a transfer of `aws s3` failed; the object may be there",
        130: "interrupted (Ctrl-C)",
        254: "the service returned an error, which may be a 500 or 504",
        255: "any other error: no connection, a time-out, a lost reply",
    },
    "curl": {
        1: "the reply is not HTTP, or an unknown version of it; also an unsupported protocol in the URL",
        8: "the reply cannot be parsed",
        10: "active FTP: the server did not connect back after STOR",
        12: "active FTP: the server did not connect back in time",
        16: "an HTTP/2 error",
        18: "the reply ended early, or a part of a file was transferred",
        22: "with --fail: a status of 400 or more, which may be 500, 502 or 504",
        23: "the reply could not be written to the disk",
        27: "out of memory, or a header of the reply too large",
        28: "a time-out, of the reply or of connecting",
        42: "aborted by a callback",
        47: "too many redirects, after the request was sent",
        52: "no reply came",
        55: "sending failed on the way",
        56: "receiving failed",
        61: "the encoding of the reply is unknown",
        63: "the reply is larger than --max-filesize",
        65: "the request was to be sent a second time, and could not be",
        79: "an error of the SSH session (scp, sftp)",
        80: "closing TLS failed, after the transfer",
        92: "a stream error of HTTP/2",
        95: "an HTTP/3 error",
        99: "waiting for the connection failed",
        100: "the reply has a value that is too large",
    },
    "psql": {
        2: "the connection was lost, or never made",
        3: "a statement of a script failed with ON_ERROR_STOP; those before it may be committed",
    },
    "rsync": {
        10: "an error of a socket",
        11: "a file could not be read or written",
        12: "the connection was lost, or the remote shell failed",
        13: "a message could not be printed",
        14: "an error between rsync's own processes",
        15: "one of rsync's processes crashed",
        16: "one of rsync's processes was killed",
        19: "ended by SIGUSR1",
        20: "ended by SIGINT, SIGTERM or SIGHUP",
        21: "waiting for a process of rsync failed",
        22: "out of memory",
        30: "a time-out",
        125: "the remote shell was killed",
        255: "the connection of ssh was lost, or never made",
    },
    # The codes of <sysexits.h>, as Sendmail, Postfix, msmtp and others use them.
    "sendmail": {
        70: "an internal error (EX_SOFTWARE)",
        71: "an error of the system (EX_OSERR)",
        74: "an input or output error, such as a time-out (EX_IOERR)",
        75: "a temporary failure (EX_TEMPFAIL); Sendmail has queued the mail",
        76: "the other side broke the protocol, or the connection (EX_PROTOCOL)",
    },
    "ssh": {
        255: "the connection was lost, or never made; or the remote command was killed, or exited with 255",
    },
}


def exit_codes_of(text: str) -> frozenset[int]:
    """Return the exit codes that *text* names: numbers and presets with commas, such as ``"curl,99"``.

    Raises:
        ValueError: A part is neither the name of a preset nor a number from 1 to 255. The message says which.

    """
    codes: set[int] = set()
    for part in (part.strip() for part in text.split(",")):
        if part in PRESETS:
            codes.update(PRESETS[part])
        elif part.isascii() and part.isdigit() and 1 <= int(part) <= EXIT_CODE_MAX:
            codes.add(int(part))
        else:
            raise ValueError(
                f"{part!r} is neither an exit code nor a preset. Use numbers from 1 to 255, or names, with commas: "
                f"28,52 or curl,99. The presets are {', '.join(sorted(PRESETS))}."
            )
    return frozenset(codes)
