"""The model of a disk: what is surely there, what may be there, and what cannot be."""

from hypothesis import given
from hypothesis import strategies as st

from tools.harness.disk import EMPTY, PAGE_BYTES, SECTOR_BYTES, Disk, Image, Names, Size, Write, differences
from tools.harness.stream import AT_ONCE_DURABLE, Entry, Kind


ROOT, FOLDER, FILE = 1, 2, 3


def entry(kind, *, inode=FILE, folder=ROOT, place=0, size=0, name="", new_name="", data=b"", flags=0):
    return Entry(kind, flags, 0, inode, folder, place, size, name, new_name, data)


def disk_with_file():
    """Give a disk with an empty file that is named and durable."""
    disk = Disk(ROOT)
    for step in (entry(Kind.CREATE, name="f"), entry(Kind.SYNC), entry(Kind.SYNC, inode=ROOT)):
        disk.apply(step)
    return disk


def paths(disk, changes=()):
    return {path for path, _ in disk.tree(disk.folders_after(list(changes)))}


# --- Data --------------------------------------------------------------------------------


def test_write_is_on_its_way_until_its_file_is_synced():
    """A write is seen at once, and is surely on the disk only behind a sync."""
    disk = disk_with_file()
    disk.apply(entry(Kind.WRITE, data=b"abc"))
    file = disk.files[FILE]

    assert (b"", b"abc", [Write(0, b"abc")]) == (file.durable.content(), file.live.content(), file.pending)

    disk.apply(entry(Kind.SYNC))

    assert (b"abc", []) == (file.durable.content(), file.pending)


def test_write_through_o_dsync_is_durable_alone():
    """What was written before it through another descriptor stays on its way."""
    disk = disk_with_file()
    disk.apply(entry(Kind.WRITE, data=b"before", place=100))
    disk.apply(entry(Kind.WRITE, data=b"meta", flags=AT_ONCE_DURABLE))
    file = disk.files[FILE]

    assert b"meta" == file.durable.content()
    assert [Write(100, b"before")] == file.pending


def test_older_write_does_not_come_back_over_a_durable_one():
    """The kernel writes pages out as they are, so an older write brings the newer bytes with it."""
    disk = disk_with_file()
    disk.apply(entry(Kind.WRITE, data=b"old old old"))
    disk.apply(entry(Kind.WRITE, data=b"NEW", place=4, flags=AT_ONCE_DURABLE))

    assert [Write(0, b"old NEW old")] == disk.files[FILE].pending


def test_write_under_way_is_on_its_way_until_it_returns():
    """While an O_DSYNC write runs it may be cut as any other."""
    disk = disk_with_file()
    file = disk.files[FILE]
    with disk.under_way(entry(Kind.WRITE, data=b"meta", flags=AT_ONCE_DURABLE)):
        assert ([Write(0, b"meta")], b"meta", b"") == (file.pending, file.live.content(), file.durable.content())

    assert ([], b"") == (file.pending, file.live.content())


def test_size_is_on_its_way_too():
    """Blocks allocated past the end are zeros, there or not, until a sync."""
    disk = disk_with_file()
    disk.apply(entry(Kind.SIZE, size=10))
    file = disk.files[FILE]

    assert (0, bytes(10)) == (file.durable.size, file.live.content())

    disk.apply(entry(Kind.SYNC))

    assert bytes(10) == file.durable.content()


def test_failed_sync_gives_up_the_data_and_not_the_size():
    """After an error the kernel takes the pages for written: no later sync makes them durable."""
    disk = disk_with_file()
    disk.apply(entry(Kind.WRITE, data=b"given up"))
    disk.apply(entry(Kind.SIZE, size=100))
    disk.apply(entry(Kind.FAULT, flags=Kind.SYNC))
    disk.apply(entry(Kind.WRITE, data=b"later", place=50))
    disk.apply(entry(Kind.SYNC))
    file = disk.files[FILE]

    assert bytes(50) + b"later" + bytes(45) == file.durable.content()
    assert [Write(0, b"given up")] == file.lost


def test_what_was_given_up_does_not_come_back_over_what_was_synced_later():
    """Whatever of it is on the disk was overwritten there."""
    disk = disk_with_file()
    disk.apply(entry(Kind.WRITE, data=b"old old old"))
    disk.apply(entry(Kind.FAULT, flags=Kind.SYNC))
    disk.apply(entry(Kind.WRITE, data=b"NEW", place=4))
    disk.apply(entry(Kind.SYNC))

    assert [Write(0, b"old NEW old")] == disk.files[FILE].lost


def test_boot_makes_everything_durable_that_it_found():
    """What a process reads after a boot is on the disk."""
    disk = disk_with_file()
    disk.apply(entry(Kind.WRITE, data=b"abc"))
    disk.apply(entry(Kind.RENAME, name="f", new_name="g", place=ROOT))
    disk.settle()

    assert {"g"} == paths(disk)
    assert b"abc" == disk.files[FILE].durable.content()


# --- Names -------------------------------------------------------------------------------


def test_sync_of_a_file_does_not_make_its_name_durable():
    """The data is there, and nothing leads to it."""
    disk = Disk(ROOT)
    for step in (entry(Kind.CREATE, name="f"), entry(Kind.WRITE, data=b"abc"), entry(Kind.SYNC)):
        disk.apply(step)

    assert set() == paths(disk)
    assert {"f"} == paths(disk, disk.pending)

    disk.apply(entry(Kind.SYNC, inode=ROOT))

    assert ({"f"}, []) == (paths(disk), disk.pending)


def test_sync_of_a_folder_makes_its_own_names_durable_only():
    """A name in a folder and the folder's own name are two things."""
    disk = Disk(ROOT)
    disk.apply(entry(Kind.MKDIR, inode=FOLDER, name="d"))
    disk.apply(entry(Kind.CREATE, folder=FOLDER, name="f"))
    disk.apply(entry(Kind.SYNC, inode=FOLDER))

    assert set() == paths(disk)
    assert {"d", "d/f"} == paths(disk, disk.pending)


def test_rename_happens_whole():
    """Before the folder's sync either name may stand, never both and never none."""
    disk = disk_with_file()
    disk.apply(entry(Kind.RENAME, name="f", new_name="g", place=ROOT))

    assert [Names(((ROOT, "g", FILE), (ROOT, "f", None)))] == disk.pending
    assert [{"f"}, {"g"}] == [paths(disk), paths(disk, disk.pending)]


def test_removed_name_may_still_stand():
    """An unlink that was not synced is undone by a power cut."""
    disk = disk_with_file()
    disk.apply(entry(Kind.UNLINK, name="f"))

    assert [{"f"}, set()] == [paths(disk), paths(disk, disk.pending)]


def test_difference_between_the_model_and_the_world_is_seen():
    """A call that the interposer missed shows as a file that is otherwise."""
    disk = disk_with_file()
    disk.apply(entry(Kind.WRITE, data=b"abc"))

    assert [] == differences(disk, {"f": b"abc"})
    assert ["f holds other bytes than were written"] == differences(disk, {"f": b"abd"})
    assert ["f was made, and is not there"] == differences(disk, {})
    assert ["x is there, and no call made it"] == differences(disk, {"f": b"abc", "x": None})


# --- Images ------------------------------------------------------------------------------

PLACES = st.integers(0, 3 * PAGE_BYTES)
CHANGES = st.lists(
    st.one_of(
        st.builds(Write, PLACES, st.binary(min_size=1, max_size=2 * PAGE_BYTES)),
        st.builds(Size, PLACES, st.booleans()),
    ),
    max_size=8,
)


def applied(content, changes):
    """Do the changes to bytes, plainly."""
    content = bytearray(content)
    for change in changes:
        if isinstance(change, Size):
            content = content[: change.size] if change.shrinks else content
            content += bytes(max(0, change.size - len(content)))
        else:
            content += bytes(max(0, change.at + len(change.data) - len(content)))
            content[change.at : change.at + len(change.data)] = change.data
    return bytes(content)


@given(CHANGES, CHANGES)
def test_image_holds_what_was_written(first, second):
    """Pages are a way to store bytes, and change nothing about them."""
    image = EMPTY.after(first)

    assert applied(b"", first) == image.content()
    assert applied(b"", first + second) == image.after(second).content()


@given(CHANGES)
def test_images_of_one_content_have_one_digest(changes):
    """However a content came about, it is one state and not two."""
    image = EMPTY.after(changes)
    at_once = EMPTY.after([Write(0, image.content())] if image.size else [])

    assert (image.size, image.digest) == (at_once.size, at_once.digest)
    assert Image(image.size, image.pages, image.digest).content() == image.content()


@given(CHANGES, PLACES)
def test_images_of_two_contents_have_two_digests(changes, place):
    """One byte makes another state."""
    image = EMPTY.after([Write(place, b"a"), *changes])
    byte = image.content()[:1] or b"\0"
    other = image.after([Write(0, bytes([byte[0] ^ 1]))])

    assert image.digest != other.digest


@given(st.builds(Write, PLACES, st.binary(min_size=1, max_size=3 * SECTOR_BYTES)))
def test_write_is_cut_between_sectors_only(write):
    """The parts make up the whole, and each lies in one sector."""
    parts = write.sectors()

    assert write.data == b"".join(part.data for part in parts)
    assert all(part.at // SECTOR_BYTES == (part.at + len(part.data) - 1) // SECTOR_BYTES for part in parts)
    assert EMPTY.after([write]).content() == EMPTY.after(parts).content()
