"""The source of a run: items in, candidates out.

Imported by the drivers. Invariant: items are looked up before the gate, in batches, so a rerun skips
what is done at more than a million a second; and an error of the source is kept until what was
pulled before it has been dealt with.
"""

from __future__ import annotations

import time
from collections import deque
from itertools import islice
from operator import itemgetter
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final

from wal_runner.core.decide import Course, course
from wal_runner.core.events import Status
from wal_runner.core.items import item_of, long_row
from wal_runner.errors import ItemChanged
from wal_runner.log.rows import row_of, status_in
from wal_runner.runner.chunks import NOT_LOOKED_UP, Candidate, Chunk, Looked, are_all_done, is_plain_text
from wal_runner.runner.item_names import Namer, explain_thread
from wal_runner.runner.watch import IMMUTABLE_TYPES, ItemWatch, changed


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from wal_runner.core.identity import KeyRule
    from wal_runner.core.items import ItemState
    from wal_runner.recovery.writer import LogWriter
    from wal_runner.runner.pages import Page, Pages
    from wal_runner.runner.settling import Settling

PULL_MAX: Final = 1024
"""So many items are pulled and looked up at once, when most of them are done already."""

LOOK_AHEAD_MIN: Final = 64

PULL_SECONDS_MAX: Final = 0.05
"""A source that is slow is asked no more after this, while items of it could run. It is looked at between
two items: one that blocks holds back what it gave just before, unless the run knows that it would block."""

QUICK_PULL: Final = 256
"""Below this many a source's speed is not known, and each pull is timed."""

QUICK_ITEM_S: Final = 10e-6
"""A source that yields, and an item that is named, in less than this: 1,024 of them stay far below the deadline."""

_SUCCEEDED: Final = int(Status.SUCCEEDED)

_ITEM_AND_ID: Final = itemgetter(0, 1)
_make: Any = tuple.__new__


class Stopped(BaseException):
    """Raised into a blocked source by the signal handler: pull nothing more."""


class Feed:
    """Pulls items from a source, counts what needs no run, and hands out the rest."""

    def __init__(
        self,
        source: Iterable[Any] | None,
        rule: KeyRule,
        writer: LogWriter,
        settling: Settling,
        *,
        refuse_duplicates: bool = False,
        pages: Pages | None = None,
        expect: Callable[[str], None] | None = None,
        would_block: Callable[[], bool] | None = None,
        reads_ahead: bool = True,
    ) -> None:
        # None: an asynchronous source, whose items come by `classify` and `add`.
        self._iterator: Iterator[Any] | None = None if source is None else iter(source)
        self.rule_name = rule.name
        self._writer = writer
        self._settling = settling
        self._began_at = 0
        self.pages = pages
        self._would_block = would_block
        names = Namer(rule, refuse_duplicates=refuse_duplicates, expect=expect)
        self._named = names.name
        self._takes_text_as_it_is = names.takes_text_as_it_is
        self._waiting: list[Candidate] = []
        self._taken: list[Candidate] = []
        self.suspects: deque[Candidate] = deque()
        """Items whose process died with them repeatedly: they run last and alone."""
        self._chunk = Chunk([], [], [])
        self.watch = ItemWatch(rule, self._pulled)
        self._reads_ahead = reads_ahead
        self.pulled_ahead: deque[tuple[Any, Any, str]] = deque()
        """Items of an asynchronous source that wait to be classified, with their pages and ids."""
        self._pull_size = 1
        self._item_s = 1.0
        self.error: BaseException | None = None
        self.exhausted = False
        self.pulled_by = 0
        """The thread in which the source has control: only there, and only then, may a signal break in."""
        self.is_stopped = False
        """Set by a signal, for the moment in which it could not break in yet and nobody asks any more."""
        self.is_on_another_thread = False
        """The source is read, and key= is called, on a thread that is not the caller's."""

    def begin(self, began_at: int) -> None:
        """Note the last seq before the run: failures up to there are older than it, and tried again."""
        self._began_at = began_at

    def take(self, limit: int) -> list[Candidate]:
        """Return up to *limit* candidates; fewer if the source is slow, none if it has ended.

        Call `were_started` once they have been started or put back: until then they are watched here.
        """
        # Added there before they are removed here: the event loop may look for a changed item at any moment.
        taken = self._taken = self._waiting[:limit]
        del self._waiting[:limit]
        deadline = time.perf_counter() + PULL_SECONDS_MAX
        while len(taken) < limit and not self.exhausted and self._iterator is not None:
            missing = limit - len(taken)
            try:
                chunk, pages, ids = self._pull(max(missing, self._pull_size), deadline)
            except Stopped:  # it broke in on the way out of the source; nothing of the chunk was started
                self.exhausted = True
                break
            found = self.classify(chunk, pages, ids)
            # Mostly done items: look further ahead. Mostly new ones: no further than asked.
            if len(chunk) > 1:
                self._pull_size = min(2 * len(chunk), PULL_MAX) if 2 * len(found) < len(chunk) else 1
            taken += found[:missing]
            self._waiting += found[missing:]
            if taken and (time.perf_counter() > deadline or self._is_blocked()):
                break
        if isinstance(self.error, ItemChanged):
            # After `_taken` was set: `on_change` reads it after the error was set, so one of the two sees the other.
            taken[:] = self._as_named(taken)
        return taken

    def take_pulled(self, limit: int) -> None:
        """Look up to *limit* items of an asynchronous source up, and add them to the candidates."""
        pulled = self.pulled_ahead
        chunk = self._chunk = Chunk([], [], [])
        while pulled and len(chunk.items) < limit:
            item, page, item_id = pulled[0]
            if self.pages is not None:
                chunk.pages.append(page)
            chunk.ids.append(item_id)
            chunk.items.append(item)
            pulled.popleft()
        if chunk.items:
            self.add(self.classify(*chunk[:2], chunk.ids))
            # Or these items would still count as waiting when fn has run, and has changed them.
            self._chunk = Chunk([], [], [])

    def were_started(self) -> None:
        """Forget the candidates that `take` returned; the dispatcher watches those that were started."""
        self._taken = []

    @property
    def taken(self) -> list[Candidate]:
        """Return the candidates that `take` returned and that are not started yet."""
        return self._taken

    def was_dropped(self) -> None:
        """Note that a candidate needed no start: the items behind it are worth a look ahead."""
        self._pull_size = max(self._pull_size, LOOK_AHEAD_MIN)

    def put_back(self, candidates: Sequence[Candidate]) -> None:
        """Take candidates back that could not be started now."""
        self._waiting[:0] = candidates

    def add(self, candidates: Sequence[Candidate]) -> None:
        """Add candidates that are to be considered again."""
        self._waiting += candidates

    def take_suspect(self) -> list[Candidate]:
        """Return the next suspect, alone, once the source has ended and nothing else waits."""
        if not self.exhausted or self._waiting or self.pulled_ahead:
            return []
        self._taken = [self.suspects.popleft()] if self.suspects else []
        if self._taken and not self._as_named(self._taken):
            self.fail(changed(*self._taken[0][:2]))
            self._taken = []
        return self._taken

    @property
    def is_done(self) -> bool:
        """Return whether the source has ended and every item that it gave was handed out."""
        return self.exhausted and not self._waiting and not self.suspects

    @property
    def waiting(self) -> int:
        """Say how many candidates are at hand without asking the source."""
        return len(self._waiting)

    def classify(self, chunk: Sequence[Any], pages: Sequence[Page | None], ids: Sequence[str] = ()) -> list[Candidate]:
        """Look the items of *chunk* up; count those that need no run, return the others.

        Without *ids* they are named here; a source that is still to be read may have changed them by now.
        """
        ids = ids or self._ids(chunk)
        if len(ids) == 1 and not pages:
            # Looked up in the turn that starts it: one way through the gate instead of two.
            return [Candidate(chunk[0], ids[0], None, NOT_LOOKED_UP)]
        with self._writer.lock:
            generation = self._writer.generation
            state = self._writer.state
            rows: list[Any] = list(map(state.items.get, ids))
            if state.frozen:
                older = list(map(state.frozen.get, ids))
                if any(older):
                    rows = [row or old for row, old in zip(rows, older, strict=True)]
            # A snapshot that was taken since the run began may hold items of this very run.
            is_before_us = state.snapshot_seq <= self._began_at
        missing = [item_id for item_id, row in zip(ids, rows, strict=True) if row is None] if any(rows) else ids
        values = self._writer.log.look_up(missing) if missing else ()
        may_skip = is_before_us and not self._settling.wants_outcomes
        if may_skip and len(missing) == len(ids) and not pages and are_all_done(values):
            self._settling.skip(len(ids))
            return []
        if len(missing) == len(ids) and not any(values) and not pages:
            return [
                _make(Candidate, (item, item_id, None, generation, None))
                for item, item_id in zip(chunk, ids, strict=False)
            ]
        return self._sift(Looked(chunk, pages, ids, rows, iter(values), generation), may_skip=may_skip)

    def _sift(self, looked: Looked, *, may_skip: bool) -> list[Candidate]:
        chunk, pages, ids, rows, values, generation = looked
        found: list[Candidate] = []
        settled: list[int] = []
        skipped = 0
        for index, item_id in enumerate(ids):
            row = rows[index]
            if row is None:
                value = next(values)
                if may_skip and value is not None and status_in(value) == _SUCCEEDED:
                    skipped += 1
                    settled.append(index)
                    continue
                row = row_of(item_id, value)
            known = None if row is None else item_of(long_row(row))
            page = pages[index] if pages else None
            if known is not None:
                decided = self.decide(known)
                if decided not in {Course.START, Course.REDO}:
                    self._settling.met(chunk[index], item_id, known, decided)
                    settled.append(index)
                    continue
            found.append(_make(Candidate, (chunk[index], item_id, known, generation, page)))
        if skipped:
            self._settling.skip(skipped)
        if self.pages is not None:
            self.pages.settle(pages[index] for index in settled)
        return found

    def decide(self, known: ItemState) -> Course:
        """Decide about an item of which *known* is the latest news."""
        return course(
            known,
            began_at=self._began_at,
            is_mine=self._settling.is_mine(known.start_seq),
            idempotent=self._settling.idempotent,
        )

    def _ids(self, chunk: Sequence[Any]) -> Sequence[str]:
        if self._takes_text_as_it_is and is_plain_text(chunk):
            return chunk
        ids: list[str] = []
        try:
            for item in chunk:
                ids.append(self._named(item))  # noqa: PERF401 - those before an error count
        except Exception as error:  # noqa: BLE001 - a key function of the user's may raise anything
            # What came before it is run; then the error is raised.
            self.fail(error)
        return ids

    def name_pulled(self, item: object) -> str:
        """Return the id of an item that was just pulled. Raise `ItemChanged` if the source changes what it yielded."""
        item_id = self._named(item)
        self.watch.note((item,), (item_id,))
        return item_id

    def drop_changed(self) -> None:
        """Start nothing more that the source has changed; these items stay as they are in the log.

        Call it on the thread that takes candidates.
        """
        for candidates in (self._waiting, self._taken):  # of the suspects, each is looked at before it runs
            candidates[:] = self._as_named(candidates)
        self.watch.on_change()

    def _as_named(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        return [each for each in candidates if self.watch.is_as_named(each.item, each.item_id)]

    def may_read_ahead(self, item: object) -> bool:
        """Return whether items behind *item* may be pulled before it has run."""
        return self._reads_ahead or type(item) in IMMUTABLE_TYPES or self.watch.is_fresh

    def _pulled(self) -> Iterator[tuple[Any, str]]:
        """Yield the items that were pulled and not started, each with its id."""
        # In the order in which items move on: one that another thread moves meanwhile is seen twice, never missed.
        for item, _, item_id in self.pulled_ahead.copy():
            yield item, item_id
        chunk = self._chunk
        yield from zip(chunk.items, chunk.ids, strict=False)
        yield from map(_ITEM_AND_ID, self._waiting.copy())
        yield from map(_ITEM_AND_ID, self._taken.copy())
        yield from map(_ITEM_AND_ID, self.suspects.copy())

    def fail(self, error: BaseException) -> None:
        """Keep an error of the source for later, and pull nothing more."""
        if self.is_on_another_thread:
            explain_thread(error)
        self.error = error if self.error is None else self.error
        self.exhausted = True

    def _is_blocked(self) -> bool:
        """Say whether the source is known to have nothing now: what is at hand is run, and then it is waited for."""
        return self._would_block is not None and self._would_block()

    def _pull(self, count: int, deadline: float) -> Chunk:
        assert self._iterator is not None, "an asynchronous source is pulled elsewhere"
        chunk = self._chunk = Chunk([], [], [])
        before = self.watch.last
        began = time.perf_counter()
        is_short = False
        self.pulled_by = get_ident()
        try:
            if self.is_stopped:
                self.exhausted = True
                return chunk
            is_quick = self.pages is None and self._would_block is None and self._item_s < QUICK_ITEM_S
            if is_quick and self._reads_ahead:
                self._pull_quickly(self._iterator, chunk, count)
            else:
                is_short = self._pull_singly(self._iterator, chunk, count, None if is_quick else deadline)
        except Stopped:
            self.exhausted = True
        except Exception as error:  # noqa: BLE001 - the source and its key are the user's; raised again at the end
            self.fail(error)
        finally:
            self.pulled_by = 0
        if not is_short:
            if len(chunk.items) < count:
                self.exhausted = True
            elif count >= QUICK_PULL:
                self._item_s = (time.perf_counter() - began) / count
        if not self._takes_text_as_it_is:
            self._check_chunk(chunk, before)
        return chunk

    def _pull_quickly(self, iterator: Iterator[Any], chunk: Chunk, count: int) -> None:
        """Pull up to *count* items, each named at once, from a source that is quick."""
        if self._takes_text_as_it_is:
            chunk.items.extend(islice(iterator, count))
            return
        named, add, add_id = self._named, chunk.items.append, chunk.ids.append
        for item in islice(iterator, count):
            add_id(named(item))
            add(item)

    def _pull_singly(self, iterator: Iterator[Any], chunk: Chunk, count: int, deadline: float | None) -> bool:
        """Pull up to *count* items, each named at once; return whether to run these before more are pulled."""
        items, pages, ids = chunk
        name = None if self._takes_text_as_it_is else self._named
        for item in islice(iterator, count):
            # The page first: where a signal breaks in between, it waits for an item, which is safe.
            if self.pages is not None:
                pages.append(self.pages.take())
            if name is not None:
                ids.append(name(item))
            items.append(item)
            if deadline is not None and (time.perf_counter() > deadline or self._is_blocked()):
                self._item_s = 1.0
                return True
            if not self._reads_ahead and not self.may_read_ahead(item):
                return True
        return False

    def _check_chunk(self, chunk: Chunk, before: tuple[Any, str] | None) -> None:
        """Look whether the source changes what it has yielded; nothing that it changed is started."""
        items, _, ids = chunk
        del ids[len(items) :]  # a signal broke in between the two
        try:
            self.watch.note(items, ids)
            self.watch.check(before, *zip(items[:1], ids[:1], strict=True))
        except ItemChanged as error:
            self.fail(error)
        if isinstance(self.error, ItemChanged):
            self.drop_changed()
            chunk.drop_unlike(self.watch.is_as_named)
