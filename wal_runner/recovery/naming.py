"""The key rule of a log: the one way in which its items are named.

Imported by the runner. Invariant: as soon as an item has been named, the rule stays; and it is looked at
again in each turn that starts items, because another run may have set it meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wal_runner.core.events import KeyRuleSet
from wal_runner.errors import KeyRuleChanged


if TYPE_CHECKING:
    from wal_runner.core.events import Event
    from wal_runner.log.protocol import Turn
    from wal_runner.recovery.writer import LogWriter


def set_key_rule(writer: LogWriter, rule: str) -> None:
    """Make sure that the log names its items by *rule*, durably; raise `KeyRuleChanged` where it does not."""
    if writer.state.key_rule != rule:

        def decide(_turn: Turn) -> list[Event]:
            known = writer.state.key_rule
            if known == rule:
                return []
            # A first try with a wrong key, which named nothing, must not fix the rule for good.
            if known is not None and sum(writer.state.counts.values()) > 0:
                raise _changed(writer, rule)
            return [KeyRuleSet(rule, "run", "" if known is None else "no item had been named")]

        writer.turn(decide, snapshot=False)
    check_key_rule(writer, rule)


def check_key_rule(writer: LogWriter, rule: str) -> None:
    """Raise `KeyRuleChanged` where the log names its items by another rule. Call in the turn that starts some."""
    if writer.state.key_rule != rule:
        raise _changed(writer, rule)


def _changed(writer: LogWriter, rule: str) -> KeyRuleChanged:
    known = writer.state.key_rule
    return KeyRuleChanged(
        f"{writer.log.path} names its items by {known}, and this run by {rule}: every item would look new and be done "
        "again. Nothing was started. Use the old key, or another log."
    )
