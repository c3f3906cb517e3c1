"""Damage by name, its repair, and what a user of the log then sees.

Beside `tests.support.damage`, which turns single records and rows: here are whole files, the pages of
LMDB, and time. A test damages, looks, repairs, and appends again.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.support.logs import copy_log
from tools.corrupting import pages
from tools.corrupting.pages import PAGE
from wal_runner import Runner
from wal_runner.log.format import DATA_NAME, HEAD_NAME
from wal_runner.log.head import open_head, read_head, write_head
from wal_runner.recovery.verifying import verify


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

ITEMS = tuple(f"item-{number:03}" for number in range(200))
DONE = ITEMS[:160]
REST = ITEMS[160:]


def make(path: Path) -> None:
    """Make a log of 160 items that are done: 120 of them in a snapshot of several pages, 40 in its tail."""
    with Runner(path) as runner:
        runner.run(DONE[:120], lambda _item: "sent " * 4, signals=False)
        runner.writer.take_snapshot()
        runner.run(DONE[120:], lambda _item: None, signals=False)


def run(path: Path, items: Sequence[str] = ITEMS) -> list[str]:
    """Run *items*, and give those that fn was called for."""
    called: list[str] = []
    with Runner(path, must_exist=True) as runner:
        runner.run(items, called.append, signals=False)
    return called


@contextmanager
def damaged(path: Path) -> Iterator[None]:
    """Keep the log as it is, and put it back at the end: what is on the backup is sound."""
    backup = path.with_suffix(".backup")
    shutil.copytree(path, backup)
    try:
        yield
    finally:
        shutil.rmtree(path)
        copy_log(backup, path)
        shutil.rmtree(backup)


def appends_again(path: Path) -> bool:
    """Say whether the log goes on where it was: the rest is run, once, and it is sound."""
    return list(REST) == run(path) and run(path) == [] and list(verify(path)) == []


@contextmanager
def beneath(path: Path) -> Iterator[None]:
    """Let the disk forget by itself: whatever the block does, size and time of data.mdb are as HEAD has them."""
    yield
    witness = read_head(path / HEAD_NAME)
    assert witness is not None
    found = (path / DATA_NAME).stat()
    descriptor = open_head(path / HEAD_NAME)
    write_head(descriptor, witness._replace(inode=found.st_ino, size=found.st_size, mtime_ns=found.st_mtime_ns))
    os.close(descriptor)


def zero_page(path: Path, page: int) -> None:
    """Lose what a page of data.mdb held."""
    with (path / DATA_NAME).open("r+b") as file:
        file.seek(page * PAGE)
        file.write(bytes(PAGE))


def put_page(path: Path, page: int, content: bytes) -> None:
    """Put a page as it is."""
    with (path / DATA_NAME).open("r+b") as file:
        file.seek(page * PAGE)
        file.write(content)


def page_of(path: Path, page: int) -> bytes:
    """Read a page."""
    return (path / DATA_NAME).read_bytes()[page * PAGE : (page + 1) * PAGE]


def branch_keys(path: Path) -> list[tuple[int, int]]:
    """Give where each key of a branch page is, and how long it is; stale pages included."""
    content = (path / DATA_NAME).read_bytes()
    return [
        (at, size)
        for page in pages.pages_of(content, pages.BRANCH)
        for at, size, _ in pages.nodes(content, page)
        if size
    ]


def leaf_keys(path: Path, key: bytes) -> list[int]:
    """Return each place where *key* is a leaf page's key; stale pages included."""
    content = (path / DATA_NAME).read_bytes()
    return [
        at
        for page in pages.pages_of(content, pages.LEAF)
        for at, size, _ in pages.nodes(content, page)
        if content[at : at + size] == key
    ]


def turn(path: Path, place: int, bit: int = 0) -> None:
    """Turn a bit of data.mdb."""
    with (path / DATA_NAME).open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1 << bit]))


def turn_in(path: Path, place: int, bit: int = 0) -> None:
    """Turn a bit of any file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)
