"""What turns a log into a state and keeps it: writing, recovery, snapshots, verdicts, audit.

Imports `wal_runner.log` and `wal_runner.core`. Invariant: no user code runs in this room.
"""
