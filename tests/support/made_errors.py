"""Errors made by hand, for tests of `lost_reply`: chains, and classes of libraries that need not be installed."""

from __future__ import annotations

import itertools


def chained(*errors: BaseException) -> BaseException:
    """Make each error the cause of the one before it, and return the first."""
    for error, cause in itertools.pairwise(errors):
        error.__cause__ = cause
    return errors[0]


def raised_over(first: BaseException, second: BaseException) -> BaseException:
    """Make *second* look raised while *first* was handled, and return it."""
    second.__context__ = first
    return second


def foreign(name: str, *arguments: object, **attributes: object) -> BaseException:
    """Make an error of a library that need not be installed."""
    home, _, kind = name.rpartition(".")
    made: type[Exception] = type(kind, (Exception,), {"__module__": home})
    error = made(*arguments)
    for attribute, value in attributes.items():
        setattr(error, attribute, value)
    return error
