"""HEAD: what it says is what was written, and anything else says nothing."""

import errno
import logging
import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.log.children import child
from wal_runner.errors import DiskFull, LogError, LogReadOnly, LogUnsafe, StorageFailed
from wal_runner.log.format import CHAIN_BYTES
from wal_runner.log.head import HEAD_BYTES, Witness, boot_mark, open_head, read_head, write_head


U64 = st.integers(0, 2**64 - 1)
BOOT = boot_mark("0a1b2c3d-0000-4000-8000-000000000000")
WITNESS = Witness(4711, bytes(range(CHAIN_BYTES)), 77, 1_048_576, 1_795_550_400_123_456_789, BOOT)


@pytest.fixture
def path(tmp_path):
    """Give the path of a HEAD that is not there yet."""
    return tmp_path / "HEAD"


@pytest.fixture
def written(path):
    """Give a HEAD that says `WITNESS`."""
    write(path, WITNESS)
    return path


def write(path, *witnesses):
    descriptor = open_head(path)
    for witness in witnesses:
        write_head(descriptor, witness)
    os.close(descriptor)


# --- Round trip -------------------------------------------------------------------------


@given(
    st.builds(
        Witness,
        U64,
        st.binary(min_size=CHAIN_BYTES, max_size=CHAIN_BYTES),
        U64,
        U64,
        U64,
        st.sampled_from([b"", BOOT]),
    )
)
def test_every_witness_is_read_as_written(tmp_path_factory, witness):
    """Whatever the log's end and data.mdb look like, HEAD gives them back."""
    path = tmp_path_factory.mktemp("head") / "HEAD"
    write(path, witness)

    assert witness == read_head(path)
    assert HEAD_BYTES == path.stat().st_size


def test_last_one_written_counts(path):
    """HEAD is one place that is written over, no list."""
    write(path, WITNESS._replace(seq=2**60), WITNESS._replace(seq=5, writing=b""))

    assert WITNESS._replace(seq=5, writing=b"") == read_head(path)
    assert HEAD_BYTES == path.stat().st_size


def test_opening_keeps_what_head_says(written):
    """The witness must outlive the process that wrote it, so opening it for writing changes nothing."""
    os.close(open_head(written))

    assert WITNESS == read_head(written)


def test_chain_of_an_empty_log_is_padded(path):
    """An empty log has no hash yet; zeros stand for it."""
    write(path, WITNESS._replace(chain=b""))

    assert bytes(CHAIN_BYTES) == read_head(path).chain


def test_boots_are_told_apart():
    """Two boots have two marks, which fit HEAD; an unknown boot has none, and equals no other."""
    assert b"" == boot_mark("")
    assert 16 == len(boot_mark("a"))
    assert boot_mark("a") != boot_mark("b")


# --- What is no witness -------------------------------------------------------------------


def test_missing_head_is_no_witness(path):
    """A log that was never committed to has no HEAD, and that proves nothing."""
    assert None is read_head(path)


def test_new_head_is_no_witness(path):
    """HEAD is empty between its creation and the first commit."""
    os.close(open_head(path))

    assert None is read_head(path)


@pytest.mark.parametrize("size", range(HEAD_BYTES))
def test_torn_head_is_no_witness(written, size):
    """Wherever the machine died in writing it, a part of HEAD is not taken for the whole."""
    os.truncate(written, size)

    assert None is read_head(written)


@pytest.mark.parametrize("size", range(HEAD_BYTES))
def test_head_with_a_part_never_written_is_no_witness(written, size):
    """A file system may give zeros for what it had not written yet."""
    content = written.read_bytes()
    written.write_bytes(content[:size] + bytes(HEAD_BYTES - size))

    assert None is read_head(written)


def test_every_flipped_byte_makes_it_no_witness(written):
    """No byte of HEAD can change unseen: neither in one bit nor in all."""
    content = written.read_bytes()
    believed = []
    descriptor = os.open(written, os.O_WRONLY)
    for place, byte in enumerate(content):
        for flip in (1, 2, 4, 8, 16, 32, 64, 128, 255):
            os.pwrite(descriptor, bytes([byte ^ flip]), place)
            if read_head(written) is not None:
                believed.append((place, flip))
        os.pwrite(descriptor, bytes([byte]), place)
    os.close(descriptor)

    assert [] == believed
    assert WITNESS == read_head(written)


def test_mix_of_two_heads_is_no_witness(written, path):
    """A write that a crash cut between two sectors leaves the old and the new side by side."""
    old = written.read_bytes()
    write(path, WITNESS._replace(seq=4712, chain=bytes(CHAIN_BYTES), mtime_ns=1))
    new = path.read_bytes()
    mixes = {new[:cut] + old[cut:] for cut in range(1, HEAD_BYTES)} - {old, new}
    believed = []
    for mix in mixes:
        path.write_bytes(mix)
        if read_head(path) is not None:
            believed.append(mix)

    assert mixes
    assert [] == believed


@pytest.mark.parametrize(
    "content", [b"\0" * HEAD_BYTES, b"\xff" * HEAD_BYTES, b"ref: refs/heads/main\n", b"\n" * 10**6]
)
def test_foreign_head_is_no_witness(path, content):
    """A file of that name that somebody else wrote says nothing of ours."""
    path.write_bytes(content)

    assert None is read_head(path)


def test_sound_head_of_another_kind_is_no_witness(written):
    """With a right checksum and another magic it is a later format's, which must not be guessed at."""
    import zlib  # noqa: PLC0415 - to forge the checksum, here only

    body = b"WRH9" + written.read_bytes()[4:-4]
    written.write_bytes(body + zlib.crc32(body).to_bytes(4, "little"))

    assert None is read_head(written)


def test_longer_head_is_no_witness(written):
    """What follows is not ignored: nothing of ours writes it."""
    with written.open("ab") as file:
        file.write(b"\0")

    assert None is read_head(written)


def test_gigantic_head_takes_no_memory(path):
    """A terabyte is not read to learn that it is not ours."""
    path.touch()
    os.truncate(path, 1 << 40)

    assert None is read_head(path)


def test_folder_in_place_of_head_is_refused(path):
    """A reader does not pass over what was put there."""
    path.mkdir()

    with pytest.raises(LogUnsafe, match="HEAD is a folder"):
        read_head(path)


# --- Files, rights, and a full disk ---------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_head_is_the_owners_alone(path, umask):
    """HEAD has mode 0600 whatever the umask; with fewer rights the owner could not open it again."""
    before = os.umask(umask)
    try:
        os.close(open_head(path))
    finally:
        os.umask(before)

    assert 0o600 == stat.S_IMODE(path.stat().st_mode)


def test_head_is_not_inherited_by_commands(path):
    """A command that runs for an item gets no descriptor of the log's files."""
    descriptor = open_head(path)

    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


def test_head_of_somebody_else_is_refused_with_advice(written):
    """Who may not write HEAD may not write the log."""
    program = """
import os, sys
from pathlib import Path
from wal_runner.errors import LogReadOnly
from wal_runner.log.head import open_head
os.chdir(sys.argv[1])
if os.geteuid() == 0:
    os.setuid(65534)
try:
    open_head(Path("HEAD"))
except LogReadOnly as error:
    print(error)
"""
    written.chmod(0o400)
    written.parent.chmod(0o755)
    with child(program, written.parent) as one:
        assert "HEAD cannot be written. Read the log, or change its owner." == one.hear()


def test_head_that_is_a_folder_is_refused_with_advice(path):
    """Anything that is no file is refused by a typed error too."""
    path.mkdir()
    with pytest.raises(LogUnsafe, match=r"HEAD is a folder, .* move it away"):
        open_head(path)


def test_full_disk_has_no_head_and_says_so(tmp_path, own_mounts):
    """A disk without room for one more file is named as full, with what to do."""
    program = """
import subprocess, sys
from pathlib import Path
from wal_runner.errors import DiskFull
from wal_runner.log.head import open_head
subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=1", "none", sys.argv[1]], check=True)
try:
    open_head(Path(sys.argv[1]) / "HEAD")
except DiskFull as error:
    print(error)
"""
    with child(program, tmp_path, before=own_mounts) as one:
        assert f"The disk of {tmp_path}/HEAD is full. Free some space, then run the same again." == one.hear()


def test_full_disk_fails_no_commit_that_is_durable(path):
    """HEAD is a witness only: where it cannot be written, the commit stands, and a warning tells."""
    program = """
import logging, os, resource, sys
from pathlib import Path
from wal_runner.log.head import Witness, open_head, write_head
logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
write_head(open_head(Path(sys.argv[1])), Witness(5, bytes(16), 1, 2, 3))
"""
    with child(program, path) as one:
        heard = one.hear()
        code, complaint = one.end()

    assert "WARNING HEAD could not be written (File too large): the log is sound, and has no new witness." == heard
    assert (0, "") == (code, complaint)
    assert None is read_head(path)


def test_write_is_silent_where_there_is_room(path, caplog):
    """The warning is for a disk that is full."""
    caplog.set_level(logging.DEBUG)
    write(path, WITNESS)

    assert [] == caplog.records


def test_head_that_may_not_be_written_is_refused(path, monkeypatch):
    """As above, where the tests have no other user to be."""

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(LogReadOnly, match="cannot be written"):
        open_head(path)


@pytest.mark.parametrize(
    ("code", "expected"), [(errno.ENOSPC, DiskFull), (errno.EIO, StorageFailed), (errno.EMFILE, LogError)]
)
def test_head_that_cannot_be_made_says_why(path, monkeypatch, code, expected):
    """A full disk is named as such, anything else by the system's word."""

    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(LogError) as raised:
        open_head(path)

    assert expected is type(raised.value)


def test_head_that_grew_is_cut(path):
    """Bytes of something else behind ours would make it unreadable for good."""
    path.write_bytes(bytes(HEAD_BYTES + 9))
    write(path, WITNESS)

    assert WITNESS == read_head(path)


def test_failed_write_is_a_warning(path, monkeypatch, caplog):
    """The commit stands without its witness."""
    descriptor = open_head(path)

    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", fail)
    write_head(descriptor, WITNESS)
    os.close(descriptor)

    assert ["HEAD could not be written"] == [record.message[:25] for record in caplog.records]
