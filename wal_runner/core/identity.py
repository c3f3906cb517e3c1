"""What an item is called: ids, key rules, content hashes and idempotency keys.

Pure, standard library only; anything above `core` may import it. Invariant: the texts and
hashes made here stand in logs and at other people's servers, so they are the same on every
Python version, machine and hash seed. Changing one redoes finished items: golden tests hold them.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import reprlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from wal_runner.core.shown import a_or_an
from wal_runner.errors import ItemIdInvalid, listed


HASH_BYTES = 32
KEY_LENGTH = 2 * HASH_BYTES

# blake2b's `person` keeps the two kinds of hash apart, whatever their input.
CONTENT_PERSON = b"walrun-content"
IDEMPOTENCY_PERSON = b"walrun-idem"

# Lengths and numbers are framed in 8 bytes, so that no two inputs frame to the same bytes.
FRAME_BYTES = 8

REPR_LENGTH_MAX = 80
FIELDS_SHOWN_MAX = 10

ID_ADVICE = "An id is text, an int or a UUID"


@dataclass(frozen=True, slots=True)
class KeyRule:
    """How a log names its items: *name* as it stands in the log, *id_of* as it is applied."""

    name: str
    id_of: Callable[[object], str]

    @property
    def is_item_itself(self) -> bool:
        """Say whether items are their own ids, so that plain text needs no call to be named."""
        return self.id_of is _id_of_item_itself


def item_id(value: object) -> str:
    """Return *value* as the text that names an item in the log.

    Text stands for itself, an int for its decimal digits, a UUID for its canonical text, so
    ``5`` and ``"5"`` are one id. Raises `ItemIdInvalid` for everything else: an id that a
    rerun might write differently (a float, an object's repr) would run its item twice.
    """
    if type(value) is str and value and value.isascii():
        return value
    if isinstance(value, str):
        return _text_id(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return _int_id(value)
    if isinstance(value, uuid.UUID):
        return str(value)
    raise ItemIdInvalid(f"{_capped(value)} is no item id: it is {_kind(value)}. {ID_ADVICE}{_cure(value)}.")


def key_rule(key: object) -> KeyRule:
    """Return the rule that the caller's ``key=`` stands for.

    None takes the item itself, a str one field, a tuple of str several fields, `by_content`
    the whole content, and any other callable what it returns. A field is looked up as
    ``item[name]`` in a mapping and as an attribute elsewhere.
    """
    if key is None:
        return KeyRule("item", _id_of_item_itself)
    if isinstance(key, str):
        return KeyRule(f"field:{_field_name(key)}", functools.partial(_id_by_field, key))
    if isinstance(key, tuple) and key and all(isinstance(name, str) for name in key):
        names = tuple(_field_name(name) for name in key)
        return KeyRule(f"fields:{_compact_json(names)}", functools.partial(_id_by_fields, names))
    if key is by_content:
        return KeyRule("content", by_content)
    if callable(key):
        return KeyRule(f"function:{_callable_name(key)}", functools.partial(_id_by_function, key))
    raise TypeError(
        f"key={_capped(key)} names no item. "
        'Give a field name ("id"), a tuple of field names, a function of the item, or by_content.'
    )


def by_content(item: object) -> str:
    """Name *item* by a 256-bit hash of its content, as 64 hex characters.

    The content is what JSON can say: dicts with text keys (in any order), lists, tuples
    (the same as lists), text, ints, finite floats, bools and None. ``1``, ``1.0``, ``True`` and
    ``"1"`` are four contents. Two equal items are one item: the second is a duplicate.
    """
    try:
        _check_content(item, "the item")
        content = json.dumps(item, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    except ItemIdInvalid:
        raise  # it is a ValueError too, and must not be taken for the one below
    except RecursionError:
        raise ItemIdInvalid(
            "The item contains itself, or is nested too deeply to hash. Give key= a field that names it."
        ) from None
    except UnicodeEncodeError as error:
        raise ItemIdInvalid(
            f"The item holds a lone surrogate (at {error.start} of its JSON), which is no Unicode text. "
            "Decode it properly, or give key= a field that names it."
        ) from None
    except ValueError:
        # Python refuses to write ints of thousands of digits in decimal.
        raise ItemIdInvalid(
            "The item holds an int with more digits than Python writes. Give key= a field that names it."
        ) from None
    return hashlib.blake2b(content, digest_size=HASH_BYTES, person=CONTENT_PERSON).hexdigest()


def idempotency_key(log_id: str, item_id: str, generation: int) -> str:
    """Return the 64 hex characters under which the outside world may recognise a repeat.

    The same for every attempt of an item, and new after a reopening, which starts a generation.
    """
    digest = hashlib.blake2b(digest_size=HASH_BYTES, person=IDEMPOTENCY_PERSON)
    for text in (log_id.encode(), item_id.encode()):
        digest.update(len(text).to_bytes(FRAME_BYTES, "big"))
        digest.update(text)
    digest.update(generation.to_bytes(FRAME_BYTES, "big"))
    return digest.hexdigest()


# --- Ids ------------------------------------------------------------------------


def _text_id(value: str) -> str:
    if not value:
        raise ItemIdInvalid(
            f"An item has the empty text as its id. {ID_ADVICE} that names one item; "
            "give key= a field that is never empty."
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ItemIdInvalid(
            f"{_capped(value)} is no item id: character {error.start} is a lone surrogate. "
            "Decode it properly, or name the item by something else."
        ) from None
    # A subclass (an Enum of str) may write itself differently; what it *is* names the item.
    return str.__str__(value)


def _int_id(value: int) -> str:
    try:
        return int.__repr__(value)
    except ValueError:
        raise ItemIdInvalid(
            f"An int of {value.bit_length()} bits has more digits than Python writes. Give the id as text."
        ) from None


def _kind(value: object) -> str:
    return "None" if value is None else a_or_an(type(value).__name__)


def _cure(value: object) -> str:
    if value is None:
        return "; give key= a field that every item has"
    if isinstance(value, (bytes, bytearray)):
        return '; decode it, as in key=lambda item: item["id"].decode()'
    if isinstance(value, float):
        return "; write the number as text or as an int"
    if isinstance(value, bool):
        return "; two values cannot name many items"
    return "; turn it into text that is the same on every run"


# --- Rules ------------------------------------------------------------------------


def _id_of_item_itself(item: object) -> str:
    if type(item) is str and item and item.isascii():
        return item
    if isinstance(item, (str, int, uuid.UUID)):
        return item_id(item)
    names = _fields_of(item)
    fields = f" Its fields: {listed(names, FIELDS_SHOWN_MAX)}." if names else ""
    raise ItemIdInvalid(
        f"{_capped(item)} does not name itself: it is {_kind(item)}.{fields} "
        'Say what names an item: key="id" for a field, a function of the item, or by_content.'
    )


def _id_by_field(name: str, item: object) -> str:
    value = _field(item, name)
    try:
        return item_id(value)
    except ItemIdInvalid as error:
        raise ItemIdInvalid(f"The field {name!r} of {_capped(item)}: {error}") from None


def _id_by_fields(names: Sequence[str], item: object) -> str:
    # JSON quotes the parts, so ("a,b", "c") is never ("a", "b,c").
    return _compact_json([_id_by_field(name, item) for name in names])


def _id_by_function(function: Callable[[object], object], item: object) -> str:
    value = function(item)  # what it raises is the caller's own error, and goes to them unchanged
    try:
        return item_id(value)
    except ItemIdInvalid as error:
        raise ItemIdInvalid(f"The key function {_callable_name(function)} returned no id. {error}") from None


def _field(item: object, name: str) -> object:
    try:
        # A defaultdict would invent a value, the same for every item that lacks the field.
        if isinstance(item, Mapping):
            if name in item:
                return item[name]
        elif hasattr(item, "keys") and hasattr(item, "__getitem__"):  # sqlite3.Row is no Mapping
            return item[name]
        else:
            return getattr(item, name)
    except (KeyError, IndexError, AttributeError) as error:
        raise _missing_field(item, name) from error
    raise _missing_field(item, name)


def _missing_field(item: object, name: str) -> ItemIdInvalid:
    names = _fields_of(item)
    if not names:
        return ItemIdInvalid(f"{_capped(item)} is {_kind(item)} and has no field {name!r}. Give another key=.")
    return ItemIdInvalid(
        f"An item has no field {name!r}. It has {listed(names, FIELDS_SHOWN_MAX)}. "
        "Give key= a field that every item has."
    )


def _fields_of(item: object) -> list[str]:
    if isinstance(item, Mapping) or (hasattr(item, "keys") and hasattr(item, "__getitem__")):
        names: Sequence[object] = list(item.keys())
    else:
        names = getattr(item, "_fields", None) or list(getattr(item, "__dict__", ()))
        names = names or getattr(type(item), "__slots__", ())
    return [str(name)[:REPR_LENGTH_MAX] for name in names]


def _field_name(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise TypeError(f"key={_capped(name)} is no Unicode text. Give a field name that is.") from None
    return name


def _callable_name(function: object) -> str:
    if isinstance(function, functools.partial):
        return f"partial({_callable_name(function.func)})"
    named = function if hasattr(function, "__qualname__") else type(function)
    # A method of a built-in type (str.lower) has no module of its own.
    module = getattr(named, "__module__", None) or getattr(named, "__objclass__", type(named)).__module__
    return f"{module}.{getattr(named, '__qualname__', type(named).__qualname__)}"


# --- Content ------------------------------------------------------------------------


def _check_content(value: object, where: str) -> None:
    """Refuse what JSON would drop, invent or write in two ways."""
    if value is None or isinstance(value, (str, int)):
        return
    if isinstance(value, float):
        if math.isfinite(value):
            return
        raise ItemIdInvalid(f"{value!r} in {where} is no JSON number. Leave it out, or give key= a field.")
    if isinstance(value, (list, tuple)):
        for index, part in enumerate(value):
            _check_content(part, f"[{index}]")
        return
    if not isinstance(value, dict):
        raise ItemIdInvalid(
            f"{_capped(value)} in {where} is {_kind(value)}, and by_content hashes only what JSON can say. "
            "Turn it into a dict, a list or text first, or give key= a field."
        )
    for name, part in value.items():
        if not isinstance(name, str):
            # JSON would write the keys 1 and "1" alike.
            raise ItemIdInvalid(
                f"The dict key {_capped(name)} in {where} is {_kind(name)}; by_content takes text keys. "
                "Write the key as text, or give key= a field."
            )
        _check_content(part, name)


def _compact_json(texts: Sequence[str]) -> str:
    return json.dumps(texts, separators=(",", ":"), ensure_ascii=False)


# --- Words for messages ----------------------------------------------------------------

_shortener = reprlib.Repr()
_shortener.maxstring = _shortener.maxother = REPR_LENGTH_MAX


def _capped(value: object) -> str:
    """Write *value* for a message, however large it is or badly its repr behaves."""
    try:
        text = _shortener.repr(value)
    except Exception:  # noqa: BLE001 - a message must not fail for the sake of its own words
        return f"<{type(value).__name__}>"
    return text if len(text) <= 2 * REPR_LENGTH_MAX else text[: 2 * REPR_LENGTH_MAX] + "..."
