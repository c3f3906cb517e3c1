"""Bytes to records and back: the format, the codec, the engines behind one protocol.

Imports `wal_runner.core` only. Invariant: LMDB and msgpack are known here and in no other room.
"""
