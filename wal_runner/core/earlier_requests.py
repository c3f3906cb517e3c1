"""Find out whether the request that an error is about was the first that its client sent.

A client that follows a redirect, or that retries by itself, raises the error of its last request. The ones before it
are seen in the local variables of the functions that the error passed through, and in the histories of replies.

Imported by `lost_reply` and `error_links`. Invariant: as in `error_evidence`, which reads the paths.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wal_runner.core.client_errors import CLIENTS
from wal_runner.core.error_evidence import frames_of, is_one_of, value_at
from wal_runner.core.http_statuses import SAFE_METHODS


if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from wal_runner.core.error_rows import Redirect, Retry

_REDIRECTS: Final = tuple(redirect for client in CLIENTS for redirect in client.redirects)
_RETRIES: Final = tuple(retry for client in CLIENTS for retry in client.retries)
_PLACES: Final = frozenset({redirect.passed for redirect in _REDIRECTS} | {retry.passed for retry in _RETRIES})

_AFTER_WHICH_A_SAFE_REQUEST_FOLLOWS: Final = (301, 302, 303)
"""Redirects that may say that the request was acted on. After 307 and 308 it is sent again as it was."""


def an_earlier_request_may_have_acted(error: BaseException) -> bool:
    """Return whether the client had sent an unsafe request before the one that *error* is about, and it may have acted.

    A try that ended with an error is not meant: `errors_of_earlier_tries` returns its error.
    """
    if any(_redirected(redirect, error) for redirect in _REDIRECTS if redirect.passed is None):
        return True
    for place, frame in _frames(error):
        local_variables = dict(frame.f_locals)
        if any(_redirected(redirect, local_variables) for redirect in _REDIRECTS if redirect.passed == place):
            return True
        if any(_retried(retry, local_variables) for retry in _RETRIES if retry.passed == place and retry.error is None):
            return True
    return False


def errors_of_earlier_tries(error: BaseException) -> list[BaseException]:
    """Return the errors that earlier tries of the same request ended with."""
    return [
        earlier
        for place, frame in _frames(error)
        for local_variables in (dict(frame.f_locals),)
        for retry in _RETRIES
        if retry.passed == place and retry.error is not None and _retried(retry, local_variables)
        for earlier in _errors_in(local_variables, retry.error, retry.tries)
    ]


def _errors_in(local_variables: dict[str, object], path: str, tries: str | None) -> list[BaseException]:
    if tries is None:
        found = value_at(local_variables, path)
    else:
        kept = value_at(local_variables, tries)
        found = [value_at(one, path) for one in kept] if isinstance(kept, list | tuple) else None
    return [one for one in (found if isinstance(found, list | tuple) else [found]) if isinstance(one, BaseException)]


def _frames(error: BaseException) -> Iterator[tuple[tuple[str | None, str], FrameType]]:
    return ((place, frame) for place, frame in frames_of(error) if place in _PLACES)


def _redirected(redirect: Redirect, root: object) -> bool:
    replies = [root] if redirect.replies is None else value_at(root, redirect.replies)
    if not isinstance(replies, list | tuple):
        return False
    return any(
        value_at(reply, redirect.status) in _AFTER_WHICH_A_SAFE_REQUEST_FOLLOWS and not _is_safe(redirect.method, reply)
        for reply in replies
    )


def _retried(retry: Retry, local_variables: dict[str, object]) -> bool:
    shown = all(is_one_of(value_at(local_variables, path), values) for path, values in retry.where)
    return shown and not _is_safe(retry.method, local_variables)


def _is_safe(path: str | None, root: object) -> bool:
    method = None if path is None else value_at(root, path)
    return isinstance(method, str) and method.upper() in SAFE_METHODS
