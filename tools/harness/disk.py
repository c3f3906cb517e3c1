"""A model of a disk: what is surely on it, what is only on its way, and which files a power cut may leave.

The rules are the weakest that POSIX allows and an honest disk keeps: what was not synced may be there or
not, in any order, a write cut between two sectors; a sync of a file makes its data and its size
durable and no name; a sync of a folder makes its names durable and no data.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

from tools.harness.stream import AT_ONCE_DURABLE, SHRINKS, Entry, Kind


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

PAGE_BYTES: Final = 4096
SECTOR_BYTES: Final = 512

_ZEROS: Final = bytes(PAGE_BYTES)
_SUM: Final = 1 << 128


class Write(NamedTuple):
    """Bytes on their way to a place in a file."""

    at: int
    data: bytes

    def sectors(self) -> list[Write]:
        """Cut it where a disk may: between two sectors."""
        cut = []
        at, end = self.at, self.at + len(self.data)
        while at < end:
            after = min((at // SECTOR_BYTES + 1) * SECTOR_BYTES, end)
            cut.append(Write(at, self.data[at - self.at : after - self.at]))
            at = after
        return cut

    def overlaid(self, newer: Write) -> Write:
        """Give this write with the bytes of *newer* where both go to the same place."""
        start = max(self.at, newer.at)
        end = min(self.at + len(self.data), newer.at + len(newer.data))
        if start >= end:
            return self
        data = bytearray(self.data)
        data[start - self.at : end - self.at] = newer.data[start - newer.at : end - newer.at]
        return Write(self.at, bytes(data))


class Size(NamedTuple):
    """A new size of a file, on its way: it grows to hold *size* bytes at least, or *shrinks* to that."""

    size: int
    shrinks: bool = False


Change = Write | Size


class Image:
    """The content of a file; never changed, only followed by another one.

    *digest* tells two contents apart, and costs only the pages that differ from the image before.
    """

    __slots__ = ("digest", "pages", "size")

    def __init__(self, size: int = 0, pages: dict[int, bytes] | None = None, digest: int = 0) -> None:
        self.size = size
        self.pages: dict[int, bytes] = {} if pages is None else pages
        self.digest = digest

    def after(self, changes: Iterable[Change]) -> Image:
        """Give the image after *changes*, in their order."""
        size = self.size
        touched: dict[int, bytearray] = {}
        for change in changes:
            if isinstance(change, Size):
                size = change.size if change.shrinks else max(size, change.size)
                if change.shrinks:
                    self._blank_from(change.size, touched)
                continue
            at, data = change
            size = max(size, at + len(data))
            done = 0
            while done < len(data):
                number, start = divmod(at + done, PAGE_BYTES)
                page = touched.get(number)
                if page is None:
                    page = touched[number] = bytearray(self.pages.get(number, _ZEROS))
                part = data[done : done + PAGE_BYTES - start]
                page[start : start + len(part)] = part
                done += len(part)
        return self._with(size, touched)

    def grown_to(self, size: int) -> Image:
        """Give the image with zeros up to *size*."""
        return Image(max(self.size, size), self.pages, self.digest)

    def content(self) -> bytes:
        """Give all of it."""
        content = bytearray(self.size)
        for number, page in self.pages.items():
            start = number * PAGE_BYTES
            content[start : start + PAGE_BYTES] = page[: max(0, min(PAGE_BYTES, self.size - start))]
        return bytes(content[: self.size])

    def _with(self, size: int, touched: dict[int, bytearray]) -> Image:
        pages, digest = self.pages, self.digest
        if touched:
            pages = dict(pages)
            for number, page in touched.items():
                before = pages.get(number)
                if before is not None:
                    digest -= _digest_of(number, before)
                pages[number] = after = bytes(page)
                digest += _digest_of(number, after)
        return Image(size, pages, digest % _SUM)

    def _blank_from(self, size: int, touched: dict[int, bytearray]) -> None:
        for number in {*self.pages, *touched}:
            keep = size - number * PAGE_BYTES
            if keep < PAGE_BYTES:
                page = touched.setdefault(number, bytearray(self.pages.get(number, _ZEROS)))
                page[max(keep, 0) :] = bytes(PAGE_BYTES - max(keep, 0))


def _digest_of(number: int, page: bytes) -> int:
    if page == _ZEROS:
        return 0  # a hole and a page of zeros read the same
    return int.from_bytes(blake2b(page, digest_size=16, salt=number.to_bytes(16, "little")).digest(), "little")


EMPTY: Final = Image()


class Names(NamedTuple):
    """One change of names, all or nothing, on its way: what each (folder, name) stands for, None for nothing."""

    becomes: tuple[tuple[int, str, int | None], ...]

    @property
    def folders(self) -> set[int]:
        """Give the folders whose sync makes it durable."""
        return {folder for folder, _, _ in self.becomes}


@dataclass
class File:
    """One file: what is surely on the disk, what programs see, and what is on its way, oldest first."""

    durable: Image = EMPTY
    live: Image = EMPTY
    pending: list[Change] = field(default_factory=list)
    lost: list[Write] = field(default_factory=list)
    """What a failed sync gave up: it may be on the disk or not, and no later sync sees to it."""

    def change(self, change: Change, *, at_once: bool) -> None:
        """Make one change, durable *at_once* or pending."""
        self.live = self.live.after([change])
        if not at_once:
            if not self.pending or self.pending[-1] != change:  # GATE gets the same pid again and again
                self.pending.append(change)
            return
        self._make_durable([change])
        if isinstance(change, Write):
            # What is older and still on its way goes by the page, which holds the newer bytes by now.
            self.pending = [older.overlaid(change) if isinstance(older, Write) else older for older in self.pending]

    def sync(self) -> None:
        """Make durable what is on its way."""
        self._make_durable(self.pending)
        self.pending = []

    def fail_to_sync(self) -> None:
        """Give up the data on its way: after an error the kernel takes the pages for written. Sizes stay on theirs."""
        self.lost += [change for change in self.pending if isinstance(change, Write)]
        self.pending = [change for change in self.pending if isinstance(change, Size)]

    def _make_durable(self, changes: Sequence[Change]) -> None:
        self.durable = self.durable.after(changes)
        for change in changes if self.lost else ():
            if isinstance(change, Write):
                self.lost = [older.overlaid(change) for older in self.lost]


Folders = dict[int, dict[str, int]]


class Disk:
    """Everything under one folder, *root* by its inode, as the entries of a stream make it."""

    def __init__(self, root: int) -> None:
        self.root = root
        self.files: dict[int, File] = {}
        self.durable: Folders = {root: {}}
        self.live: Folders = {root: {}}
        self.pending: list[Names] = []

    def apply(self, entry: Entry) -> None:  # noqa: C901 - one case a kind
        """Do what *entry* says was done; a SYNC makes durable what it covers."""
        inode, folder = entry.inode, entry.folder
        match entry.kind:
            case Kind.WRITE:
                self.files[inode].change(Write(entry.place, entry.data), at_once=bool(entry.flags & AT_ONCE_DURABLE))
            case Kind.STORE:
                self.files[inode].change(Write(entry.place, entry.data), at_once=False)
            case Kind.SIZE:
                self.files[inode].change(Size(entry.size, bool(entry.flags & SHRINKS)), at_once=False)
            case Kind.SYNC if inode in self.files:
                self.files[inode].sync()
            case Kind.SYNC:
                self._sync_folder(inode)
            case Kind.CREATE:
                self.files[inode] = File()
                self._name(Names(((folder, entry.name, inode),)))
            case Kind.MKDIR:
                self.live[inode], self.durable[inode] = {}, {}
                self._name(Names(((folder, entry.name, inode),)))
            case Kind.LINK:
                self._name(Names(((folder, entry.name, inode),)))
            case Kind.UNLINK | Kind.RMDIR:
                self._name(Names(((folder, entry.name, None),)))
            case Kind.RENAME:
                self._name(Names(((entry.place, entry.new_name, inode), (folder, entry.name, None))))
            case Kind.FAULT if entry.flags == Kind.SYNC and inode in self.files:
                self.files[inode].fail_to_sync()
            case Kind.MARK | Kind.FAULT:
                pass  # the names that a failed sync of a folder was to write stay on their way, to the next one

    def settle(self) -> None:
        """Make durable everything that programs see, as it is when it was found so at a boot."""
        for file in self.files.values():
            file.sync()
            file.durable, file.lost = file.live, []
        self.durable = {inode: dict(names) for inode, names in self.live.items()}
        self.pending = []

    @contextmanager
    def under_way(self, entry: Entry) -> Iterator[None]:
        """Have a write that will be durable when it returns on its way, for the length of a block."""
        file = self.files[entry.inode]
        before = file.live
        file.live = before.after([Write(entry.place, entry.data)])
        file.pending.append(Write(entry.place, entry.data))
        yield
        file.pending.pop()
        file.live = before

    def folders_after(self, changes: Sequence[Names]) -> Folders:
        """Give the durable folders with some of the pending *changes* made."""
        if not changes:
            return self.durable
        folders = {inode: dict(names) for inode, names in self.durable.items()}
        for change in changes:
            _make(folders, change)
        return folders

    def tree(self, folders: Folders) -> Iterator[tuple[str, int]]:
        """Give (path, inode) of everything that can be reached in *folders*; a folder before what it holds."""
        waiting = [("", self.root)]
        while waiting:
            path, inode = waiting.pop()
            for name, child in folders[inode].items():
                yield path + name, child
                if child in folders:
                    waiting.append((f"{path}{name}/", child))

    def _name(self, change: Names) -> None:
        _make(self.live, change)
        self.pending.append(change)

    def _sync_folder(self, inode: int) -> None:
        left = []
        for change in self.pending:
            if inode in change.folders:
                _make(self.durable, change)
            else:
                left.append(change)
        self.pending = left


def _make(folders: Folders, change: Names) -> None:
    for folder, name, inode in change.becomes:
        if inode is None:
            folders[folder].pop(name, None)
        else:
            folders[folder][name] = inode


def differences(disk: Disk, root: Mapping[str, bytes | None]) -> list[str]:
    """Compare what the model says programs see with what is there: *root* maps paths to contents, None for folders.

    A difference means that the interposer missed a call, and that nothing built on it can be believed.
    """
    told = {
        path: disk.files[inode].live.content() if inode in disk.files else None for path, inode in disk.tree(disk.live)
    }
    found = [f"{path} is there, and no call made it" for path in root.keys() - told.keys()]
    found += [f"{path} was made, and is not there" for path in told.keys() - root.keys()]
    return found + [
        f"{path} holds other bytes than were written" for path in told.keys() & root.keys() if told[path] != root[path]
    ]
