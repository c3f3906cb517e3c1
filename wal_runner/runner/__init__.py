"""The only room with threads, event loops and user code: runs items and hands outcomes back.

Imports recovery and what is below. Invariant: one dispatcher writes; workers never commit.
"""
