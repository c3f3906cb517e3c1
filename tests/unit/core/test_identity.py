"""Identity: one item has one id, on every rerun, machine and Python."""

import collections
import dataclasses
import enum
import functools
import operator
import os
import sqlite3
import subprocess
import sys
import uuid
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wal_runner.core import identity
from wal_runner.core.identity import by_content, idempotency_key, item_id, key_rule
from wal_runner.errors import ItemIdInvalid


SOME_UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")


class Colour(str, enum.Enum):  # noqa: UP042 - StrEnum writes itself as its value; this one does not
    """Text that writes itself differently from what it is."""

    RED = "red"


class Level(enum.IntEnum):
    """An int that has a name."""

    HIGH = 3


class Unspeakable:
    """A thing whose repr fails."""

    def __repr__(self):
        """Fail."""
        raise RuntimeError("no repr today")


# --- item_id ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a", "a"),
        (" a ", " a "),
        ("né\U0001f600", "né\U0001f600"),
        ("a\0b", "a\0b"),
        (0, "0"),
        (-7, "-7"),
        (10**40, "1" + "0" * 40),
        (SOME_UUID, "12345678-1234-5678-1234-567812345678"),
        (Colour.RED, "red"),
        (Level.HIGH, "3"),
    ],
)
def test_text_int_and_uuid_are_ids(value, expected):
    """Text stands for itself, an int for its digits, a UUID for its canonical text."""
    actual = item_id(value)

    assert expected == actual
    assert type(actual) is str


def test_id_of_megabytes_is_whole():
    """A long id is neither cut nor refused."""
    value = "é" * 3_000_000

    assert value == item_id(value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "None"),
        (True, "True"),
        (1.0, "1.0"),
        (float("nan"), "nan"),
        (b"a", "decode it"),
        (bytearray(b"a"), "decode it"),
        ("", "empty"),
        ("a\ud800", r"'a\ud800'"),
        (Decimal(1), "Decimal('1')"),
        (["a"], "['a']"),
        (object, "object"),
        pytest.param(10**5000, "more digits", id="huge int"),
        pytest.param([10**5000], "<list>", id="list of a huge int"),
        (Unspeakable(), "Unspeakable"),
    ],
)
def test_anything_else_is_no_id(value, said):
    """What a rerun might write differently is refused, and the message names it and is writable."""
    with pytest.raises(ItemIdInvalid) as refusal:
        item_id(value)

    assert said in str(refusal.value)
    assert str(refusal.value).encode().endswith(b".")


def test_message_about_a_huge_value_is_short():
    """A value of megabytes does not fill the terminal."""
    for value in ("x" * 5_000_000 + "\ud800", b"x" * 5_000_000, [["x" * 1000] * 100] * 100):
        with pytest.raises(ItemIdInvalid) as refusal:
            item_id(value)

        assert len(str(refusal.value)) < 500


@given(st.integers() | st.text(min_size=1))
def test_every_int_and_unicode_text_is_an_id(value):
    """No Unicode text and no int is left out, and equal ids mean equal texts."""
    assert str(value) == item_id(value)


# --- key rules --------------------------------------------------------------------------


Pair = collections.namedtuple("Pair", ["id", "name"])  # noqa: PYI024 - the untyped kind is what we test


@dataclasses.dataclass
class User:
    """An item with attributes."""

    id: int
    name: str


@dataclasses.dataclass(slots=True)
class Slotted:
    """An item with slots."""

    id: int
    name: str


class WithProperty:
    """An item whose id is worked out."""

    @property
    def id(self):
        """Fail in a way that is no missing field."""
        raise ZeroDivisionError("in the property")


def row():
    """Return a sqlite3.Row, which has keys and is no Mapping."""
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    found = connection.execute("select 5 as id, 'Ann' as name").fetchone()
    connection.close()
    return found


ITEMS_WITH_FIELDS = [
    {"id": 5, "name": "Ann"},
    collections.ChainMap({"id": 5}, {"name": "Ann"}),
    Pair(5, "Ann"),
    User(5, "Ann"),
    Slotted(5, "Ann"),
    row(),
]


@pytest.mark.parametrize("item", ITEMS_WITH_FIELDS, ids=lambda item: type(item).__name__)
def test_a_field_is_a_key_or_an_attribute(item):
    """A mapping is asked by key and an object by attribute."""
    rule = key_rule("id")

    assert "field:id" == rule.name
    assert "5" == rule.id_of(item)


@pytest.mark.parametrize("item", ITEMS_WITH_FIELDS, ids=lambda item: type(item).__name__)
def test_a_missing_field_is_named_with_those_present(item):
    """The message shows what the item has, so that a typing error is seen at once."""
    with pytest.raises(ItemIdInvalid, match=r"no field 'ident'. It has (id, name|name, id)\."):
        key_rule("ident").id_of(item)


def test_a_missing_field_of_plain_text_says_what_it_got():
    """A field of a thing without fields is refused in words that fit it."""
    with pytest.raises(ItemIdInvalid, match=r"'plain' is a str and has no field 'ident'"):
        key_rule("ident").id_of("plain")


def test_many_and_long_field_names_are_capped():
    """An item of a thousand fields does not fill the terminal."""
    with pytest.raises(ItemIdInvalid, match="and 990 more") as refusal:
        key_rule("ident").id_of({str(n) * 500: n for n in range(1000)})

    assert len(str(refusal.value)) < 1200


def test_defaultdict_does_not_invent_an_id():
    """A field that a defaultdict lacks is missing; its default would name every item alike."""
    item = collections.defaultdict(int)

    with pytest.raises(ItemIdInvalid, match="no field 'id'"):
        key_rule("id").id_of(item)
    assert {} == item


def test_a_field_that_holds_no_id_is_named():
    """The refusal says which field of which item it is about."""
    with pytest.raises(ItemIdInvalid, match=r"field 'id' of \{'id': None\}: None is no item id"):
        key_rule("id").id_of({"id": None})


def test_error_in_a_property_is_the_callers_own():
    """An error inside the item's own code is not dressed up as a missing field."""
    with pytest.raises(ZeroDivisionError, match="in the property"):
        key_rule("id").id_of(WithProperty())


def test_fields_are_joined_without_ambiguity():
    """Two items with different parts never share an id."""
    rule = key_rule(("a", "b"))

    assert 'fields:["a","b"]' == rule.name
    assert '["a,b","c"]' == rule.id_of({"a": "a,b", "b": "c"})
    assert '["a","b,c"]' == rule.id_of({"a": "a", "b": "b,c"})


parts = st.tuples(st.text(min_size=1), st.text(min_size=1))


@given(parts, parts)
def test_distinct_fields_have_distinct_ids(one, other):
    """Equal ids of a pair of fields mean equal pairs."""
    id_of = key_rule(("a", "b")).id_of
    ids = [id_of({"a": a, "b": b}) for a, b in (one, other)]

    assert (one == other) == (ids[0] == ids[1])


def test_rule_names_never_collide():
    """A field called like another rule is still another rule."""
    rules = ["field:x", 's:["a"]', "a", ("a",), ("a", "b"), ('a","b',), None, by_content]

    assert len(rules) == len({key_rule(rule).name for rule in rules})


@pytest.mark.parametrize(("item", "expected"), [("a", "a"), (5, "5"), (SOME_UUID, str(SOME_UUID))])
def test_without_a_key_the_item_names_itself(item, expected):
    """Text, ints and UUIDs need no key."""
    assert "item" == key_rule(None).name
    assert expected == key_rule(None).id_of(item)


@pytest.mark.parametrize("item", [{"id": 5}, User(5, "Ann"), ["a"], None, 1.5, True, b"a"])
def test_without_a_key_other_items_are_refused(item):
    """An item that is no text or int is refused with the way out."""
    with pytest.raises(ItemIdInvalid):
        key_rule(None).id_of(item)


def test_without_a_key_the_fields_are_offered():
    """The message shows the fields that key= could name."""
    with pytest.raises(ItemIdInvalid, match=r'Its fields: id, name\. Say what names an item: key="id"'):
        key_rule(None).id_of({"id": 5, "name": "Ann"})


def named(item):
    """Return a field, as a user's key function would."""
    return item["id"]


class Namer:
    """A callable object."""

    def __call__(self, item):
        """Return the id."""
        return item["id"]

    def method(self, item):
        """Return the id."""
        return item["id"]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (named, f"{__name__}.named"),
        (functools.partial(named), f"partial({__name__}.named)"),
        (Namer(), f"{__name__}.Namer"),
        (Namer().method, f"{__name__}.Namer.method"),
        (lambda item: item["id"], f"{__name__}.<lambda>"),
        (operator.itemgetter("id"), "operator.itemgetter"),
    ],
)
def test_a_function_is_known_by_its_name(function, expected):
    """The log stores a name that is the same in the next process: never an address."""
    rule = key_rule(function)

    assert f"function:{expected}" == rule.name
    assert "5" == rule.id_of({"id": 5})


@pytest.mark.parametrize(("function", "expected"), [(str, "builtins.str"), (str.lower, "builtins.str.lower")])
def test_a_builtin_is_known_by_its_name(function, expected):
    """Types and methods of built-in types have names too."""
    assert f"function:{expected}" == key_rule(function).name
    assert "a" == key_rule(function).id_of("a")


def test_what_a_function_returns_must_be_an_id():
    """A key function that returns None for an item is refused by its name."""
    with pytest.raises(ItemIdInvalid, match=r"key function .*named returned no id\. None is no item id"):
        key_rule(named).id_of({"id": None})


def test_error_of_a_key_function_is_unchanged():
    """The caller's own error reaches the caller."""
    with pytest.raises(KeyError, match="id"):
        key_rule(named).id_of({})


@pytest.mark.parametrize("key", [5, b"id", ["id"], (), ("id", 5), {"id"}, "\ud800", ("a", "\ud800")])
def test_another_kind_of_key_is_a_type_error(key):
    """A mistaken key= is refused before any item is seen."""
    with pytest.raises(TypeError, match="Give a field name"):
        key_rule(key)


# --- by_content -----------------------------------------------------------------------------

GOLDEN_CONTENTS = [
    ({}, "bc57b38a701b68a282ad0e7c19824cbc6c7474eb7e944ca819efde8ffd085fe5"),
    ("a", "ef2ebf1b12e7051a4ea304c42aaba0f014d6262d9b21786fa173754657402c4b"),
    (
        {"b": [1, 1.0, True, None, "1", -0.5, 1e300], "a": {"é\U0001f600\n": []}, "": 2**70},
        "576461fbd61c4a861dc61f8cc147dc1df0c5a83342e1ca8ae59fe0ae2713fed0",
    ),
]


@pytest.mark.parametrize(("item", "expected"), GOLDEN_CONTENTS)
def test_content_hash_never_changes(item, expected):
    """The hash of a content is the same for ever; a change would redo finished items."""
    assert expected == by_content(item)
    assert ("content", expected) == (key_rule(by_content).name, key_rule(by_content).id_of(item))


def test_content_hash_does_not_depend_on_the_hash_seed():
    """Another process, whose sets and dicts are ordered otherwise, says the same."""
    program = "from wal_runner.core.identity import by_content; print(by_content({'x': 1, 'y': ['z']}))"
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }

    assert {by_content({"y": ["z"], "x": 1}).encode()} == said


def test_order_of_fields_is_no_content_and_order_of_a_list_is():
    """Dicts are equal in any order, lists are not, and a tuple is a list."""
    assert by_content({"a": 1, "b": 2}) == by_content({"b": 2, "a": 1})
    assert by_content([1, 2]) != by_content([2, 1])
    assert by_content([1, (2, 3)]) == by_content((1, [2, 3]))


def test_look_alikes_are_different_contents():
    """1, 1.0, True and "1" are four items, alone and inside others."""
    alike = [1, 1.0, True, "1", "true", None, "null", [1], {"1": 1}, "", [], {}, [[]], 0, 0.0, False]

    assert len(alike) == len({by_content(item) for item in alike})
    assert len(alike) == len({by_content({"x": item}) for item in alike})


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def typed(value):
    """Return *value* with its types written out, so that 1 == 1.0 == True no longer holds."""
    if isinstance(value, dict):
        return ("dict", tuple(sorted((name, typed(part)) for name, part in value.items())))
    if isinstance(value, list):
        return ("list", tuple(typed(part) for part in value))
    return (type(value).__name__, repr(value))


@given(json_like, json_like)
def test_contents_are_equal_exactly_when_their_hashes_are(one, other):
    """Every JSON-like item has a hash, and only equal content shares it."""
    assert (typed(one) == typed(other)) == (by_content(one) == by_content(other))
    assert identity.KEY_LENGTH == len(by_content(one))


def circular():
    """Return a list that holds itself."""
    items = []
    items.append(items)
    return items


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({1: "a"}, "dict key 1"),
        ({"a": {"b": b"x"}}, "b'x' in b is a bytes"),
        ([float("inf")], "no JSON number"),
        (float("nan"), "no JSON number"),
        ({"a": "\ud800"}, "lone surrogate"),
        # Written as escapes, these two surrogates would be the same text as the emoji.
        ("\ud83d\ude00", "lone surrogate"),
        ({"\udcff": 1}, "lone surrogate"),
        ({"a": {"b"}}, "is a set"),
        (User(5, "Ann"), "is a User"),
        pytest.param(10**5000, "more digits", id="huge int"),
        (circular(), "contains itself"),
    ],
)
def test_content_that_json_cannot_say_is_refused(item, said):
    """What JSON would drop, invent or write in two ways has no content hash."""
    with pytest.raises(ItemIdInvalid) as refusal:
        by_content(item)

    assert said in str(refusal.value)
    assert str(refusal.value).encode().endswith(b".")


# --- idempotency keys ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_parts", "expected"),
    [
        (("log", "item", 0), "71735a42426bc3948d2d80c1f3c931c27cc269859b70c9e05e313e6e2c151e8a"),
        (("6f1c", "né\U0001f600", 2**40), "ef1b1c7696dd5381e500d529de9d49431ead5af2e8ce35d60e72a3c7f16b01f7"),
    ],
)
def test_idempotency_key_never_changes(given_parts, expected):
    """A key that another server remembers is made again exactly, in every later version."""
    assert expected == idempotency_key(*given_parts)


key_parts = st.tuples(st.text(), st.text(), st.integers(min_value=0, max_value=2**63))


@given(key_parts, key_parts)
def test_distinct_items_and_generations_have_distinct_keys(one, other):
    """Only the same log, item and generation give the same key."""
    keys = [idempotency_key(*one), idempotency_key(*other)]

    assert (one == other) == (keys[0] == keys[1])
    assert identity.KEY_LENGTH == len(keys[0])


@given(st.text(), st.integers(min_value=0, max_value=20))
def test_where_the_log_id_ends_matters(text, cut):
    """Moving the boundary between log id and item id gives another key."""
    here, there = (text[:cut], text[cut:]), (text[: cut + 1], text[cut + 1 :])
    keys = [idempotency_key(*here, 0), idempotency_key(*there, 0)]

    assert (here == there) == (keys[0] == keys[1])
