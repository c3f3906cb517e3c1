"""``walrun retry``: items that run once more, in a new generation, on record."""

import pytest

from tests.cli.terminal import walrun
from wal_runner import Runner, Status


def item_of(log, item_id):
    """Give an item."""
    with Runner.open_read(log) as view:
        return view.item(item_id)


def test_failed_item_is_reopened(crashed):
    """It is pending in the next generation, which gives it a new idempotency key."""
    ended = walrun("retry", crashed, "user-12")

    assert (0, "") == (ended.code, ended.err)
    assert ended.out.startswith("1 item reopened, ")
    assert (Status.PENDING, 1) == (item_of(crashed, "user-12").status, item_of(crashed, "user-12").generation)


def test_all_failed_are_reopened(tmp_path):
    """One word reopens whatever failed, and nothing else."""
    with Runner(tmp_path / "log.wal") as runner:
        runner.run(range(5), lambda number: 1 / (number % 2))

    ended = walrun("retry", "--all-failed", "--json", tmp_path / "log.wal")

    assert 3 == ended.json["reopened"]
    assert [("0", "pending", 1), ("2", "pending", 1), ("4", "pending", 1)] == [
        (item["item_id"], item["status"], item["generation"]) for item in ended.json["items"]
    ]
    assert Status.SUCCEEDED is item_of(tmp_path / "log.wal", "1").status


def test_nothing_failed_is_no_error(tmp_path):
    """Where nothing failed, nothing is reopened."""
    with Runner(tmp_path / "log.wal") as runner:
        runner.run(["a"], str)

    ended = walrun("retry", "--all-failed", tmp_path / "log.wal")

    assert (0, "0 items reopened") == (ended.code, ended.out[:16])


def test_items_that_succeeded_are_refused_unless_asked_for(crashed):
    """To repeat an effect takes a word of its own; without it none of the items is reopened."""
    refused = walrun("retry", crashed, "user-12", "user-3")
    assert (1, "") == (refused.code, refused.out)
    assert "(`--succeeded`)" in refused.err
    assert Status.FAILED is item_of(crashed, "user-12").status

    assert 0 == walrun("retry", crashed, "user-12", "user-3", "--succeeded").code
    assert Status.PENDING is item_of(crashed, "user-3").status


def test_item_in_doubt_is_refused(crashed):
    """A doubt is settled first; reopening would be a guess."""
    ended = walrun("retry", crashed, "user-15")

    assert (1, "") == (ended.code, ended.out)
    assert "is in doubt: settle that first" in ended.err


def test_ids_come_from_stdin_and_the_reason_is_on_record(crashed):
    """Who asked for it, and why, stays in the history."""
    ended = walrun("retry", crashed, "-", "--note", "typo mended", "--by", "ada", stdin="user-12\n")
    assert 0 == ended.code

    [event] = [line for line in walrun("replay", "--json", crashed).json_lines if line["type"] == "item_reopened"]

    assert ("user-12", "failed", 1, "ada", "typo mended") == tuple(
        event[name] for name in ("item_id", "before", "generation", "by", "note")
    )


@pytest.mark.parametrize("arguments", [(), ("user-12", "--all-failed")], ids=["neither", "both"])
def test_ids_or_all_failed(arguments, crashed):
    """One of the two, or it is a usage error."""
    ended = walrun("retry", crashed, *arguments)

    assert (2, "") == (ended.code, ended.out)


def test_item_that_another_session_took_meanwhile_is_left_out(tmp_path):
    """Between the listing and the reopening a failed item may be started; the others are reopened all the same."""
    from wal_runner.cli import retry  # noqa: PLC0415 - patched here
    from wal_runner.cli.settling import writing  # noqa: PLC0415

    with Runner(tmp_path / "log.wal") as runner:
        runner.run(["a", "b"], lambda _item: 1 / 0)
    calls = []

    with writing(str(tmp_path / "log.wal"), accept_copy=False) as (writer, view):

        class Racing:
            """A view in whose first listing one item is settled by somebody else."""

            def items(self, status):
                """List, and reopen the first as the other session would."""
                listed = list(view.items(status))
                if not calls:
                    retry.verdicts.reopen(writer, [listed[0].item_id], by="another", note="")
                calls.append(listed)
                return listed

        names = retry._reopen_failed(writer, Racing(), by="us", note="")

    assert (2, ["b"]) == (len(calls), names)
