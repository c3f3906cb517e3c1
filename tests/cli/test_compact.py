"""``walrun compact``: less history, the same items."""

from tests.cli.terminal import files_of, walrun
from wal_runner import Runner, Status


def done_log(path, count=5_000):
    """Make a log of *count* items that are done."""
    with Runner(path) as runner:
        runner.run(range(count), lambda _number: None)
    return path


def test_compact_gives_disk_space_back(tmp_path):
    """The events go and the file shrinks; every item is still known."""
    log = done_log(tmp_path / "log.wal")
    before = (log / "data.mdb").stat().st_size

    ended = walrun("compact", log)

    assert (0, "") == (ended.code, ended.err)
    assert "events dropped, up to event " in ended.out
    assert "kept: 5,000 items, 0 of them in doubt" in ended.out
    assert " MB -> " in ended.out or " KB -> " in ended.out
    assert (log / "data.mdb").stat().st_size < before
    with Runner(log) as runner:
        assert 5_000 == runner.run(range(5_000), lambda _number: 1 / 0).skipped


def test_dry_run_says_the_same_and_writes_nothing(crashed):
    """What would be done is what is then done, and until then not a byte is changed."""
    before = files_of(crashed)
    planned = walrun("compact", "--dry-run", "--json", crashed).json
    assert before == files_of(crashed)

    did = walrun("compact", "--json", crashed).json

    assert (True, False) == (planned["dry_run"], did["dry_run"])
    for name in ("path", "items", "in_doubt_kept", "rewritten", "bytes_before"):
        assert planned[name] == did[name], name
    # Recording the dead session and opening our own are events too.
    assert planned["events_dropped"] <= did["events_dropped"] <= planned["events_dropped"] + 5


def test_what_is_in_doubt_is_kept_whole(crashed):
    """After it inspect still knows which session died, when, and why each item is in doubt."""
    assert 0 == walrun("resolve", crashed, "-", "--abandon").code  # which records the death
    before = walrun("inspect", "--json", crashed).json

    assert 0 == walrun("compact", crashed).code

    after = walrun("inspect", "--json", crashed).json
    assert [1] == [session["session"] for session in after["sessions"]]
    assert before["sessions"] == after["sessions"]
    assert [{**item, "age_s": 0} for item in before["in_doubt"]] == [{**item, "age_s": 0} for item in after["in_doubt"]]


def test_living_session_keeps_the_file_its_size(tmp_path):
    """Somebody else has the file open: the history goes, and the words say why the size does not."""
    log = done_log(tmp_path / "log.wal")
    with Runner(log) as runner:
        ended = walrun("compact", log)
        assert Status.SUCCEEDED is runner.status(1)
        assert 5_000 == runner.run(range(5_000), lambda _number: 1 / 0).skipped

    assert 0 == ended.code
    assert "The file keeps its size of " in ended.out
    assert "Sessions 2 are using " in ended.out
    assert 0 == walrun("verify", log).code
