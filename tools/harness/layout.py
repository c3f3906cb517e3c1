"""A state laid out as a folder, as the disk would show it at the next boot.

Invariant: what names an inode number of the disk that was watched (HEAD, the slots) names that of the file
laid out here instead, where it named the file that stands there. After a power cut on one disk the numbers are
the same as before; a log that was copied somewhere else is another test.
"""

from __future__ import annotations

import os
import shutil
import zlib
from typing import TYPE_CHECKING, Final

from tools.harness.life import LOG_NAME
from wal_runner.log import head, scratch
from wal_runner.log.format import DATA_NAME, HEAD_NAME, IDENTITY_NAME


if TYPE_CHECKING:
    from pathlib import Path

    from tools.harness.states import State

_DATA: Final = f"{LOG_NAME}/{DATA_NAME}"
_HEAD: Final = f"{LOG_NAME}/{HEAD_NAME}"
_SESSIONS: Final = f"{LOG_NAME}/sessions/"
_NEVER_WRITTEN: Final = {f"{LOG_NAME}/{IDENTITY_NAME}", f"{LOG_NAME}/.gitignore"}
"""Nobody writes these again, so what stands there is left where it is the same."""

_OTHER_INODE: Final = 1
"""No file has this number; it stands for one that is gone."""


class Layout:
    """A folder in which one state after the other is laid out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._kept: dict[str, int] = {}

    def lay(self, state: State) -> None:
        """Make the folder hold *state* and nothing else."""
        wanted = dict(state.tree)
        self._clear(wanted, state)
        for path, inode in state.tree:
            image = state.images.get(inode)
            if image is None:
                (self.folder / path).mkdir(exist_ok=True)
            elif path not in _NEVER_WRITTEN or self._kept.get(path) != image.digest:
                content = image.content()
                if path.startswith(_SESSIONS):
                    self._write_session(path, content, inode)
                elif path != _HEAD:  # that one needs the inode of data.mdb
                    self._write(path, content)
                if path in _NEVER_WRITTEN:
                    self._kept[path] = image.digest
        if _HEAD in wanted:
            self._write_head(state, wanted)

    def _clear(self, wanted: dict[str, int], state: State) -> None:
        waiting = [""]
        while waiting:
            prefix = waiting.pop()
            for found in os.scandir(self.folder / prefix):
                path = prefix + found.name
                is_folder = found.is_dir()
                if path not in wanted or is_folder != (wanted[path] not in state.images):
                    shutil.rmtree(found.path) if is_folder else os.unlink(found.path)  # noqa: PTH108 - a thousand a second
                    self._kept = {kept: digest for kept, digest in self._kept.items() if not kept.startswith(path)}
                elif is_folder:
                    waiting.append(path + "/")

    def _write(self, path: str, content: bytes) -> None:
        descriptor = os.open(self.folder / path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.pwrite(descriptor, content, 0)
            os.ftruncate(descriptor, len(content))
        finally:
            os.close(descriptor)

    def _write_session(self, path: str, content: bytes, inode: int) -> None:
        size = scratch._HEADER.size  # noqa: SLF001 - the layout of the slots is theirs
        crc = scratch._CRC  # noqa: SLF001
        self._write(path, content)
        if len(content) < size + crc.size or zlib.crc32(content[:size]) != crc.unpack_from(content, size)[0]:
            return
        magic, log, boot, session, _, named = scratch._HEADER.unpack_from(content)  # noqa: SLF001
        if named == inode:
            found = (self.folder / path).stat()
            body = scratch._HEADER.pack(magic, log, boot, session, found.st_dev, found.st_ino)  # noqa: SLF001
            self._write(path, body + crc.pack(zlib.crc32(body)) + content[size + crc.size :])

    def _write_head(self, state: State, wanted: dict[str, int]) -> None:
        image = state.images[wanted[_HEAD]]
        content = image.content()
        layout, crc = head._LAYOUT, head._CRC  # noqa: SLF001 - the layout of HEAD is its own
        if (
            len(content) == head.HEAD_BYTES
            and zlib.crc32(content[: layout.size]) == crc.unpack_from(content, layout.size)[0]
        ):
            magic, seq, chain, inode, size, mtime_ns, writing, boot = layout.unpack_from(content)
            new_inode = _OTHER_INODE
            if _DATA in wanted and inode == wanted[_DATA]:
                data = self.folder / _DATA
                new_inode = data.stat().st_ino
                if state.as_remembered:
                    os.utime(data, ns=(mtime_ns, mtime_ns))
            body = layout.pack(magic, seq, chain, new_inode, size, mtime_ns, writing, boot)
            content = body + crc.pack(zlib.crc32(body))
        self._write(_HEAD, content)
