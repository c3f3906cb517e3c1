"""Run a batch whose effects must survive a crash: nothing twice, nothing lost, doubt shown.

from wal_runner import Runner

with Runner("emails-2026-11.wal") as runner:
    runner.run(users, send_email, key="id").check()
"""

from __future__ import annotations

from wal_runner.core.error_info import ErrorInfo
from wal_runner.core.events import Status
from wal_runner.core.identity import by_content
from wal_runner.core.lost_reply import lost_reply, lost_reply_with
from wal_runner.core.state import State
from wal_runner.errors import Interrupted, OutcomeUnknown, RunIncomplete, WalRunnerError
from wal_runner.log.named_values import StoredValue
from wal_runner.recovery.reader import HistoryEntry, Item, LogView
from wal_runner.recovery.replay import replay
from wal_runner.recovery.verdicts import Verdict
from wal_runner.runner.attempt import Attempt, current_attempt
from wal_runner.runner.doubts import Doubt
from wal_runner.runner.outcome import Outcome
from wal_runner.runner.report import RunReport
from wal_runner.runner.runner import Runner
from wal_runner.version import __version__


__all__ = [
    "Attempt",
    "Doubt",
    "ErrorInfo",
    "HistoryEntry",
    "Interrupted",
    "Item",
    "LogView",
    "Outcome",
    "OutcomeUnknown",
    "RunIncomplete",
    "RunReport",
    "Runner",
    "State",
    "Status",
    "StoredValue",
    "Verdict",
    "WalRunnerError",
    "__version__",
    "by_content",
    "current_attempt",
    "lost_reply",
    "lost_reply_with",
    "replay",
]
