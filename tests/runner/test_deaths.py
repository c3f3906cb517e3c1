"""Items whose process dies with them: they are redone with a bound, last and alone, then held."""

import asyncio
import json
import signal
import threading
from pathlib import Path

import pytest

from tests.runner import driving
from tests.runner.driving import DRIVERS, Script, named, serial, statuses, threads
from wal_runner import Runner, Status, Verdict
from wal_runner.errors import ItemChanged


ITEMS = ["bad", "a", "b", "c", "d"]

LIFE = """
from pathlib import Path
from tests.runner import driving
from wal_runner.log import host

drive, options, boot = getattr(driving, sys.argv[2]), json.loads(sys.argv[3]), sys.argv[4]
if boot:
    host._BOOT_ID = Path(path + ".boot")
    host._BOOT_ID.write_text(boot)
if options.pop("reconciled", False):
    options["reconcile"] = lambda doubts: {doubt.item_id: Verdict.did_not_happen() for doubt in doubts}

items = sys.argv[5:]
if options.get("key"):
    items = [{options["key"]: item} for item in items]

def fn(item):
    item = item[options["key"]] if options.get("key") else item
    with open(path + ".effects", "a") as effects:
        effects.write(item + "\\n")
    if item.startswith("bad"):
        os.kill(os.getpid(), signal.SIGKILL)

with Runner(path) as runner:
    say(driving.numbers(drive(runner, items, fn, **options)))
"""

OLDER = """
from wal_runner.recovery import recover
recover.__version__ = "0.1.0"

with Runner(path) as runner:
    say("open")
    hear()
"""


def live(path, drive=serial, *, boot="", items=ITEMS, **options) -> bool:
    """Let a process run *items*, of which "bad" kills it; return whether it lived to the end of its run."""
    options = {"idempotent": True} | options
    with Script(LIFE, path, drive.__name__, json.dumps(options), boot, *items) as script:
        code, said = script.end()
    assert code in {0, -signal.SIGKILL}, said
    return code == 0


def deaths_until_the_end(path, drive=serial, **options) -> int:
    """Let processes run until one lives to the end of its run; return how many died."""
    for deaths in range(7):
        if live(path, drive, **options):
            return deaths
    raise AssertionError("they die again and again")


def effects(path) -> list[str]:
    return Path(f"{path}.effects").read_text().split()


def item_of(path, item_id="bad"):
    with Runner.open_read(path) as view:
        return view.item(item_id)


def format_of(path) -> int:
    with Runner.open_read(path) as view:
        return view.log.format()


def reasons(path) -> dict[str, str]:
    with Runner.open_read(path) as view:
        return {attempt.item_id: attempt.reason for _, attempt in view.state().attempts(Status.IN_DOUBT)}


# --- The bound ----------------------------------------------------------------------------------


@pytest.mark.parametrize("drive", DRIVERS, ids=named)
def test_item_that_kills_its_process_is_held(path, drive):
    """After three deaths, the last one alone, it is in doubt with that reason, and everything else is done."""
    died = deaths_until_the_end(path, drive)

    assert 3 == died
    is_paged_beside_others = drive is driving.pages_async
    with Runner.open_read(path) as view:
        found = {item.item_id: item.status for item in view.items()}
    if not is_paged_beside_others:  # there its neighbours in the page were in flight each time
        assert {"bad": Status.IN_DOUBT} | dict.fromkeys("abcd", Status.SUCCEEDED) == found
        assert "in flight in 3 deaths, alone in the last (session 3, pid " in reasons(path)["bad"]
    assert {"bad", "a", "b", "c", "d"} == set(found)
    assert found["bad"] is Status.IN_DOUBT
    assert reasons(path)["bad"].startswith("held by policy: max_deaths: in flight in 3 deaths")
    assert 3 == item_of(path).deaths


def test_other_items_run_once(path):
    """In a serial run the items behind the one that kills its process have one effect each."""
    deaths_until_the_end(path)

    assert sorted([*["bad"] * 3, *"abcd"]) == sorted(effects(path))


def test_held_item_is_not_held_again(path):
    """The next run finds it held, and writes nothing about it."""
    deaths_until_the_end(path)
    before = reasons(path)

    with Runner(path) as runner:
        report = serial(runner, [*ITEMS, "bad"], lambda _: None, idempotent=True)
        held = [entry for entry in runner.history("bad") if type(entry.event).__name__ == "ItemHeld"]

    assert (1, 1) == (report.in_doubt, report.duplicates)
    assert before == reasons(path)
    assert 1 == len(held)


def test_item_that_comes_twice_is_held_once(path):
    """Two mentions in one window make one hold; the log can be read."""
    for _ in range(3):
        live(path, items=["bad", "bad"])
    live(path, items=["bad", "bad"])

    assert 3 == item_of(path).deaths


def test_reconciler_has_the_same_bound(path):
    """A reconciler that says "did not happen" each time does not reset the count, and is overruled in the end."""
    died = deaths_until_the_end(path, idempotent=False, reconciled=True)

    assert 3 == died
    assert sorted([*["bad"] * 3, *"abcd"]) == sorted(effects(path))
    assert "in flight in 3 deaths, alone in the last" in reasons(path)["bad"]
    assert live(path, idempotent=False, reconciled=True)


def test_reconciler_can_say_that_a_held_item_happened(path):
    """Being held stops further starts only: evidence that it happened is taken."""
    deaths_until_the_end(path)

    with Runner(path) as runner:
        serial(runner, ITEMS, lambda _: None, reconcile=lambda _: {"bad": Verdict.happened("found")})

        assert Status.SUCCEEDED is runner.status("bad")


@pytest.mark.parametrize(("max_deaths", "died"), [(1, 1), (2, 2), (4, 4)])
def test_max_deaths_is_the_bound(path, max_deaths, died):
    """A run takes another bound than 3."""
    assert died == deaths_until_the_end(path, max_deaths=max_deaths)


def test_without_bound_it_dies_again_and_again(path):
    """With max_deaths=None nothing is counted, and nothing is held."""
    lived = [live(path, max_deaths=None) for _ in range(4)]

    assert [False] * 4 == lived
    assert (0, 1) == (item_of(path).deaths, format_of(path))


def test_ordered_run_keeps_its_order_and_holds(path):
    """run_iter(ordered=True) does not put a suspect last; it holds it after the same number of deaths."""
    drive = "lambda runner, items, fn, **options: [*runner.run_iter(items, fn, ordered=True, **options)][-1]"
    life = LIFE.replace("getattr(driving, sys.argv[2])", drive).replace("driving.numbers", "str")
    codes = []
    for _ in range(4):
        with Script(life, path, "", json.dumps({"idempotent": True}), "", *ITEMS) as script:
            codes.append(script.end()[0])

    assert [-signal.SIGKILL] * 3 + [0] == codes
    assert ["bad", "bad", "bad", "a", "b", "c", "d"] == effects(path)
    assert "in flight in 3 deaths, alone in the last" in reasons(path)["bad"]


# --- What counts ------------------------------------------------------------------------------------


def test_reboot_is_not_counted(path):
    """A machine that restarts is not the item's doing: the item is redone each time, and the log stays format 1."""
    lived = [live(path, boot=f"boot-{number}") for number in range(4)]

    assert [False] * 4 == lived
    assert (0, 1) == (item_of(path).deaths, format_of(path))


def test_unknown_boot_is_not_counted(path):
    """Without a boot id a death cannot be told from a restart."""
    lived = [live(path, boot=" ") for _ in range(4)]

    assert [False] * 4 == lived
    assert 0 == item_of(path).deaths


def test_redo_after_one_death_is_on_record(path):
    """The redo and its start carry the count; the item succeeds, and the log is in format 2."""
    live(path)

    with Runner(path) as runner:
        serial(runner, ["bad"], lambda _: None, idempotent=True)
        said = [(type(entry.event).__name__, getattr(entry.event, "deaths", None)) for entry in runner.history("bad")]

    assert [("ItemStarted", 0), ("ItemReconciled", 1), ("ItemStarted", 1), ("ItemSucceeded", None)] == said
    assert (Status.SUCCEEDED, 1) == (item_of(path).status, item_of(path).deaths)
    assert 2 == format_of(path)


def test_log_without_deaths_stays_in_format_1(path):
    """Doubts of a process that lives, redone, need no count."""
    with Runner(path) as runner:
        serial(runner, ["a", "b"], driving.Effects({"a"}, TimeoutError))
        serial(runner, ["a", "b"], driving.Effects(), idempotent=True)

    assert 1 == format_of(path)


def test_persons_verdict_resets_the_count(path):
    """After "did not happen" by a person the item runs again, with no death on record."""
    deaths_until_the_end(path)

    with Runner(path) as runner:
        (doubt,) = runner.in_doubt()
        runner.resolve(doubt, Verdict.did_not_happen(), note="the bug is fixed")
        after = item_of(path).deaths
        serial(runner, ITEMS, lambda _: None, idempotent=True)

    assert (3, 0) == (doubt.deaths, after)
    assert (Status.SUCCEEDED, 0) == (item_of(path).status, item_of(path).deaths)


def test_reopening_resets_the_count(path):
    """An item that was abandoned and reopened begins without deaths."""
    deaths_until_the_end(path)

    with Runner(path) as runner:
        runner.resolve(runner.in_doubt()[0], Verdict.abandon())
        runner.retry(["bad"])
    died = deaths_until_the_end(path)

    assert 3 == died


def test_failure_keeps_the_count(path):
    """A suspect that fails in order is a suspect in the next run too."""
    for _ in range(2):
        live(path)

    with Runner(path) as runner:
        serial(runner, ["bad"], driving.Effects({"bad"}), idempotent=True)
        seen = driving.Effects()
        serial(runner, ["bad", "new"], seen, idempotent=True)

    assert ["new", "bad"] == seen


# --- Last and alone -----------------------------------------------------------------------------------


@pytest.mark.parametrize("drive", [serial, threads, driving.coroutines, driving.claim, driving.claim_async], ids=named)
def test_suspect_runs_last_and_alone(path, drive):
    """From its second death on an item waits for the end of the source and for everything in flight."""
    for _ in range(2):
        live(path)
    items = [f"item-{number}" for number in range(30)]
    ended = []
    order = []

    def source():
        yield "bad"
        yield from items
        ended.append(True)

    def fn(item):
        order.append((item, bool(ended), len(runner.writer.own_starts.run.in_flight)))

    with Runner(path) as runner:
        drive(runner, source(), fn, idempotent=True)

        assert {Status.SUCCEEDED} == {statuses(runner)[item] for item in (*items, "bad")}
    assert ("bad", True, 1) == order[-1]
    assert sorted([*items, "bad"]) == sorted(item for item, _, _ in order)


def test_suspect_whose_object_was_emptied_ends_the_run_with_an_error(path):
    """It waited behind the source, which closed what the item lives on: skipping it would be silent, run after run."""
    for _ in range(2):
        live(path, items=["bad"], key="id")
    row = {}

    def source():
        row["id"] = "bad"
        yield row
        yield {"id": "good"}
        row.clear()

    ran = []
    with Runner(path) as runner:
        with pytest.raises(ItemChanged, match="'bad'"):
            serial(runner, source(), ran.append, key="id", idempotent=True)
        found = statuses(runner)

    assert [{"id": "good"}] == ran
    assert {"bad": Status.IN_DOUBT, "good": Status.SUCCEEDED} == found


def test_suspects_run_one_by_one(path):
    """Two suspects do not run beside each other, however many workers there are."""
    for _ in range(2):
        live(path, threads, items=["bad"])
    for _ in range(2):
        live(path, items=["bad-2"])
    running, beside = set(), threading.Event()

    def fn(item):
        running.add(item)
        if len(running) > 1 and {"bad", "bad-2"} & running:
            beside.set()
        beside.wait(0.2)  # long enough for another one to begin
        running.discard(item)

    with Runner(path) as runner:
        report = threads(runner, ["bad", "bad-2", "a", "b"], fn, idempotent=True)

    assert not beside.is_set()
    assert 4 == report.succeeded


def test_suspect_waits_for_a_source_that_waits(path):
    """That nothing is at hand does not mean that the source has ended."""
    for _ in range(2):
        live(path)
    order = []

    async def run(runner):
        async def source():
            yield "bad"
            for number in range(20):
                yield f"item-{number}"
                while runner.status(f"item-{number}") is not Status.SUCCEEDED:  # noqa: ASYNC110 - the log has no event
                    await asyncio.sleep(0)

        async def fn(item):
            order.append(item)

        await runner.run_async(source(), fn, idempotent=True)

    with Runner(path) as runner:
        asyncio.run(run(runner))

    assert [*(f"item-{number}" for number in range(20)), "bad"] == order


def test_suspect_is_counted_once_however_often_it_is_named(path):
    """The second mention of a suspect is a duplicate."""
    for _ in range(2):
        live(path)

    with Runner(path) as runner:
        report = serial(runner, ["bad", "new", "bad"], lambda _: None, idempotent=True)

    assert {"seen": 3, "succeeded": 2, "duplicates": 1} == driving.numbers(report)


def test_claim_inside_of_a_body_does_not_wait_for_it(path):
    """A loop that takes its next attempt inside of a body gets the suspect: waiting would never end."""
    for _ in range(2):
        live(path)

    with Runner(path) as runner, runner.claim(["bad", "new"], idempotent=True) as claims:
        first = next(claims)
        with first as item:
            second = next(claims)
            with second as last:
                pass

    assert ("new", "bad") == (item, last)


def test_row_that_its_source_refills_is_not_put_last(path):
    """With max_in_doubt=1 a source may refill what it yielded, so a suspect runs when it comes: it is alone anyway."""
    for _ in range(2):
        live(path, key="id")
    seen = []

    def source():
        row = {}
        for item in ("bad", "new"):
            row["id"] = item
            yield row

    with Runner(path) as runner:
        runner.run(source(), lambda row: seen.append(row["id"]), key="id", max_in_doubt=1, idempotent=True)

    assert ["bad", "new"] == seen


# --- Beside an older version ------------------------------------------------------------------------------


def test_redo_is_not_refused_for_an_older_version(path, caplog):
    """While a session of 0.1.0 runs, the death is not counted, the item is redone, and one warning says so."""
    live(path, items=["bad", "bad-2"])
    live(path, items=["bad-2"])

    with Script(OLDER, path) as older:
        older.hear()
        with Runner(path) as runner:
            report = serial(runner, ["bad", "bad-2"], lambda _: None, idempotent=True)
        found = format_of(path)
        older.tell()
        older.end()

    assert 2 == report.succeeded
    assert (0, 1) == (item_of(path).deaths, found)
    assert 1 == sum("without counting that death" in record.message for record in caplog.records)


def test_wrong_bound_is_refused_before_any_start(runner):
    """max_deaths is None or 1 to 1,000."""
    for wrong in (0, -1, 1001):
        with pytest.raises(ValueError, match="max_deaths"):
            runner.run(["a"], lambda _: None, max_deaths=wrong)
    with pytest.raises(TypeError, match="max_deaths"):
        runner.run(["a"], lambda _: None, max_deaths=True)
