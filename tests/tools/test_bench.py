"""The benchmarks run, with sizes so small that their figures mean nothing, and what they count is right."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.benchmarks import barriers, command, machine, measuring, report, slow_disk
from tools.benchmarks.measuring import Bench, Case, Figure, Settings
from tools.benchmarks.task import Unavailable


ROOT = Path(__file__).parents[2]
TINY = ["--rounds", "1", "--items", "60", "--startup-items", "3000", "--tail-events", "400", "--slow-disk-ms", "1"]
STRICT = {"items": 5, "max_in_doubt": 1}


# --- The whole thing --------------------------------------------------------------------


@pytest.mark.parametrize("name", command.BENCHMARKS)
def test_benchmark_runs_and_writes_sane_figures(name, tmp_path):
    """Each sub-benchmark ends well, and each of its figures has positive values or says why it has none."""
    written = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "tools/bench.py", name, *TINY, "--dir", str(tmp_path), "--json", str(written)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stderr)
    assert f"## {name}: " in done.stdout
    assert "## What the design asks for" in done.stdout
    found = json.loads(written.read_text())
    assert {name} == set(found["benchmarks"])
    assert found["machine"]["cores"] >= 1
    assert "lmdb" in found["versions"]
    part = found["benchmarks"][name]
    assert "" == part["crashed"]
    assert part["figures"]
    assert all(figure["note"] for figure in part["figures"] if not figure["values"])
    assert all(reason for reason in part["skipped"].values())
    # CPU time less that of an empty run may come out below zero with so few items.
    assert [] == [f["path"] for f in part["figures"] if name != "cpu" and min(f["values"], default=1) <= 0]
    assert {0} == {run["round"] for run in part["runs"]}
    assert [written] == list(tmp_path.iterdir()), "the logs are removed"


def test_strict_mode_costs_two_barriers_an_item(bench_in):
    """The counting finds both barriers of a commit: the sync, and the write of LMDB's meta page."""
    found = []
    for items in (20, 40):
        output = bench_in.settings.folder / "strace.txt"
        try:
            prefix = barriers.strace_command(output)
        except Unavailable as reason:
            pytest.skip(str(reason))
        bench_in.once(Case("strict", "ours.serial", {"items": items, "max_in_doubt": 1}), prefix)
        found.append(barriers.count(output.read_text().splitlines()))

    # A commit that took over 50 ms may have been followed by a flush: hence not exactly 20.
    assert 20 == pytest.approx(found[1]["fdatasync"] - found[0]["fdatasync"], abs=2)
    assert 20 == pytest.approx(found[1]["pwrite64 O_DSYNC"] - found[0]["pwrite64 O_DSYNC"], abs=2)


def test_every_benchmark_is_explained_in_the_docs():
    """Whoever reads a figure finds there how it was measured."""
    text = (ROOT / "docs" / "benchmarks.md").read_text()

    assert [] == [name for name in command.BENCHMARKS if f"`{name}`" not in text]


# --- The command line ----------------------------------------------------------------------


def test_missed_target_fails_only_a_check(monkeypatch, tmp_path, capsys):
    """A slow machine is no error; `--check` makes it one."""
    monkeypatch.setattr(command, "BENCHMARKS", {"planted": half_as_quick})

    assert 0 == command.main(["--dir", str(tmp_path)])
    assert 1 == command.main(["--dir", str(tmp_path), "--check"])
    assert "**no**" in capsys.readouterr().out


def test_crashed_benchmark_takes_no_other_with_it(monkeypatch, tmp_path, capsys):
    """The others run, and the exit code says that one crashed."""
    monkeypatch.setattr(command, "BENCHMARKS", {"bad": crash, "good": half_as_quick})
    written = tmp_path / "figures.json"

    assert 1 == command.main(["--dir", str(tmp_path), "--json", str(written)])
    assert "RuntimeError: planted" in capsys.readouterr().err
    found = json.loads(written.read_text())["benchmarks"]
    assert "planted" in found["bad"]["crashed"]
    assert [0.5] == [figure["median"] for figure in found["good"]["figures"]]


def test_unknown_name_is_a_usage_error(capsys):
    """A typing error runs nothing."""
    with pytest.raises(SystemExit) as stopped:
        command.main(["serail"])

    assert 2 == stopped.value.code
    assert "there is no 'serail'" in capsys.readouterr().err


def half_as_quick(bench):
    """Miss a target."""
    bench.figure("a path", "times", [0.5], ">=", 1)


def crash(_bench):
    """Crash."""
    raise RuntimeError("planted")


# --- Cases ---------------------------------------------------------------------------------


def test_absent_rival_is_skipped_with_the_reason(bench_in, monkeypatch, tmp_path):
    """Without Redis, its row says so, and the figure has no values."""
    monkeypatch.setenv("PATH", str(tmp_path))
    bench_in.interleave([Case("Redis", "home_made.redis_sets", {"items": 5, "fsync": "always"})] * 2)
    bench_in.figure("against Redis", "times", bench_in.ratios("ours", "Redis"))

    assert "redis" in bench_in.skipped["Redis"]
    assert [] == bench_in.runs
    assert f"Redis: {bench_in.skipped['Redis']}" == bench_in.figures[0].note
    assert "not measured" in report.figures(bench_in.figures)
    assert "skipped" in report.cases(bench_in)


def test_failed_task_is_an_error_with_its_words(bench_in):
    """A task that fails gives no figure, and its traceback is shown."""
    with pytest.raises(measuring.ChildFailed, match="unexpected keyword argument 'no_such'"):
        bench_in.once(Case("ours", "ours.serial", {"items": 1, "no_such": 1}))


def test_cases_take_turns(bench_in):
    """A round runs each case once before the next round begins: the noise of a minute hits all."""
    bench_in.interleave(
        [Case(name, "home_made.page_offset", {"items": items}) for name, items in (("few", 10), ("many", 20))],
        rounds=2,
    )

    assert [("few", 0), ("many", 0), ("few", 1), ("many", 1)] == [(run["case"], run["round"]) for run in bench_in.runs]
    assert 2 == len(bench_in.ratios("few", "many"))


# --- The slow disk -------------------------------------------------------------------------


def test_slow_disk_delays_each_barrier(slow, tmp_path):
    """In strict mode an item waits for two barriers: 5 items with 20 ms each take 200 ms at least."""
    told = measuring.run_child("ours.serial", {"folder": str(tmp_path), **STRICT}, environment=slow(20))

    assert told["wall_s"] >= 5 * 2 * 0.020


@pytest.mark.parametrize(
    ("act", "delayed"),
    [
        ("os.fsync(plain)", True),
        ("os.fdatasync(plain)", True),
        ("os.write(synchronous, b'x')", True),
        ("os.pwrite(synchronous, b'x', 0)", True),
        ("os.pwritev(synchronous, [b'x'], 0)", True),
        ("os.writev(synchronous, [b'x'])", True),
        ("mapped.flush()", True),
        ("os.write(plain, b'x')", False),
        ("os.pwrite(plain, b'x', 0)", False),
    ],
)
def test_slow_disk_delays_barriers_and_nothing_else(act, delayed, slow, tmp_path):
    """Syncs and synchronous writes wait; a plain write does not."""
    code = (
        "import mmap, os, time\n"
        f"name = {str(tmp_path / 'file')!r}\n"
        "plain = os.open(name, os.O_RDWR | os.O_CREAT)\n"
        "os.truncate(plain, 4096)\n"
        "synchronous = os.open(name, os.O_RDWR | os.O_DSYNC)\n"
        "mapped = mmap.mmap(plain, 4096)\n"
        "began = time.perf_counter()\n"
        f"{act}\n"
        "print(time.perf_counter() - began)\n"
    )
    environment = {**os.environ, **slow(300)}
    took = float(subprocess.check_output([sys.executable, "-c", code], env=environment, text=True))

    assert delayed == (took >= 0.3)


# --- Counting barriers -----------------------------------------------------------------------


def test_barriers_are_counted_by_what_they_do():
    """A write counts while its descriptor is a synchronous one, and msync only where it waits."""
    lines = [
        '7 openat(AT_FDCWD, ""..., O_RDWR|O_CREAT, 0600) = 3',
        '7 openat(AT_FDCWD, ""..., O_RDWR|O_DSYNC|O_CLOEXEC) = 4',
        '7 openat(AT_FDCWD, ""..., O_RDONLY) = -1 ENOENT (No such file or directory)',
        '7 pwrite64(3, ""..., 4096, 0) = 4096',
        '7 pwrite64(4, ""..., 120, 0) = 120',
        "7 fdatasync(3) = 0",
        "7 msync(0x7f0000000000, 4096, MS_ASYNC) = 0",
        "7 msync(0x7f0000000000, 4096, MS_SYNC) = 0",
        "7 dup(4) = 5",
        '7 write(5, ""..., 1) = 1',
        "7 close(4) = 0",
        '7 openat(AT_FDCWD, ""..., O_RDWR <unfinished ...>',
        "8 fsync(3 <unfinished ...>",
        "7 <... openat resumed>) = 4",
        '7 pwrite64(4, ""..., 120, 0) = 120',
        "8 <... fsync resumed>) = 0",
        "8 +++ exited with 0 +++",
    ]

    expected = {"pwrite64 O_DSYNC": 1, "fdatasync": 1, "msync": 1, "write O_DSYNC": 1, "fsync": 1}
    assert expected == dict(barriers.count(lines))


# --- Figures ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("must", "target", "values", "reached"),
    [
        (">=", 2.0, (1.0, 2.0, 9.0), True),
        (">=", 2.0, (1.0, 1.9, 9.0), False),
        ("<=", 2.0, (1.0, 2.0, 9.0), True),
        ("<=", 2.0, (1.0, 2.1, 9.0), False),
        ("==", 2.0, (2.0, 2.0), True),
        ("==", 2.0, (2.0, 2.01), False),
        (">=", 2.0, (), None),
        ("", 0.0, (1.0,), None),
    ],
)
def test_median_decides_whether_a_target_is_reached(must, target, values, reached):
    """One bad round on a noisy machine decides nothing, except where a count must be exact."""
    assert reached is Figure("a path", "times", values, must, target).reached


def test_numbers_keep_the_digits_that_they_deserve():
    """A table is read by people."""
    assert ["1,234,568", "12.3", "2", "1.23", "0.01"] == [
        report.number(value) for value in (1234567.8, 12.34, 2.0, 1.234, 0.0123)
    ]


def test_file_system_of_a_folder_is_known(tmp_path):
    """On a tmpfs a barrier costs nothing, so the reader must be told."""
    if not Path("/proc/mounts").exists():
        pytest.skip("this system has no /proc/mounts")

    assert "proc" == machine.file_system(Path("/proc/self"))
    assert machine.file_system(tmp_path) not in {"", "proc"}
    assert 0 < machine.sync_us(tmp_path)


# --- Fixtures ----------------------------------------------------------------------------------


@pytest.fixture
def bench_in(tmp_path):
    """Give a benchmark that has run nothing yet."""
    settings = Settings(
        rounds=1,
        items=60,
        startup_items=60,
        tail_events=10,
        slow_disk_ms=(),
        folder=tmp_path,
        cache=tmp_path,
    )
    return Bench("planted", settings)


@pytest.fixture
def slow():
    """Give a function from milliseconds to the environment of a slow disk."""

    def environment(delay_ms):
        try:
            return slow_disk.environment(delay_ms)
        except Unavailable as reason:
            pytest.skip(str(reason))

    return environment
