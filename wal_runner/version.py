"""The version of the package, as it is installed and as it stands in each session's first event."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def _installed_version() -> str:
    try:
        return version("wal-runner")
    except PackageNotFoundError:
        return "0+unknown"  # run from a source tree that was never installed


__version__ = _installed_version()
