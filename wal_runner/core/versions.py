"""Versions of wal_runner compared as numbers, and the one that introduced each log format.

Pure. Imported by the engines. Invariant: a version that cannot be read counts as older than every
format, so that nothing is written that a process of it might not be able to read.
"""

from __future__ import annotations

import re
from typing import Final


FORMAT_INTRODUCED: Final[dict[int, tuple[int, ...]]] = {1: (0, 1, 0), 2: (0, 2, 0)}
"""For each log format, the first version of wal_runner that reads it."""

_VERSION: Final = re.compile(
    r"v?(?P<release>[0-9]{1,9}(?:\.[0-9]{1,9}){0,9})"
    r"(?P<pre>[-_.]?(?:a|b|c|rc|alpha|beta|pre|preview|dev)[-_.]?[0-9]*)?"
    r"(?:[-_.]?(?:post|rev|r)[-_.]?[0-9]*)?"
    r"(?P<dev>[-_.]?dev[0-9]*)?"
    r"(?:\+(?!unknown)[a-z0-9._-]+)?",
    re.IGNORECASE,
)
"""PEP 440 without epochs; "0+unknown" is what an uninstalled source tree says. Numbers are bounded: the text comes
from the log, and int() refuses thousands of digits."""


def parse(version: str) -> tuple[tuple[int, ...], bool] | None:
    """Return the numbers of *version* without trailing zeros, and whether it is final; None if it is unreadable.

    Tuples of two versions compare as the versions do: "0.10.0" is newer than "0.9.9", and a
    pre-release is older than its release. Two pre-releases of one release count as the same.
    """
    match = _VERSION.fullmatch(version.strip())
    if match is None:
        return None
    return _trimmed(tuple(map(int, match["release"].split(".")))), not (match["pre"] or match["dev"])


def reads_format(version: str, wanted: int, *, own: str) -> bool:
    """Return whether a process that runs *version* of wal_runner reads log format *wanted*.

    Args:
        version: what the other process wrote into its SessionOpened.
        wanted: a log format, a key of `FORMAT_INTRODUCED`.
        own: the version of this process, which reads the format. The very same text does too if it
            cannot be read as a version, such as "0+unknown" of a source tree, or if it names a
            pre-release of the version that introduced the format.

    """
    introduced = _trimmed(FORMAT_INTRODUCED[wanted])
    parsed = parse(version)
    if parsed is None:
        return version == own
    release, is_final = parsed
    return release > introduced or (release == introduced and (is_final or version == own))


def _trimmed(release: tuple[int, ...]) -> tuple[int, ...]:
    # "0.2" and "0.2.0" are one version.
    while len(release) > 1 and release[-1] == 0:
        release = release[:-1]
    return release
