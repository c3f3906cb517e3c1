"""The servers that the cases share."""

from __future__ import annotations

import gc
import importlib.util
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import pytest

from tests.clients.proxy import Proxy


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.clients.case import Case

T = TypeVar("T")

REQUIRED = os.environ.get("WAL_RUNNER_CLIENTS") == "required"
"""Set where every client and server must be installed: a missing one is then a failure, not a skip."""


def has_the_extra() -> bool:
    """Return whether this environment is the one for the clients; in another the matrix would be a part of itself."""
    return importlib.util.find_spec("psycopg") is not None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is here where the clients are not: what could run would run again where they are."""
    if REQUIRED or has_the_extra():
        return
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.skip("needs the extra `clients`; see docs/contributing.md"))


def skip_or_fail(what: str) -> NoReturn:
    """Skip the test for a person who has not installed *what*; fail where it must be there."""
    message = f"{what} is not installed; docs/contributing.md says how to run these tests"
    if REQUIRED:
        pytest.fail(message)
    pytest.skip(message)


def started(start: Callable[[], T], case: Case | None = None) -> T:
    """Return the server of *start*; skip or fail the test if its program, or a package of *case*, is not installed."""
    if case is not None and (missing := case.missing()) is not None:
        skip_or_fail(missing)
    try:
        return start()
    except FileNotFoundError as error:
        skip_or_fail(str(error))


def error_of(act: Callable[[], object]) -> BaseException:
    """Return the exception that *act* raises, whichever it is."""
    with pytest.raises(Exception) as raised:  # noqa: PT011 - the test checks it
        act()
    return raised.value


@pytest.fixture
def sockets_may_leak() -> Iterator[None]:
    """Collect the sockets that a client forgot when its connection broke; the next test would be blamed for them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
        gc.collect()


@pytest.fixture
def proxy(server: Any) -> Iterator[Proxy]:
    """Yield a proxy in front of the fixture `server` of the test's module."""
    with Proxy(server.port) as one:
        yield one
