"""The lives of a log: scripts of steps that use the real library, each for one thing that may go wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tools.harness.small import snapshot_every


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tools.harness.life import Life, Step


def ids(count: int, first: int = 0, **special: Sequence[int]) -> list[str]:
    """Give *count* ids; those whose numbers *special* lists begin with its word (``fail=[3]``: "fail-003")."""
    word = {number: kind for kind, numbers in special.items() for number in numbers}
    return [f"{word.get(number, 'item')}-{number:03}" for number in range(first, first + count)]


def creation(life: Life) -> list[Step]:
    """Create a log, and open it again."""
    return [life.open_and_close, life.open_and_close]


def creation_by_two(life: Life) -> list[Step]:
    """Let two processes create a log at once, and open it again."""
    return [lambda: life.together(life.open_and_close, life.open_and_close), life.open_and_close]


def creation_killed(life: Life) -> list[Step]:
    """Let the process that creates a log die before it has synced the log's name; another one goes on."""
    return [
        lambda: life.in_child(lambda: life.killed_at("create.before_rename", life.open_and_close)),
        lambda: life.in_child(lambda: life.killed_at("create.after_rename", life.open_and_close)),
        lambda: life.run(ids(4), window=2),
    ]


def serial(life: Life) -> list[Step]:
    """Run with a commit for each item, and run again with some more."""
    many = life.chance.randint(5, 9)
    return [lambda: life.run(ids(many), window=1), lambda: life.run(ids(many + 3, fail=[2]), window=1)]


def windows(life: Life) -> list[Step]:
    """Run with windows of up to sixteen."""
    many = life.chance.randint(24, 44)
    return [lambda: life.run(ids(many, fail=[7, 19]), window=16), lambda: life.run(ids(many + 9), window=16)]


def threads(life: Life) -> list[Step]:
    """Run on three threads."""
    many = life.chance.randint(20, 32)
    return [
        lambda: life.run(ids(many, fail=[4], doubt=[9]), workers=3, window=12),
        lambda: life.run(ids(many + 6), workers=2, window=6),
    ]


def coroutines(life: Life) -> list[Step]:
    """Run in coroutines, and in the loop form."""
    many = life.chance.randint(14, 24)
    return [
        lambda: life.run_coroutines(ids(many, fail=[4], doubt=[9]), concurrency=4, window=8),
        lambda: life.claim(ids(many + 6, fail=[4], doubt=[9]), window=4),
    ]


def results(life: Life) -> list[Step]:
    """Keep results and errors that fit no slot and no page."""
    life.large = True
    many = life.chance.randint(10, 14)
    return [
        lambda: life.run(ids(many, fail=[1, 6], doubt=[8]), window=4),
        lambda: life.run(ids(many, fail=[1, 6], doubt=[8]), window=6),
    ]


def snapshots(life: Life) -> list[Step]:
    """Write snapshots in slices while items run, and read them again."""
    snapshot_every(life.chance.randint(20, 28))
    many = life.chance.randint(30, 40)
    return [
        lambda: life.run(ids(many, fail=[3], doubt=[11]), window=4),
        lambda: life.run(ids(many + 12, fail=[3], doubt=[11]), window=4),
        lambda: life.in_child(lambda: life.run(ids(60, first=100, kill=[120 + life.chance.randint(0, 9)]), window=8)),
        lambda: life.run(ids(8, first=200), window=4),
    ]


def compaction(life: Life) -> list[Step]:
    """Compact twice, with runs before, between and after."""
    many = life.chance.randint(12, 20)
    return [
        lambda: life.run(ids(many, fail=[3], doubt=[5]), window=8),
        life.compact,
        lambda: life.run(ids(many + 6, fail=[3], doubt=[5]), window=4),
        life.compact,
        lambda: life.run(ids(many + 9, fail=[3], doubt=[5]), window=4),
    ]


def compaction_killed(life: Life) -> list[Step]:
    """Let compactions die on their way, before and after the swap; others go on."""
    many = life.chance.randint(8, 12)
    steps: list[Step] = [lambda: life.run(ids(many, fail=[3], doubt=[5]), window=8)]
    for number, name in enumerate(("compact.before_drop", "compact.after_copy", "compact.after_swap"), 1):
        steps += [
            lambda name=name: life.in_child(lambda: life.killed_at(name, life.compact)),  # type: ignore[misc]
            lambda number=number: life.run(ids(many + 3 * number, fail=[3], doubt=[5]), window=4),  # type: ignore[misc]
        ]
    return steps


def verdicts(life: Life) -> list[Step]:
    """Settle doubts by hand and by policy, and reopen what failed."""
    many = life.chance.randint(10, 14)
    named = ids(many, fail=[2, 3], doubt=[1, 4, 5, 6])
    return [
        lambda: life.run(named, window=4),
        life.settle,
        lambda: life.retry(succeeded=life.chance.random() < 0.5),  # noqa: PLR2004 - a coin
        lambda: life.run(named, window=4),
        lambda: life.run([*named, *ids(4, first=20, doubt=[21])], window=2, idempotent=True),
    ]


def sessions(life: Life) -> list[Step]:
    """Let processes die in the middle of a window, by SIGKILL and by `_exit`, and recover each time."""
    at = life.chance.randint(6, 14)
    named = ids(20, fail=[3], kill=[at], exit=[at + 3])
    return [
        lambda: life.in_child(lambda: life.run(named, window=8)),
        lambda: life.in_child(lambda: life.run(named, window=8)),
        life.settle,
        lambda: life.run([*named, *ids(4, first=40)], workers=2, window=6),
    ]


def reboots(life: Life) -> list[Step]:
    """Lose the power, and die again while that is recovered from; and lose it again."""
    at = life.chance.randint(8, 14)
    named = ids(20, fail=[3], kill=[at])
    return [
        lambda: life.in_child(lambda: life.run(named, window=8)),
        life.reboot,
        lambda: life.in_child(lambda: life.killed_at("recover.before_commit", life.open_and_close)),
        life.reboot,
        lambda: life.in_child(lambda: life.killed_at("recover.after_commit", life.open_and_close)),
        life.settle,
        lambda: life.in_child(lambda: life.run([*named, *ids(12, first=40, kill=[46])], window=6)),
        life.reboot,
        life.compact,
        lambda: life.run([*named, *ids(12, first=40)], workers=2, window=6),
    ]


def together(life: Life) -> list[Step]:
    """Let two processes run one log at once, and one of them die."""
    at = life.chance.randint(8, 14)
    return [
        lambda: life.together(
            lambda: life.run(ids(20, fail=[3], doubt=[5]), window=4),
            lambda: life.run(ids(20, first=10, kill=[10 + at]), window=6),
        ),
        lambda: life.run(ids(32), window=8),
    ]


def pages(life: Life) -> list[Step]:
    """Page through a source, die in the middle of a page, and resume there."""
    many = life.chance.randint(14, 20)
    named = ids(many, fail=[2], kill=[8])
    return [
        lambda: life.in_child(lambda: life.run_pages(named, page_size=3, window=4)),
        lambda: life.run_pages(named, page_size=3, window=4),
        lambda: life.run_pages(named, page_size=3, window=4),
    ]


LIVES: Final[dict[str, Callable[[Life], list[Step]]]] = {
    life.__name__: life
    for life in (
        creation,
        creation_by_two,
        creation_killed,
        serial,
        windows,
        threads,
        coroutines,
        results,
        snapshots,
        compaction,
        compaction_killed,
        verdicts,
        sessions,
        reboots,
        together,
        pages,
    )
}
