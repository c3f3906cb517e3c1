"""Single pages of data.mdb: whatever number on one is wrong is found before it is used."""

import os
import struct

import lmdb
import pytest

from wal_runner.errors import LogCorrupt
from wal_runner.log import page_trees, pages
from wal_runner.log.page_guard import PageGuard
from wal_runner.log.page_trees import read_table
from wal_runner.log.page_walk import walk
from wal_runner.log.pages import BRANCH, LEAF, Node, PageDamaged, PageFile, RowDamaged, read_meta, used_bytes
from wal_runner.log.rows import seal


PAGE = 4096
KEYS = [f"item-{number:04}".encode() for number in range(1_500)]
BIG_KEY = b"item-0000"
BIG = bytes(3 * PAGE)

# Where a meta page has what.
FLAGS, MAGIC, FREE, MAIN, LAST_PAGE, TXN = 10, 16, 40, 88, 136, 144
TREE_FLAGS, TREE_DEPTH, TREE_ENTRIES, TREE_ROOT = 4, 6, 32, 40

TABLES = [b"items", b"log", b"meta", b"open"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the bytes of a file with the log's tables: rows on many leaves, one value on pages of its own."""
    path = tmp_path_factory.mktemp("pages") / "data.mdb"
    env = lmdb.open(str(path), subdir=False, max_dbs=8, lock=False, map_size=1 << 24, lib_version=0)
    tables = [env.open_db(name) for name in TABLES]
    with env.begin(write=True) as txn:
        for key in KEYS:
            txn.put(key, seal(key, BIG if key == BIG_KEY else b"1234"), db=tables[0])
        txn.put(b"key", b"value", db=tables[2])
    with env.begin(write=True) as txn:
        txn.delete(KEYS[-1], db=tables[0])  # a commit more, so that some pages are free
    env.close()
    return path.read_bytes()


class File:
    """A file that is changed byte by byte, and the pages of it."""

    def __init__(self, path, content):
        self.path = path
        self.content = bytearray(content)
        path.write_bytes(content)
        self.descriptor = os.open(path, os.O_RDONLY)
        self.pages = PageFile(self.descriptor, PAGE)
        self.pages.last_page = read_meta(self.descriptor).last_page

    def put(self, kind, *changes):
        """Write each (place, value) as *kind*."""
        for place, value in changes:
            struct.pack_into(kind, self.content, place, value)
        self.path.write_bytes(self.content)

    def metas(self, kind, place, value):
        """Write a value into both meta pages."""
        self.put(kind, (place, value), (PAGE + place, value))

    def first(self, kind, *, table=b"items"):
        """Return the number of the first page of *kind* that the tree of *table* uses."""
        tree = self.tree(table)
        if kind == BRANCH or tree.depth == 1:
            return tree.root
        return self.pages.branch(self.pages.page(tree.root), tree.root, None, None).children[0]

    def tree(self, name):
        """Return what the main tree says of a table."""
        return next(read_table(node) for node in self.main_nodes() if node.key == name)

    def main_nodes(self):
        """Return the nodes of the main tree, which has one page."""
        root = read_meta(self.descriptor).main.root
        return self.pages.nodes(self.pages.page(root), root, None, None)

    def node(self, number, index):
        """Return the place in the file of a node of page *number*."""
        return number * PAGE + struct.unpack_from("<H", self.content, number * PAGE + 16 + 2 * index)[0]

    def main_record(self, name):
        """Return the place in the file of the record of a table."""
        return self.content.index(name + b"\0\0\0\0", read_meta(self.descriptor).main.root * PAGE) + len(name)

    def guard(self):
        """Open the file as the engine does that trusts nothing yet."""
        guard = PageGuard(self.path, self.descriptor, PAGE, trusts_all=False)
        guard.begin()
        return guard


@pytest.fixture
def file(tmp_path, whole):
    made = File(tmp_path / "data.mdb", whole)
    yield made
    os.close(made.descriptor)


def test_sound_pages_are_read(file):
    """The control: every page is as LMDB wrote it."""
    leaf = file.first(LEAF)
    keys, values = file.pages.sealed_rows(file.pages.page(leaf), leaf, None, None)

    assert KEYS[: len(keys)] == keys
    assert seal(BIG_KEY, BIG) == values[0]
    assert ("", "") == walk(file.descriptor)[:2]
    assert file.guard().rows_of(KEYS[5:7]) == [seal(key, b"1234") for key in KEYS[5:7]]


# --- Meta pages ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "place", "value", "complaint"),
    [
        ("<Q", 0, 7, "page 0 is not a meta page"),
        ("<H", FLAGS, 0, "page 0 is not a meta page"),
        ("<I", MAGIC, 1, "page 0 is not a meta page"),
        ("<I", FREE, 256, "names a page of 256 bytes"),
        ("<I", FREE, 5000, "names a page of 5000 bytes"),
        ("<I", FREE, 1 << 16, "names a page of 65536 bytes"),
        ("<Q", LAST_PAGE, 0, "there are no pages"),
        ("<H", FREE + TREE_FLAGS, 0x0C, "the free list: is not of the kind"),
        ("<H", MAIN + TREE_FLAGS, 4, "the main tree: is not of the kind"),
    ],
)
def test_meta_page_with_a_wrong_number_is_damaged(file, kind, place, value, complaint):
    """Whatever both meta pages agree on is compared with what LMDB writes."""
    file.metas(kind, place, value)

    with pytest.raises(PageDamaged, match=complaint):
        read_meta(file.descriptor)
    assert 0 == used_bytes(file.descriptor)


@pytest.mark.parametrize(
    ("kind", "place", "value", "complaint"),
    [
        ("<I", PAGE + FREE, 8192, "two page sizes"),
        ("<Q", TXN, 3, "the other one's transaction"),
        ("<Q", PAGE + TXN, 2, "the other one's transaction"),
    ],
)
def test_meta_pages_that_contradict_each_other_are_damaged(file, kind, place, value, complaint):
    """Each page holds every other transaction, and both the size of a page."""
    file.put(kind, (place, value))

    with pytest.raises(PageDamaged, match=complaint):
        read_meta(file.descriptor)


def test_meta_page_that_says_the_file_has_shrunk_is_damaged(file):
    """A transaction never takes pages away."""
    first, second = (struct.unpack_from("<Q", file.content, start + TXN)[0] for start in (0, PAGE))
    file.put("<Q", ((0 if first > second else PAGE) + LAST_PAGE, 3))

    with pytest.raises(PageDamaged, match="has shrunk"):
        read_meta(file.descriptor)


def test_meta_page_that_is_cut_short_is_damaged(file):
    """A file of some bytes has no meta page."""
    file.path.write_bytes(file.content[:100])

    with pytest.raises(PageDamaged, match="meta page 0 is cut short"):
        read_meta(file.descriptor)


def test_meta_page_that_claims_too_much_is_not_walked(file):
    """A byte of memory is taken for each page that is claimed."""
    file.metas("<Q", LAST_PAGE, 1 << 40)

    assert "pages are in use, and the file has" in walk(file.descriptor).problem


# --- One page -------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1, 1 << 20])
def test_page_that_the_file_does_not_use_is_damage(file, number):
    """A meta page, or one beyond the last, is not a page of a tree."""
    with pytest.raises(PageDamaged, match=f"page {number} is named"):
        file.pages.page(number)


def test_page_behind_the_end_of_the_file_is_damage(file):
    """A file that was cut off has fewer pages than its meta page says."""
    last = file.pages.last_page
    os.truncate(file.path, last * PAGE)

    with pytest.raises(PageDamaged, match="beyond the end of the file"):
        file.pages.page(last)


@pytest.mark.parametrize(
    ("kind", "place", "value", "complaint"),
    [
        ("<Q", 0, 1 << 20, "not the leaf page that it should be"),
        ("<H", 10, BRANCH, "not the leaf page that it should be"),
        ("<H", 12, 16, "header is out of bounds"),
        ("<H", 12, 19, "header is out of bounds"),
        ("<H", 14, 17, "header is out of bounds"),
        ("<H", 14, PAGE, "header is out of bounds"),
        ("<H", 16, PAGE - 2, "a node is out of bounds"),
        ("<H", 16, 20, "a node is out of bounds"),
    ],
)
def test_leaf_with_a_wrong_header_is_damaged(file, kind, place, value, complaint):
    """LMDB would follow the number, and read elsewhere."""
    number = file.first(LEAF)
    file.put(kind, (number * PAGE + place, value))
    page = file.pages.page(number)

    for read in (file.pages.sealed_rows, file.pages.nodes):
        with pytest.raises(PageDamaged, match=complaint):
            read(page, number, None, None)


@pytest.mark.parametrize(
    ("kind", "place", "value", "complaint"),
    [
        ("<H", 4, 4, "reaches beyond its page"),
        ("<I", 0, PAGE, "reaches beyond its page"),
        ("<I", 0, 1, "do not fill their room"),
    ],
)
def test_node_with_a_wrong_size_is_damaged(file, kind, place, value, complaint):
    """Its value would be read from its neighbours."""
    number = file.first(LEAF)
    file.put(kind, (file.node(number, 3) + place, value))

    with pytest.raises(PageDamaged, match=complaint):
        file.pages.nodes(file.pages.page(number), number, None, None)


@pytest.mark.parametrize("flags", [2, 4, 5])
def test_row_of_an_unknown_kind_is_damaged(file, flags):
    """A row is a value on the page, or one that has its own pages."""
    number = file.first(LEAF)
    file.put("<H", (file.node(number, 0) + 4, flags))

    with pytest.raises(PageDamaged, match="reaches beyond its page"):
        file.pages.sealed_rows(file.pages.page(number), number, None, None)


def test_row_whose_checksum_does_not_fit_is_told_apart(file):
    """The page may be sound otherwise: a walk goes on behind it."""
    number = file.first(LEAF)
    place = file.node(number, 3) + 8 + len(KEYS[3])
    file.put("<B", (place, file.content[place] ^ 1))

    with pytest.raises(RowDamaged, match="checksum of the row"):
        file.pages.sealed_rows(file.pages.page(number), number, None, None)
    found = walk(file.descriptor)
    assert "" == found.problem
    assert "checksum of the row" in found.row_problem


def test_rows_out_of_order_are_damage(file):
    """Each row is sound, and a look-up that halves the page misses it."""
    number = file.first(LEAF)
    at = number * PAGE + 16
    file.put("<4s", (at + 4, bytes(file.content[at + 6 : at + 8] + file.content[at + 4 : at + 6])))
    page = file.pages.page(number)

    for read in (file.pages.sealed_rows, file.pages.nodes):
        with pytest.raises(PageDamaged, match="not in order"):
            read(page, number, None, None)


@pytest.mark.parametrize(("least", "beyond"), [(b"item-0001", None), (None, b"item-0002")])
def test_leaf_outside_the_range_of_its_parent_is_damage(file, least, beyond):
    """A child pointer with a turned bit leads to a page that is sound, and not the right one."""
    number = file.first(LEAF)
    page = file.pages.page(number)

    for read in (file.pages.sealed_rows, file.pages.nodes):
        with pytest.raises(PageDamaged, match="seeks on another page"):
            read(page, number, least, beyond)
    with pytest.raises(PageDamaged, match="seeks on another page"):
        file.pages.check_ends(number, least, beyond, is_leaf=True)


def test_end_of_a_leaf_that_reaches_beyond_it_is_damage(file):
    """Its key would be compared with bytes of another page."""
    number = file.first(LEAF)
    file.put("<H", (file.node(number, 0) + 6, PAGE))

    with pytest.raises(PageDamaged, match="reaches beyond its page"):
        file.pages.check_ends(number, None, None, is_leaf=True)


def test_branch_of_one_child_is_damage(file):
    """LMDB's assertion of it ends the process."""
    number = file.first(BRANCH)
    file.put("<H", (number * PAGE + 12, 18), (number * PAGE + 14, file.node(number, 0) - number * PAGE))

    with pytest.raises(PageDamaged, match="a branch of one child"):
        file.pages.branch(file.pages.page(number), number, None, None)


def test_branch_whose_nodes_do_not_fill_it_is_damaged(file):
    """A key with a wrong size sends look-ups to the wrong child."""
    number = file.first(BRANCH)
    place = file.node(number, file.pages.count(file.pages.page(number)) - 1) + 6
    file.put("<H", (place, file.content[place] + 2))

    with pytest.raises(PageDamaged, match="do not fill their room"):
        file.pages.branch(file.pages.page(number), number, None, None)


# --- Values with pages of their own ---------------------------------------------------------


def big_page(file):
    """Return the first page of the big value, and its size."""
    number = file.first(LEAF)
    node = file.pages.nodes(file.pages.page(number), number, None, None)[0]
    return file.pages.pages_of(node)[0], node.size


def test_value_of_an_impossible_size_is_damage(file):
    """LMDB copies whatever a node claims."""
    with pytest.raises(PageDamaged, match=r"a value of [\d,]+ bytes"):
        file.pages.check_big(big_page(file)[0], pages.VALUE_BYTES_MAX + 1)


@pytest.mark.parametrize("number", [1, 1 << 20])
def test_value_on_pages_that_are_not_used_is_damage(file, number):
    """It would be read from a meta page, or from behind the end."""
    with pytest.raises(PageDamaged, match=f"page {number} is named for 4 pages"):
        file.pages.check_big(number, len(BIG))


def test_value_that_begins_elsewhere_is_damage(file):
    """The page says how many follow it."""
    number, size = big_page(file)

    with pytest.raises(PageDamaged, match="does not begin a value"):
        file.pages.check_big(number + 1, size - PAGE)
    with pytest.raises(PageDamaged, match="does not begin a value"):
        file.pages.big_value(number, PAGE)


def test_value_that_is_cut_off_is_damage(file):
    """The file ends inside of it."""
    number, size = big_page(file)
    os.truncate(file.path, (number + 1) * PAGE)

    with pytest.raises(PageDamaged, match="beyond the end of the file"):
        file.pages.big_value(number, size)


# --- Records of tables ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("node", "complaint"),
    [
        (Node(b"items", 0, 48, bytes(48)), "items is not a table"),
        (Node(b"items", 2, 47, bytes(47)), "items is not a table"),
        (Node(b"items", 2, 48, struct.pack("<IHHQQQQQ", 0, 4, 1, 0, 1, 0, 1, 2)), "not of the kind"),
        (Node(b"items", 2, 48, struct.pack("<IHHQQQQQ", 9, 0, 1, 0, 1, 0, 1, 2)), "not of the kind"),
        (Node(b"items", 2, 48, struct.pack("<IHHQQQQQ", 0, 0, 0, 0, 1, 0, 1, 2)), "a depth of 0"),
        (Node(b"items", 2, 48, struct.pack("<IHHQQQQQ", 0, 0, 33, 0, 1, 0, 1, 2)), "a depth of 33"),
        (Node(b"items", 2, 48, struct.pack("<IHHQQQQQ", 0, 0, 1, 0, 0, 0, 0, pages.NO_ROOT)), "a depth of 1"),
    ],
)
def test_record_of_a_table_that_is_none_is_damage(node, complaint):
    """The main tree names our tables and nothing else."""
    with pytest.raises(PageDamaged, match=complaint):
        read_table(node)


def test_missing_table_is_damage(file):
    """A turned bit in its name: LMDB would not find the table."""
    record = file.main_record(b"items")
    file.put("<B", (record - 1, ord("t")))

    with pytest.raises(LogCorrupt, match="the table items is missing"):
        file.guard().check_keys([b"item-0005"])


def test_main_tree_of_too_many_levels_is_damage(file):
    """The walk down would not end."""
    file.metas("<H", MAIN + TREE_DEPTH, 33)

    with pytest.raises(LogCorrupt, match="a tree of 33 levels"):
        file.guard()
    assert "the main tree: has a depth of 33 levels" in walk(file.descriptor).problem


def test_meta_pages_of_another_page_size_are_damage(file):
    """The file was opened with pages of one size, and names another now."""
    guard = PageGuard(file.path, file.descriptor, PAGE * 2, trusts_all=False)

    with pytest.raises(LogCorrupt, match="name pages of 4096 bytes"):
        guard.begin()


def test_root_of_two_tables_is_damage(file):
    """Both would write into the pages of one."""
    file.put("<Q", (file.main_record(b"meta") + TREE_ROOT, read_meta(file.descriptor).free.root))

    with pytest.raises(LogCorrupt, match="its root is a page of something else"):
        file.guard()
    assert "in use twice" in walk(file.descriptor).problem


def test_count_of_a_table_is_compared(file):
    """Its record says how many rows there are."""
    file.put("<Q", (file.main_record(b"meta") + TREE_ENTRIES, 7))

    assert "and entries, and says" in walk(file.descriptor).problem


def test_page_that_nobody_uses_is_found(file):
    """It would never be used again: pages were lost, or a tree has lost one."""
    file.metas("<Q", LAST_PAGE, read_meta(file.descriptor).last_page + 1)

    assert "neither in use nor free" in walk(file.descriptor).problem


def test_branch_pages_are_read_again_when_too_many_are_held(file, monkeypatch):
    """Memory is bounded; what was let go is checked again."""
    guard = file.guard()
    guard.check_keys(KEYS[::100])
    monkeypatch.setattr(page_trees, "BRANCHES_HELD_MAX", 0)
    guard._read_meta()

    assert {} == guard._held
    assert guard.rows_of(KEYS[5:6]) == [seal(KEYS[5], b"1234")]


def test_empty_table_has_no_rows(file):
    """No page is named by a table that was never written to."""
    guard = file.guard()
    guard.check_around(b"open", b"any")
    guard.check_from(b"log", b"", 10, deletes=True)

    assert guard._leaf(guard._tree(b"open"), b"any") is None


# --- What the guard compares between pages ------------------------------------------------------


def free_record(file):
    """Return the place in the file of the numbers of the free list's first record, and its root."""
    root = read_meta(file.descriptor).free.root
    return file.node(root, 0) + 16, root  # behind the node's header and its key


def test_free_list_that_names_its_own_page_is_damage(file):
    """The next commit would write over the list while it reads it."""
    place, root = free_record(file)
    file.put("<Q", (place, 1), (place + 8, root))

    with pytest.raises(LogCorrupt, match=f"the free list: page {root} is in use, or named twice"):
        file.guard()


def test_free_page_below_a_branch_is_damage(file):
    """A child pointer with a turned bit leads to a page that was given back, with the rows of its time."""
    number = file.first(BRANCH)
    place, _ = free_record(file)
    free = struct.unpack_from("<Q", file.content, place + 8)[0]
    file.put("<I", (file.node(number, 3), free))

    with pytest.raises(LogCorrupt, match=f"page {free} is named twice, or free"):
        file.guard().check_keys([KEYS[0]])


def test_two_small_tables_on_one_page_are_damage(file):
    """What one writes, the other reads."""
    meta, other = file.main_record(b"meta"), file.main_record(b"open")
    file.put("<48s", (other, bytes(file.content[meta : meta + 48])))

    with pytest.raises(LogCorrupt, match="is in use for something else"):
        file.guard()


def test_table_inside_a_table_is_found_by_the_walk(file):
    """LMDB would open it as a tree of its own."""
    root = file.tree(b"meta").root
    file.put("<H", (file.node(root, 0) + 4, 2))

    assert "meta: a table inside a table" == walk(file.descriptor).problem


@pytest.mark.parametrize("side", ["left", "right"])
def test_neighbours_of_a_leaf_are_checked(file, side):
    """A deletion may merge a leaf with the one on either side of it."""
    root = file.first(BRANCH)
    keys, children = file.pages.branch(file.pages.page(root), root, None, None)
    damaged = children[1 if side == "left" else 3]
    place = file.node(damaged, 4) + 8 + len(KEYS[0])
    file.put("<B", (place, file.content[place] ^ 1))
    guard = file.guard()
    guard.check_around(b"items", keys[-1])
    guard.check_keys([keys[2]])

    with pytest.raises(LogCorrupt, match="checksum of the row"):
        guard.check_around(b"items", keys[2])


def test_file_that_was_walked_is_not_checked_again(file):
    """The walk has seen each page; damage of later hands is not looked for."""
    number = file.first(LEAF)
    guard = PageGuard(file.path, file.descriptor, PAGE, trusts_all=True)
    guard.begin()
    place = file.node(number, 4) + 8 + len(KEYS[0])
    file.put("<B", (place, file.content[place] ^ 1))
    guard.check_keys(KEYS[:9])
    guard.check_gap(KEYS[0], KEYS[9])
    guard.check_around(b"items", KEYS[0])
    guard.check_from(b"items", KEYS[0], 10)
    guard.check_everything()

    assert guard.trusts_all
