"""tools/read_log.py, which shares no code with the package, reads what the package reads."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import golden
from tests.support.folded import loaded, stored_rows
from tests.support.logs import make_log
from wal_runner.core.arrays import events_of
from wal_runner.core.items import item_of
from wal_runner.log import opening
from wal_runner.log.results import decode_result
from wal_runner.recovery.compact import compact
from wal_runner.recovery.loading import records_after
from wal_runner.recovery.recover import open_writer


READER = Path(__file__).parents[2] / "tools" / "read_log.py"
LINES_MAX = 149
EXT_MARKS = {0xC7, 0xC8, 0xC9, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8}


def run(path, *options):
    """Run the reader on *path*."""
    command = [sys.executable, READER, path, *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def read(path):
    """Return what the reader says of the log at *path*, by kind."""
    done = run(path, "--json")
    found = {kind: [] for kind in ("meta", "event", "open", "row", "item")}
    for line in done.stdout.splitlines():
        entry = json.loads(line)
        found[entry.pop("kind")].append(entry)

    assert (0, "") == (done.returncode, done.stderr)
    return found


def plain(value):
    """Return *value* as JSON shows it, bytes as hex."""
    if isinstance(value, bytes):
        return value.hex()
    return [plain(part) for part in value] if isinstance(value, (list, tuple)) else value


def agrees_with_the_package(path):
    """Compare events, rows, open attempts and final items of the log at *path*."""
    found = read(path)
    log = opening.open_for_reading(path)
    state, rows, base = loaded(log), stored_rows(log), log.base()
    events = [
        {
            "seq": seq,
            "session": record.session,
            "time_ns": record.time_ns,
            "event": type(event).__name__,
            "fields": {name: plain(value) for name, value in event._asdict().items()},
        }
        for record in records_after(log, base[0])
        for seq, event in events_of(record)
    ]
    opening.close(log)

    assert events == found["event"]
    assert {i: plain(item_of(row)) for i, row in rows.items()} == {
        r.pop("item_id"): [*r.values()] for r in found["row"]
    }
    for item in found["item"]:
        if not is_tagged(bytes.fromhex(item["result"] or "c0")):
            item["value"] = repr(item["value"])
        else:
            assert ["tagged"] == list(item.pop("value"))
    assert {item_id: shown(state.item(item_id)) for item_id, _ in state.touched()} == {
        item.pop("item_id"): item for item in found["item"]
    }
    assert [plain(base)] == [meta["base"] for meta in found["meta"]]


def shown(item):
    """Return *item* as the reader shows it in the end; a result with tags is compared by its bytes."""
    fields = {name: plain(getattr(item, name)) for name in ("status", "start_seq", "attempts", "generation", "result")}
    return fields if is_tagged(item.result) else {**fields, "value": repr(plain(decode_result(item.result)))}


def is_tagged(result):
    """Tell whether a packed *result* is an ext value."""
    return result is not None and result[0] in EXT_MARKS


@pytest.mark.parametrize("name", golden.names())
def test_reader_agrees_on_a_golden_log(name, tmp_path):
    """The same events, rows and final items, read by the page's tables and by the package."""
    agrees_with_the_package(golden.lay_out(name, tmp_path / "golden.wal"))


def test_reader_shows_tags_by_their_names(tmp_path):
    """A result with tags is shown with the name of each, whatever stands in it."""
    found = read(golden.lay_out("v2/tagged-results", tmp_path / "golden.wal"))
    values = {item["item_id"]: item["value"] for item in found["item"]}

    assert {"tagged": {"tuple": [1, {"tuple": ["a", ["62"]]}]}} == values["tuple"]
    assert {"tagged": {"date": "07ea0b1c"}} == values["date"]
    assert {"tagged": {"named value": ["http.HTTPStatus", {"name": "OK", "value": 200}]}} == values["named value"]


@pytest.mark.parametrize("compacted", [False, True], ids=["whole", "compacted"])
def test_reader_agrees_on_a_log_of_today(compacted, tmp_path):
    """A snapshot with a tail behind it; and the same log after a compaction dropped the events before."""
    make_log(tmp_path / "x.wal")
    if compacted:
        compact(tmp_path / "x.wal")

    agrees_with_the_package(tmp_path / "x.wal")


@pytest.mark.parametrize("file_name", ["IDENTITY", "HEAD", "data.mdb"])
def test_reader_notices_a_changed_byte(file_name, tmp_path):
    """Damage ends it with exit code 1 and a sentence; a damaged HEAD proves nothing and is passed over."""
    make_log(tmp_path / "x.wal")
    path = tmp_path / "x.wal" / file_name
    content = bytearray(path.read_bytes())
    content[content.find(b"done-1") if file_name == "data.mdb" else 9] ^= 1
    path.write_bytes(content)
    done = run(tmp_path / "x.wal")

    assert file_name == "HEAD" or (1, "") == (done.returncode, done.stdout)
    assert file_name == "HEAD" or "does not add up" in done.stderr


def test_reader_notices_that_the_log_went_back(tmp_path):
    """A HEAD that has seen more than the log holds is refused."""
    make_log(tmp_path / "x.wal")
    old = (tmp_path / "x.wal" / "data.mdb").read_bytes()
    writer, _ = open_writer(tmp_path / "x.wal", must_exist=True)
    writer.close()
    (tmp_path / "x.wal" / "data.mdb").write_bytes(old)
    done = run(tmp_path / "x.wal")

    assert 1 == done.returncode
    assert "it went back" in done.stderr


def test_reader_shares_no_code_and_stays_short():
    """It imports nothing of the package, and one sitting is enough to read it."""
    text = READER.read_text()
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }

    assert {"lmdb", "msgpack"} == imported - sys.stdlib_module_names
    assert len(text.splitlines()) <= LINES_MAX
