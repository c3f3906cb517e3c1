"""Read the errors of one chain together: what one of them says of those behind it.

Imported by `lost_reply`. Invariant: an error speaks only for the events that it names. An error that was merely being
handled when it was raised, and the other members of a group, speak for themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, assert_never

from wal_runner.core.earlier_requests import an_earlier_request_may_have_acted
from wal_runner.core.error_evidence import evidence_of, is_named_like_a_lost_reply, is_safe_request, row_for
from wal_runner.core.error_rows import Evidence


if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

    from wal_runner.core.error_links import Link

# Where the system's own errors live.
SYSTEM_MODULES: Final = frozenset({"asyncio.exceptions", "builtins", "socket", "ssl", "smtplib"})


class Rules(Protocol):
    """The caller's own answers, which go before those of the table."""

    @property
    def statuses(self) -> Mapping[int, Evidence]:
        """Answers for HTTP statuses."""

    def own_answer(self, error: BaseException) -> Evidence | None:
        """Return the answer for the class of *error*, or None."""


@dataclass(slots=True)
class _Story:
    """What was read of one error and what lies behind it; each member of a group has a story of its own."""

    outer: int
    is_unclear: bool = False
    is_named_like_a_lost_reply: bool = False
    knows_it_was_not_done: bool = False


@dataclass(slots=True)
class _Inside:
    """What an error tells of those that it names. Those are the same event, which it knows better."""

    a_failed_connect: bool = False
    """What the system said of a connection that was not made, such as a TimeoutError, is connect()'s own."""
    a_known_failure: bool = False
    """What a safe request lost is lost without harm. So is what the caller calls a failure."""


class Reading:
    """The errors of one chain, read link by link from the outside in."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._stories: dict[int, _Story] = {}
        self._stories_of_links: list[int] = []
        self._insides: list[_Inside] = []
        # Frames of functions that run before a request is sent: an error that was caught in one struck there.
        self._connecting: set[FrameType] = set()

    @property
    def is_unclear(self) -> bool:
        """Return whether nothing was found that decides, and something was that leaves it open."""
        # A group's members are read after it: what all of them know, the error around the group knows too.
        for number in sorted(self._stories, reverse=True):
            members = [story for other, story in self._stories.items() if story.outer == number != other]
            story = self._stories[number]
            if members and all(member.knows_it_was_not_done for member in members):
                story.is_unclear, story.knows_it_was_not_done = False, True
            if story.is_unclear or (story.is_named_like_a_lost_reply and not story.knows_it_was_not_done):
                return True
        return False

    def is_decided_by(self, link: Link) -> bool:
        """Read the next link; return True if nobody knows, whatever follows."""
        around = self._insides[link.parent] if link.parent >= 0 else _Inside()
        if link.story not in self._stories:
            outer = self._stories_of_links[link.parent] if link.parent >= 0 else link.story
            self._stories[link.story] = _Story(outer)
        story = self._stories[link.story]
        inside = _Inside(
            a_failed_connect=around.a_failed_connect and link.is_named,
            a_known_failure=around.a_known_failure and link.is_same_request,
        )
        self._stories_of_links.append(link.story)
        self._insides.append(inside)
        return self._read(link, story, inside)

    def _read(self, link: Link, story: _Story, inside: _Inside) -> bool:
        error = link.error
        is_the_systems_own = type(error).__module__ in SYSTEM_MODULES and isinstance(error, OSError | EOFError)
        own = self._rules.own_answer(error)
        if own is not None:
            story.is_unclear, story.knows_it_was_not_done = False, True
            inside.a_known_failure = True
            return own is Evidence.UNKNOWN
        is_safe = is_safe_request(error)
        if is_safe is None and inside.a_known_failure:
            return False
        if an_earlier_request_may_have_acted(error):
            return True
        inside.a_known_failure = is_safe is True
        if is_safe:
            story.is_unclear = story.is_unclear and not link.is_named
            return False
        if inside.a_failed_connect and is_the_systems_own:
            return False
        return self._is_decided_by_evidence(error, story, inside, is_the_systems_own=is_the_systems_own)

    def _is_decided_by_evidence(
        self, error: BaseException, story: _Story, inside: _Inside, *, is_the_systems_own: bool
    ) -> bool:
        evidence = evidence_of(error, self._rules.statuses, self._connecting)
        match evidence:
            case Evidence.UNKNOWN:
                return True
            case Evidence.NOT_SENT | Evidence.REFUSED:
                story.is_unclear = False
                story.knows_it_was_not_done = True
                inside.a_failed_connect = evidence is Evidence.NOT_SENT and not is_the_systems_own
            case Evidence.SEE_CAUSE:
                story.is_unclear = True
            case Evidence.NONE:
                if row_for(error) is None and is_named_like_a_lost_reply(error):
                    story.is_named_like_a_lost_reply = True
            case Evidence.BY_STATUS:
                raise AssertionError("a status was read")
            case _:
                assert_never(evidence)
        return False
