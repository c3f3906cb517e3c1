"""Which file system a folder is on, and whether a log can live there.

Imported by the LMDB engine when a log is created or opened for writing. Invariant: a network file
system is refused, because flock and mmap lie there; one that forgets is warned about.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from wal_runner.errors import UnsafeFileSystem
from wal_runner.shielded_logger import ShieldedLogger


logger = ShieldedLogger(__name__)

NETWORK = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ncpfs", "coda", "webdav", "afpfs"),
        *("ceph", "glusterfs", "lustre", "beegfs", "gpfs", "orangefs", "pvfs2", "dvs"),
        # A host's folder shared with its virtual machine, WSL 1, and FUSE that does not say which.
        *("vboxsf", "prl_fs", "drvfs", "fuse", "macfuse", "osxfuse"),
    }
)
FORGETFUL = {"tmpfs": "a reboot", "ramfs": "a reboot", "overlay": "the container's removal"}
FLEETING_INODES = frozenset({"vfat", "msdos", "exfat", "overlay", "aufs", "unionfs", "fuseblk", "fuse"})
"""Here a file may have another inode number after a remount, or after its first write."""
MAPPABLE = frozenset({"ext2", "ext3", "ext4", "xfs", "tmpfs", "overlay"})
"""Here a store into a mapped file that has its blocks never needs another one; elsewhere it may."""
MOUNTINFO = Path("/proc/self/mountinfo")
_OCTAL = re.compile(r"\\([0-7]{3})")
_MAC_MOUNT = re.compile(r" on (?P<point>/.*) \((?P<kind>\w+)")


def check_file_system(folder: Path) -> None:
    """Refuse a network file system, and warn about one that loses the log with a reboot."""
    kind = file_system_of(folder, mounts())
    if is_network(kind):
        raise UnsafeFileSystem(
            f"{folder} is on {kind}, a network file system, where locks and memory maps cannot be trusted. "
            "Put the log on a local disk."
        )
    if kind in FORGETFUL:
        logger.warning("%s is on %s: the log does not survive %s.", folder, kind, FORGETFUL[kind])


def is_mappable(folder: Path) -> bool:
    """Say whether a store into a preallocated mapped file on *folder*'s file system cannot fail."""
    return file_system_of(folder, mounts()) in MAPPABLE


def has_lasting_inodes(folder: Path) -> bool:
    """Return whether a file on *folder*'s file system keeps its inode number for as long as it is there."""
    kind = file_system_of(folder, mounts())
    return kind not in FLEETING_INODES and not kind.startswith("fuse.")


def is_network(kind: str) -> bool:
    """Say whether the file system *kind* reaches over a network. FUSE counts, but for local disks."""
    if kind.startswith("fuse."):
        return kind not in {"fuse.ext4", "fuse.ntfs", "fuse.ntfs-3g", "fuse.exfat", "fuse.fuse-overlayfs"}
    return kind in NETWORK


def mounts() -> list[tuple[str, str]]:
    """Give (mount point, file system) of everything mounted; empty where it cannot be known."""
    if sys.platform == "darwin":
        listing = subprocess.run(["/sbin/mount"], capture_output=True, text=True, check=False).stdout
        return [(match["point"], match["kind"]) for line in listing.splitlines() if (match := _MAC_MOUNT.search(line))]
    try:
        return parse_mountinfo(os.fsdecode(MOUNTINFO.read_bytes()))
    except OSError:
        return []


def parse_mountinfo(text: str) -> list[tuple[str, str]]:
    """Read ``/proc/self/mountinfo``; see proc(5). Give what can be seen: what covers comes after what it covers."""
    found: dict[str, tuple[str, str]] = {}
    children: dict[str, list[str]] = {}
    # Blanks and line ends in a mount point are written in octal. Others that Unicode knows are not,
    # so that split() and splitlines() would cut a mount point in two.
    for line in text.split("\n"):
        before, dash, after = line.partition(" - ")
        fields = before.split(" ")
        if dash and len(fields) > 4:  # noqa: PLR2004 - proc(5) counts the fields
            number, parent, point = fields[0], fields[1], fields[4]
            found[number] = (_OCTAL.sub(lambda match: chr(int(match[1], 8)), point), after.split(" ")[0])
            children.setdefault(parent if parent != number else "", []).append(number)
    waiting = [number for parent, numbers in children.items() if parent not in found for number in numbers][::-1]
    seen = []
    while waiting:
        number = waiting.pop()
        seen.append(found[number])
        siblings = children.get(number, [])
        points = [found[sibling][0] for sibling in siblings]
        # A later mount on a folder above hides it: the path leads into that one.
        waiting += [one for one in reversed(siblings) if not any(found[one][0].startswith(p + "/") for p in points)]
    return seen


def file_system_of(folder: Path, mounted: list[tuple[str, str]]) -> str:
    """Give the type of the file system that *folder* is on, "" where it cannot be known."""
    real = str(folder.resolve())
    best, kind = "", ""
    for point, mounted_kind in mounted:
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        # The last of several mounts on one point is the one that is seen.
        if inside and len(point) >= len(best):
            best, kind = point, mounted_kind
    return kind
