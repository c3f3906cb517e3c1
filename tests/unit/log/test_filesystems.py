"""File systems: the one that a folder is really on is found, and a network's is refused."""

import logging
import os
from pathlib import Path

import pytest

from tests.unit.log.children import child
from wal_runner.errors import UnsafeFileSystem
from wal_runner.log import filesystems
from wal_runner.log.filesystems import (
    FORGETFUL,
    MAPPABLE,
    NETWORK,
    check_file_system,
    file_system_of,
    is_mappable,
    is_network,
    mounts,
    parse_mountinfo,
)


# As a laptop has it: the optional fields may be none, one or two.
MOUNTINFO = r"""22 27 0:21 / /proc rw,nosuid - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,errors=remount-ro
30 27 0:27 / /dev/shm rw shared:3 master:2 - tmpfs tmpfs rw
40 27 0:41 / /home/ann rw,relatime shared:9 - btrfs /dev/vdb rw,subvol=/@home
41 40 0:42 / /home/ann/office\040share rw - cifs //server/share rw
42 40 0:43 / /home/ann/a\134b\011c\012d rw - nfs4 server:/export - rw
43 40 0:44 /sub /home/ann/sub rw - fuse.sshfs ann@server: rw
"""


@pytest.fixture
def mounted(tmp_path, monkeypatch):
    """Give a function that says what the kernel lists as mounted, for this test."""

    def say(*lines):
        listing = tmp_path / "mountinfo"
        listing.write_bytes(b"".join(os.fsencode(line) + b"\n" for line in lines))
        monkeypatch.setattr(filesystems, "MOUNTINFO", listing)

    monkeypatch.setattr(filesystems.sys, "platform", "linux")
    return say


# --- Reading mountinfo ----------------------------------------------------------------------


def test_mount_points_and_types_are_read():
    """Optional fields move the type, and blanks in a mount point are written in octal."""
    assert {
        ("/proc", "proc"),
        ("/", "ext4"),
        ("/dev/shm", "tmpfs"),  # noqa: S108 - an example
        ("/home/ann", "btrfs"),
        ("/home/ann/office share", "cifs"),
        ("/home/ann/a\\b\tc\nd", "nfs4"),
        ("/home/ann/sub", "fuse.sshfs"),
    } == set(parse_mountinfo(MOUNTINFO))


@pytest.mark.parametrize("blank", ["\u00a0", "\u3000", "\u2028", "\x0b", "\x0c", "\x1c", "\x85", "\r"])
def test_blanks_that_only_unicode_knows_cut_nothing(blank, mounted, tmp_path):
    """The kernel escapes four characters only; a stick may be called "MY DISK" with a wide blank."""
    mounted("27 1 254:0 / / rw - ext4 /dev/vda rw", f"41 27 0:42 / {tmp_path}/my{blank}disk rw - nfs server:/ rw")

    assert [("/", "ext4"), (f"{tmp_path}/my{blank}disk", "nfs")] == mounts()
    assert "nfs" == file_system_of(tmp_path / f"my{blank}disk" / "a.wal", mounts())


def test_mount_point_that_is_no_utf8_is_found(mounted, tmp_path):
    """A path is bytes; Python's names for them are the same on both sides."""
    point = tmp_path / os.fsdecode(b"caf\xe9")
    mounted("27 1 254:0 / / rw - ext4 /dev/vda rw", f"41 27 0:42 / {point} rw - nfs server:/ rw")

    assert "nfs" == file_system_of(point / "a.wal", mounts())


@pytest.mark.parametrize("text", ["", "\n", "garbage", "1 2 3 - x", "27 1 254:0 / / rw ext4 /dev/vda"])
def test_lines_that_are_no_mounts_are_passed_over(text):
    """A listing that cannot be understood gives nothing, and no error."""
    assert [] == parse_mountinfo(text)


def test_root_that_is_its_own_parent_is_a_root():
    """Early kernels list the first root like that."""
    assert [("/", "rootfs"), ("/", "ext4")] == parse_mountinfo(
        "1 1 0:1 / / rw - rootfs rootfs rw\n27 1 254:0 / / rw - ext4 /dev/vda rw\n"
    )


def test_nothing_is_known_without_a_listing(mounted, tmp_path, monkeypatch):
    """Where the kernel lists nothing, the type is "", and nobody is refused for it."""
    mounted()
    assert "" == file_system_of(tmp_path, mounts())

    monkeypatch.setattr(filesystems, "MOUNTINFO", tmp_path / "missing")
    assert [] == mounts()
    assert None is check_file_system(tmp_path)


# --- Which one a folder is on ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("/", "ext4"),
        ("/srv/a.wal", "ext4"),
        ("/dev/shm", "tmpfs"),  # noqa: S108 - an example
        ("/dev/shm/a.wal", "tmpfs"),  # noqa: S108 - an example
        ("/dev/shmoo/a.wal", "ext4"),  # noqa: S108 - a longer name is another folder
        ("/home/ann/a.wal", "btrfs"),
        ("/home/annabel/a.wal", "ext4"),
        ("/home/ann/office share/a.wal", "cifs"),
        ("/home/ann/office", "btrfs"),
        ("/home/ann/a\\b\tc\nd/x", "nfs4"),
        ("/home/ann/sub/deep/er/a.wal", "fuse.sshfs"),
        ("/home/ann/../ann/./sub", "fuse.sshfs"),
    ],
)
def test_longest_mount_point_above_a_folder_decides(folder, expected):
    """The nearest mount point above counts, by whole names."""
    assert expected == file_system_of(Path(folder), parse_mountinfo(MOUNTINFO))


def test_symbolic_link_is_followed(tmp_path):
    """A link on a local disk to a share is the share."""
    (tmp_path / "share").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "share")
    mounted = [("/", "ext4"), (f"{tmp_path.resolve()}/share", "nfs")]

    assert "nfs" == file_system_of(tmp_path / "link" / "a.wal", mounted)


@pytest.mark.parametrize("upside_down", [False, True])
def test_mount_over_another_is_the_one_that_is_seen(upside_down):
    """Of several mounts on one point the last one is seen, in whichever order the kernel lists them."""
    lines = [
        "27 1 254:0 / / rw - ext4 /dev/vda rw",
        "40 27 0:41 / /data rw - tmpfs tmpfs rw",
        "41 40 0:42 / /data rw - nfs server:/ rw",
        "42 41 0:43 / /data/scratch rw - xfs /dev/vdc rw",
    ]
    listed = parse_mountinfo("\n".join(lines[::-1] if upside_down else lines))

    assert "nfs" == file_system_of(Path("/data/a.wal"), listed)
    assert "xfs" == file_system_of(Path("/data/scratch/a.wal"), listed)
    assert "ext4" == file_system_of(Path("/database"), listed)


@pytest.mark.parametrize("upside_down", [False, True])
def test_mount_below_a_later_one_is_hidden(upside_down):
    """A share mounted over /data hides the local disk that was at /data/scratch before: paths lead into the share."""
    lines = [
        "27 1 254:0 / / rw - ext4 /dev/vda rw",
        "40 27 0:41 / /data/scratch rw - xfs /dev/vdc rw",
        "41 40 0:42 / /data/scratch/deep rw - ext4 /dev/vdd rw",
        "42 27 0:43 / /data rw - nfs server:/ rw",
        "43 27 0:44 / /data2 rw - btrfs /dev/vde rw",
    ]
    listed = parse_mountinfo("\n".join(lines[::-1] if upside_down else lines))

    assert "nfs" == file_system_of(Path("/data/scratch/a.wal"), listed)
    assert "nfs" == file_system_of(Path("/data/scratch/deep/a.wal"), listed)
    assert "btrfs" == file_system_of(Path("/data2/a.wal"), listed)


def test_mounts_of_a_real_kernel_are_told_apart(tmp_path, own_mounts):
    """What the parser is told above is what the kernel writes: names with blanks, covers, hidden mounts."""
    program = """
import subprocess, sys
from pathlib import Path
from wal_runner.log.filesystems import file_system_of, mounts
top = Path(sys.argv[1])
def mount(kind, point):
    point.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", kind, kind, point], check=True)
mount("tmpfs", top)
mount("ramfs", top / "wide\\u3000 blank\\t")
mount("ramfs", top / "covered")
mount("tmpfs", top / "covered")
mount("ramfs", top / "hidden" / "below")
mount("tmpfs", top / "hidden")
(top / "hidden" / "below").mkdir()
print([file_system_of(top / name / "a.wal", mounts()) for name in ("wide\\u3000 blank\\t", "covered", "hidden/below")])
"""
    with child(program, tmp_path, before=own_mounts) as one:
        heard = one.hear()
        code, complaint = one.end()

    assert (0, "") == (code, complaint)
    assert "['ramfs', 'tmpfs', 'tmpfs']" == heard


# --- Refused, warned about, and allowed -----------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    sorted(NETWORK | {"fuse", "dvs", "drvfs", "beegfs", "fuse.sshfs", "fuse.s3fs", "fuse.glusterfs", "fuse.rclone"}),
)
def test_network_file_system_is_refused(kind, mounted, tmp_path):
    """Locks and memory maps lie over a network: no log is made there, and the message says where instead."""
    mounted(f"27 1 254:0 / / rw - {kind} server:/ rw")
    with pytest.raises(UnsafeFileSystem) as caught:
        check_file_system(tmp_path)

    assert (
        f"{tmp_path} is on {kind}, a network file system, where locks and memory maps cannot be trusted. "
        "Put the log on a local disk."
    ) == str(caught.value)


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "btrfs", "zfs", "f2fs", "apfs", "fuseblk", "fuse.ntfs-3g", "fuse.fuse-overlayfs"]
)
def test_local_disk_passes_in_silence(kind, mounted, tmp_path, caplog):
    """A disk of this machine is what a log is for."""
    mounted(f"27 1 254:0 / / rw - {kind} /dev/vda rw")
    check_file_system(tmp_path)

    assert not is_network(kind)
    assert [] == caplog.records


@pytest.mark.parametrize(("kind", "end"), sorted(FORGETFUL.items()))
def test_file_system_that_forgets_is_warned_about(kind, end, mounted, tmp_path, caplog):
    """A log in memory or in a container's layer works, and does not outlive it."""
    mounted(f"27 1 254:0 / / rw - {kind} none rw")
    check_file_system(tmp_path)

    assert [(logging.WARNING, f"{tmp_path} is on {kind}: the log does not survive {end}.")] == [
        (record.levelno, record.getMessage()) for record in caplog.records
    ]


def test_real_tmpfs_is_warned_about(tmp_path, own_mounts):
    """It is so with a real mount too, and the log is made all the same."""
    program = """
import logging, subprocess, sys
from pathlib import Path
from wal_runner.log.filesystems import check_file_system
logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
subprocess.run(["mount", "-t", "tmpfs", "none", sys.argv[1]], check=True)
check_file_system(Path(sys.argv[1]))
"""
    with child(program, tmp_path, before=own_mounts) as one:
        heard = one.hear()
        code, _ = one.end()

    assert f"WARNING {tmp_path} is on tmpfs: the log does not survive a reboot." == heard
    assert 0 == code


@pytest.mark.parametrize(
    ("kind", "expected"), [*((kind, True) for kind in sorted(MAPPABLE)), ("btrfs", False), ("zfs", False), ("", False)]
)
def test_mapped_files_are_used_only_where_a_store_cannot_fail(kind, expected, mounted, tmp_path):
    """Elsewhere a full disk would kill the process at a store into a mapped file."""
    mounted(f"27 1 254:0 / / rw - {kind} /dev/vda rw")

    assert expected == is_mappable(tmp_path)


def test_mac_listing_is_read(monkeypatch, tmp_path):
    """The Mac has no mountinfo; its mount command says the same in other words."""
    listing = tmp_path / "mount"
    listing.write_text(
        "#!/bin/sh\n"
        "echo '/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)'\n"
        "echo '//ann@server/share on /Volumes/office share (smbfs, nodev, nosuid, mounted by ann)'\n"
        "echo 'map auto_home on /System/Volumes/Data/home (autofs, automounted, nobrowse)'\n"
    )
    listing.chmod(0o700)
    run = filesystems.subprocess.run
    monkeypatch.setattr(filesystems.sys, "platform", "darwin")
    monkeypatch.setattr(filesystems.subprocess, "run", lambda _command, **options: run([str(listing)], **options))

    assert [
        ("/", "apfs"),
        ("/Volumes/office share", "smbfs"),
        ("/System/Volumes/Data/home", "autofs"),
    ] == mounts()
    assert "smbfs" == file_system_of(Path("/Volumes/office share/a.wal"), mounts())
