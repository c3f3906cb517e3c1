"""What a state holds: its tables and totals, looked up, copied, compared and set aside.

Pure. Imported by `wal_runner.core.state` only, which folds events into them. `items` holds the items
that were touched since the fold began; what a snapshot in the making stands for is set aside in
`frozen`, and dropped once the rows hold it. All of them are rows: see `wal_runner.core.items`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from wal_runner.core.events import Status
from wal_runner.core.items import attempt_of, item_of, long_row


if TYPE_CHECKING:
    from collections.abc import Iterator

    from wal_runner.core.error_info import ErrorInfo
    from wal_runner.core.items import ItemState, OpenAttempt, Pause, Row, SessionInfo, ShortRow, SourceEnd


class StateTables:
    """The tables and totals of a state at `seq`.

    *elapsed_ns* is the time that the *timed* successes took in all. *texts* holds what errors name by
    number, *paused* who paused the log, and *source_ends* how the last run over each source ended, if
    that was before the source did.
    """

    __slots__ = (
        "base_seq",
        "chain",
        "conflicts",
        "counts",
        "cursors",
        "elapsed_ns",
        "frozen",
        "frozen_seq",
        "items",
        "key_rule",
        "last_session",
        "open",
        "paused",
        "results_omitted",
        "seq",
        "sessions",
        "snapshot_seq",
        "source_ends",
        "texts",
        "timed",
    )

    def __init__(self) -> None:
        self.seq = 0
        self.chain = b""
        self.items: dict[str, ShortRow] = {}
        self.frozen: dict[str, ShortRow] = {}
        self.frozen_seq = 0
        self.open: dict[int, Row] = {}
        self.sessions: dict[int, SessionInfo] = {}
        self.counts: dict[Status, int] = dict.fromkeys(Status, 0)
        self.cursors: dict[str, bytes] = {}
        self.key_rule: str | None = None
        self.conflicts = 0
        self.results_omitted = 0
        self.elapsed_ns = 0
        self.timed = 0
        self.last_session = 0
        self.snapshot_seq = 0
        self.base_seq = 0
        self.texts: dict[int, str] = {}
        self.paused: Pause | None = None
        self.source_ends: dict[str, SourceEnd] = {}

    def copy(self) -> Self:
        """Give a state that can be folded further without touching this one."""
        other = type(self)()
        for name in StateTables.__slots__:
            value = getattr(self, name)
            setattr(other, name, value.copy() if isinstance(value, dict) else value)
        return other

    def without_items(self) -> Self:
        """Give a copy that holds everything but the items: what a snapshot says beside its rows."""
        other = type(self)()
        for name in StateTables.__slots__:
            value = getattr(self, name)
            if name not in {"items", "frozen"}:
                setattr(other, name, value.copy() if isinstance(value, dict) else value)
        return other

    def __eq__(self, other: object) -> bool:
        """Compare everything that the log says, the bytes of the chain too; not what is frozen."""
        if not isinstance(other, StateTables):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in NUMBERS) and dict(self.touched()) == dict(
            other.touched()
        )

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        counts = ", ".join(f"{status.word} {n}" for status, n in self.counts.items() if n)
        return f"State(seq={self.seq}, {counts or 'empty'})"

    def row(self, item_id: str) -> Row | None:
        """Give an item that was touched since the fold began; None leaves the word to the snapshot."""
        row = self.items.get(item_id) or self.frozen.get(item_id)
        return None if row is None else long_row(row)

    def item(self, item_id: str) -> ItemState | None:
        """Give what `row` gives, with its names."""
        row = self.row(item_id)
        return None if row is None else item_of(row)

    def touched(self) -> Iterator[tuple[str, Row]]:
        """Give the rows of the items that were touched since the fold began."""
        yield from ((item_id, long_row(row)) for item_id, row in self.items.items())
        yield from ((item_id, long_row(row)) for item_id, row in self.frozen.items() if item_id not in self.items)

    def with_text(self, error: ErrorInfo | None) -> ErrorInfo | None:
        """Return *error* with the text of its traceback, if it names that by number."""
        if error is None or isinstance(error.traceback, str):
            return error
        return error._replace(traceback=self.texts.get(error.traceback, ""))

    def attempt(self, start_seq: int) -> OpenAttempt | None:
        """Give the attempt *start_seq* while it is open: STARTED or IN_DOUBT."""
        row = self.open.get(start_seq)
        return None if row is None else attempt_of(row)

    def attempts(self, status: Status | None = None) -> list[tuple[int, OpenAttempt]]:
        """Give the open attempts, those of *status* if one is given, each with its start_seq."""
        found = [(start_seq, attempt_of(row)) for start_seq, row in self.open.items()]
        return [pair for pair in found if status is None or pair[1].status is status]

    # --- What a snapshot stands for ---------------------------------------------------

    def freeze(self) -> None:
        """Set aside what was touched so far; from here on changes are kept apart from it."""
        assert not self.frozen, "what was frozen is dropped before the next freeze"
        self.frozen, self.items = self.items, {}
        self.frozen_seq = self.seq

    def drop_frozen(self) -> None:
        """Forget what was frozen: the rows hold it, or something newer."""
        self.frozen = {}
        self.frozen_seq = 0

    def thaw(self) -> None:
        """Take back a freeze whose snapshot did not come about."""
        self.frozen.update(self.items)
        self.items, self.frozen = self.frozen, {}
        self.frozen_seq = 0


NUMBERS: Final = tuple(sorted(set(StateTables.__slots__) - {"items", "frozen", "frozen_seq"}))
"""The attributes that must be equal in two states of one log, whatever their overlays hold."""
