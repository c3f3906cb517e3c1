"""The ledger of real effects, as the checker reads it: what the outside world has seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class AttemptSeen:
    """One attempt as the world saw it: "begin", then perhaps "end" or "fail"."""

    item_id: str
    start_seq: int
    words: list[str] = field(default_factory=list)
    results: str = ""
    """What kind of result it gave, once it has ended."""


@dataclass
class Ledger:
    """Every line of a ledger, in order, and what the lines add up to."""

    attempts: dict[int, AttemptSeen] = field(default_factory=dict)
    by_item: dict[str, list[AttemptSeen]] = field(default_factory=dict)
    fetches: list[int] = field(default_factory=list)
    settled: set[int] = field(default_factory=set)
    """Starts on which somebody gave a verdict; a compaction may have dropped the record of it since."""

    @classmethod
    def read(cls, path: str | Path) -> Ledger:
        """Read the ledger at *path*; an empty one where nothing has happened yet."""
        ledger = cls()
        file = Path(path)
        for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
            ledger.add(line.split())
        return ledger

    def add(self, words: list[str]) -> None:
        """Take in one line."""
        if words[0] == "fetch":
            self.fetches.append(int(words[1]))
            return
        word, item_id, seq, *kind = words
        if word == "verdict":
            self.settled.add(int(seq))
            return
        seen = self.attempts.get(int(seq))
        if seen is None:
            seen = self.attempts[int(seq)] = AttemptSeen(item_id, int(seq))
            self.by_item.setdefault(item_id, []).append(seen)
        seen.words.append(word)
        seen.results = kind[0] if kind else seen.results

    @property
    def begun(self) -> int:
        """Give how many attempts have begun."""
        return len(self.attempts)

    def kinds(self) -> dict[str, str]:
        """Give of what kind the result of each item is that has happened."""
        return {seen.item_id: seen.results for seen in self.attempts.values() if "end" in seen.words}

    def ends(self) -> dict[str, int]:
        """Give how often each item's effect has happened."""
        return {item_id: sum("end" in seen.words for seen in all_of) for item_id, all_of in self.by_item.items()}
