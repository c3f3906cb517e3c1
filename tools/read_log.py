"""Read a log without wal_runner: check that it adds up, and print what is in it.

Shares no code with the package: names, order and defaults of all fields come from the tables of
docs/reference/on-disk-format.md. Takes the log lock, writes nothing, and keeps the whole log in memory.
"""

import argparse
import fcntl
import hashlib
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import msgpack
from lmdb.verify import VerifyError, verify


PAGE = (Path(__file__).parent.parent / "docs/reference/on-disk-format.md").read_text()
ROW = re.compile(r"^\| (?:(\d+) \| )?(\w+|open attempt) \| ([^|]*)\| ([^|]*)\|$", re.MULTILINE)
LAYOUTS = {name: [f for f in f"{one}, {two}".split(", ") if f.strip()] for _, name, one, two in ROW.findall(PAGE)}
EVENTS = {int(number): name for number, name, _, _ in ROW.findall(PAGE) if number}
TAGS = {int(tag): at for tag, *at in re.findall(r"^\| tag (\d+) \| ([^|]+) \| ([^|]+) \|", PAGE, re.MULTILINE)}
FORMAT_MAX, NIL = 2, b"\xc0"
PENDING, STARTED, SUCCEEDED, FAILED, IN_DOUBT, ABANDONED = range(6)
COMPLETE = {"ItemStarted": STARTED, "ItemReopened": PENDING, "ItemHeld": IN_DOUBT, "ItemGivenUp": ABANDONED}
OUTCOMES = {"ItemSucceeded": SUCCEEDED, "ItemFailed": FAILED, "ItemReleased": PENDING, "ItemInterrupted": IN_DOUBT}
OUTCOMES |= {"LateOutcome": SUCCEEDED, "ItemReconciled": PENDING}  # unless its error or its decision says otherwise
ITEM = ("status", "start_seq", "attempts", "generation", "result")


def check(holds: object, message: str) -> None:
    """Raise ValueError with *message* unless *holds*."""
    if not holds:
        raise ValueError(message)


def named(layout: str, values: list[Any]) -> dict[str, Any]:
    """Return *values* by the field names of *layout*, trailing defaults filled in."""
    fields = [field.strip().partition(" = ") for field in LAYOUTS[layout]]
    check(len(values) <= len(fields), f"{layout} has {len(values)} fields, so it is too new for this reader")
    check(all(mark for _, mark, _ in fields[len(values) :]), f"{layout} has only {len(values)} fields")
    defaults = [json.loads(default.replace("nil", "null")) for *_, default in fields[len(values) :]]
    return dict(zip([name for name, *_ in fields], [*values, *defaults], strict=True))


def unsealed(key: bytes, value: bytes) -> list[Any]:
    """Return what is packed in *value*, before the CRC-32 of key and body."""
    check(value[-4:] == zlib.crc32(key + value[:-4]).to_bytes(4, "little"), f"the checksum of {key!r} does not fit")
    (unpacker := msgpack.Unpacker()).feed(value[:-4])
    return list(unpacker)


def readable(value: object) -> Any:  # noqa: ANN401 - JSON
    """Return an unpacked value as JSON shows it: bytes as hex, a tagged value as {its type: what it holds}."""
    if isinstance(value, msgpack.ExtType):
        inner = msgpack.unpackb(value.data, strict_map_key=False) if "msgpack" in TAGS[value.code][1] else value.data
        return {TAGS[value.code][0]: readable(inner)}
    if isinstance(value, dict):
        return {str(readable(key)): readable(inner) for key, inner in value.items()}
    return value.hex() if isinstance(value, bytes) else [*map(readable, value)] if isinstance(value, list) else value


def events_of(log: dict[bytes, bytes], seq: int, chain: bytes) -> Iterator[dict[str, Any]]:
    """Yield every event after *seq*, where the hash is *chain*."""
    for key, value in log.items():
        check(key == (seq + 1).to_bytes(8, "big"), f"event {seq + 1} is missing")
        chain = hashlib.blake2b(chain + key + value[16:], digest_size=16).digest()
        check(chain == value[:16], f"the chain is broken at event {seq + 1}")
        session, time_ns, *arrays = msgpack.unpackb(value[16:])
        for number, *values in arrays:
            seq += 1
            check(number in EVENTS, f"event {seq} has type {number}, so it is too new for this reader")
            fields = named(EVENTS[number], values)
            if (first := next(iter(fields))) in {"start_seq", "effect_seq"}:
                fields[first] = seq - fields[first]  # stored as the distance back
            yield {"seq": seq, "session": session, "time_ns": time_ns, "event": EVENTS[number], "fields": fields}


def fold(event: dict[str, Any], items: dict[str, list[Any]], attempts: dict[int, list[Any]]) -> None:
    """Apply *event* to *items*, id: [status, start, attempts, generation, result], and to the open *attempts*."""
    kind, at, start = event["event"], event["fields"], event["fields"].get("start_seq", event["seq"])
    if kind in COMPLETE or kind == "ItemAttested":
        status, counts = COMPLETE.get(kind, at.get("status")), [at.get("attempts", at.get("attempt")), at["generation"]]
        items[at["item_id"]] = [status, start, *counts, at.get("result") if status == SUCCEEDED else None]
        if status in {STARTED, IN_DOUBT}:
            attempts[start] = [at["item_id"], event["session"], *counts]
    elif kind == "SessionLost":
        for lost, (item_id, session, *counts) in attempts.items():
            items.update({item_id: [IN_DOUBT, lost, *counts, None]} if session == at["session"] else {})
    elif kind in OUTCOMES and start in attempts:
        status = ABANDONED if at.get("final") else FAILED if kind == "LateOutcome" and at["error"] else OUTCOMES[kind]
        status = (SUCCEEDED, PENDING, ABANDONED)[at["decision"] - 1] if kind == "ItemReconciled" else status
        item_id, _, *counts = attempts[start] if status == IN_DOUBT else attempts.pop(start)
        items[item_id] = [status, start, *counts, at.get("result")]


def read(folder: Path) -> list[dict[str, Any]]:
    """Return all that is in the log, checked: meta, events, open attempts, rows, and the items in the end."""
    body, _, crc = (folder / "IDENTITY").read_bytes().rpartition(b"crc ")
    check(body.startswith(b"wal_runner log\n") and crc == b"%08x\n" % zlib.crc32(body), "IDENTITY is damaged")
    with (folder / "GATE").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        head = (folder / "HEAD").read_bytes() if (folder / "HEAD").exists() else b""
        check(not (found := [*verify(str(folder / "data.mdb"), subdir=False)]), f"the pages are damaged: {found[:1]}")
        env = lmdb.open(str(folder / "data.mdb"), subdir=False, readonly=True, lock=False, max_dbs=8)
        with env, env.begin() as txn:
            dbs = [env.open_db(name, txn, create=False) for name in (b"log", b"items", b"open", b"meta")]
            log, rows, opened, meta = (dict(txn.cursor(db)) for db in dbs)
    check(b"\nlog_id " + meta.pop(b"log_id") + b"\n" in body, "data.mdb is of another log than IDENTITY")
    known = {key.decode(): unsealed(key, value)[0] for key, value in meta.items()}
    check(known["format"] <= FORMAT_MAX, f"format {known['format']} is too new for this reader")
    events = list(events_of(log, *known["base"]))
    end = [events[-1]["seq"], [*log.values()][-1][:16]] if events else known["base"]
    is_whole = head[-4:] == zlib.crc32(head[:-4]).to_bytes(4, "little")  # a torn HEAD proves nothing
    seen = [int.from_bytes(head[4:12], "little"), head[12:28]] if is_whole else [-1]
    check(seen[0] < end[0] or seen == end, f"the log ends at {end[0]} and HEAD saw {seen[0]}: it went back")
    sums = [len(rows), sum(int.from_bytes(value[-4:], "little") for value in rows.values()) % 2**64]
    check(known["rows"] == sums, f"the rows add up to {sums}, and {known['rows']} were written")
    state, opens = known.pop("base_state", (b"", []))
    found = [{"kind": "open", **named("open attempt", *unsealed(key, value))} for key, value in opened.items()]
    for key, value in rows.items():
        row, *long_id = unsealed(key, value)
        found.append({"kind": "row", "item_id": (long_id or [key.decode()])[0], **named("row", row)})
    items = {row["item_id"]: [row[name] for name in ITEM] for row in found if row["kind"] == "row"}
    attempts = {start: [*row[:2], *(row[3:5] + [1, 0][len(row[3:5]) :])] for start, row in opens}
    for event in events[unsealed(b"base_state", state)[0][0] - known["base"][0] if state else 0 :]:
        fold(event, items, attempts)
    for item_id, item in items.items():
        unpacked = msgpack.unpackb(item[-1] or NIL, strict_map_key=False)
        found.append({"kind": "item", "item_id": item_id, **dict(zip(ITEM, item, strict=True)), "value": unpacked})
    snapshot = named("snapshot", known["snapshot"]) if "snapshot" in known else None
    return [{"kind": "meta", **known, "snapshot": snapshot}, *({"kind": "event", **event} for event in events), *found]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, epilog="example: python tools/read_log.py emails.wal --json")
    parser.add_argument("log", type=Path, help="the log's folder")
    parser.add_argument("--json", action="store_true", help="print JSON lines instead of text")
    options = parser.parse_args()
    try:
        entries = read(options.log)
    except (ValueError, LookupError, TypeError, OSError, VerifyError, lmdb.Error, msgpack.UnpackException) as error:
        parser.exit(1, f"{options.log} does not add up, or is not a log: {error}\n")
    for entry in map(readable, entries):
        print(json.dumps(entry) if options.json else " ".join(f"{key}={value}" for key, value in entry.items()))
