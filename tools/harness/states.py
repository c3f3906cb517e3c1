"""The states that a death may leave on the disk, at each point of a life.

Invariant: each state is one that the model of the disk (`tools.harness.disk`) allows, and what is drawn at a
point depends on the seed and the point alone: how many states are looked at changes none of them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from tools.harness.disk import PAGE_BYTES, Change, Disk, Folders, Image, Names, Size, Write
from tools.harness.stream import AT_ONCE_DURABLE, Kind
from tools.harness.witness import Known


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tools.harness.disk import File
    from tools.harness.stream import Entry

SUBSETS_OF_MAX: Final = 6
"""So many writes on their way are tried in every subset; more of them in a sample."""

SAMPLES: Final = 12

DULL_STATES_MAX: Final = 3
"""States looked at where nothing is on its way but what is never synced anyway."""

_VOLATILE: Final = ("/HEAD", "/GATE")
_ENDS: Final = {"none", "all"}


Some = TypeVar("Some")


class Death(Enum):
    """Who dies: the machine, with what was only in memory; or the processes, and the machine goes on."""

    POWER = "power"
    KILL = "kill"


@dataclass(frozen=True)
class State:
    """What may be found after a death."""

    point: int
    index: int
    label: str
    death: Death
    folders: Folders
    tree: tuple[tuple[str, int], ...]
    images: dict[int, Image]
    as_remembered: bool
    """Whether data.mdb has the time that HEAD remembers: after a power cut it may, whatever it holds."""
    skip_walk: bool
    """Whether the pages are opened without a walk, as those of a large file are after a kill."""
    known: Known

    @property
    def name(self) -> str:
        """Give what to ask for to see this state again."""
        return f"{self.point}.{self.index}"


class Point(NamedTuple):
    """A moment between two calls of a life."""

    number: int
    disk: Disk
    known: Known


def points(entries: Iterable[Entry], root: int, first: int = 0) -> Iterator[Point]:
    """Walk through a life; each point has heard every mark up to the next call. Use it before the next one.

    Points before entry number *first* are walked past.
    """
    disk, known = Disk(root), Known()
    number = 0
    is_new = False
    for place, entry in enumerate(entries):
        if entry.kind is Kind.MARK:
            words = entry.mark
            known.hear(words)
            if words[0] == "boot":
                # What is found at a boot is on the disk, however it came there.
                disk.settle()
            continue
        if is_new:
            if place > first:
                yield Point(number, disk, known)
            number += 1
        if entry.kind is Kind.WRITE and entry.flags & AT_ONCE_DURABLE:
            # While the call runs, its bytes are on their way as others are.
            with disk.under_way(entry):
                if place > first:
                    yield Point(number, disk, known)
            number += 1
        disk.apply(entry)
        is_new = True
    if is_new:
        yield Point(number, disk, known)


def states(point: Point, seed: str) -> Iterator[State]:
    """Give the states at *point*, the plainest first; without an end where much is on its way."""
    return _AtPoint(point, random.Random(f"{seed} {point.number}")).states()  # noqa: S311 - no secret


def key_of(state: State) -> int:
    """Give what tells states apart: the files, how they died, and what must hold of them."""
    known = state.known
    return hash(
        (
            tuple(sorted((path, _key(state.images.get(inode))) for path, inode in state.tree)),
            state.death,
            state.as_remembered,
            state.skip_walk,
            known.created,
            known.acknowledged,
            len(known.begun),
            len(known.told),
        )
    )


def _key(image: Image | None) -> tuple[int, int]:
    return (-1, -1) if image is None else (image.size, image.digest)


class _AtPoint:
    """What is on its way at a point, sorted by how much it matters."""

    def __init__(self, point: Point, chance: random.Random) -> None:
        self.point = point
        self.chance = chance
        disk = self.disk = point.disk
        self.paths: dict[int, str] = {}
        for folders in (disk.durable, disk.live):
            for path, inode in disk.tree(folders):
                self.paths[inode] = f"/{path}"
        waiting = [inode for inode, file in disk.files.items() if inode in self.paths and (file.pending or file.lost)]
        self.careful = [inode for inode in waiting if not self._is_volatile(inode)]
        self.volatile = [inode for inode in waiting if self._is_volatile(inode)]
        self.careful_names = [change for change in disk.pending if not self._is_volatile_name(change)]
        self.volatile_names = [change for change in disk.pending if self._is_volatile_name(change)]
        self.is_dull = not self.careful and not self.careful_names

    def states(self) -> Iterator[State]:
        # The kernel has everything that was written, and writes it out some day.
        live = {inode: file.live for inode, file in self.disk.files.items()}
        yield self._state(0, "everything", Death.KILL, self.disk.live, live, skip_walk=self._coin())
        index = 1
        rounds = 0
        while rounds == 0 or (rounds < SAMPLES and not self.is_dull):
            for label, names, images in self._careful_states():
                more_names, more_images = self._volatile_state(label if rounds == 0 else "")
                folders = self.disk.folders_after(self._in_order(names, more_names))
                yield self._state(index, label, Death.POWER, folders, images | more_images)
                index += 1
            rounds += 1
        for _ in range(DULL_STATES_MAX if self.is_dull else 0):
            names, images = self._volatile_state("")
            yield self._state(index, "dull", Death.POWER, self.disk.folders_after(names), images)
            index += 1

    def _state(
        self,
        index: int,
        label: str,
        death: Death,
        folders: Folders,
        images: dict[int, Image],
        *,
        skip_walk: bool = False,
    ) -> State:
        disk = self.disk
        tree = tuple(disk.tree(folders))
        return State(
            point=self.point.number,
            index=index,
            label=label,
            death=death,
            folders=folders,
            tree=tree,
            images={inode: images.get(inode, disk.files[inode].durable) for _, inode in tree if inode in disk.files},
            as_remembered=self._coin(),
            skip_walk=skip_walk,
            known=self.point.known,
        )

    def _coin(self) -> bool:
        return self.chance.random() < 0.5  # noqa: PLR2004 - a coin

    # --- Names and files that are synced when it matters ---------------------------------------

    def _careful_states(self) -> Iterator[tuple[str, Sequence[Names], dict[int, Image]]]:
        if not self.careful:
            for label, names in _subsets(self.careful_names, self.chance):
                yield label, names, {}
            return
        main, *others = sorted(self.careful, key=lambda inode: len(self.disk.files[inode].pending), reverse=True)
        all_names = list(_subsets(self.careful_names, self.chance))
        for label, changes in _ways(self.disk.files[main], self.chance):
            for names_label, names in all_names if label in _ENDS else [self.chance.choice(all_names)]:
                images = {main: self._image(main, changes, label)}
                for inode in others:
                    images[inode] = self._image(inode, self._some_of(self.disk.files[inode].pending), "some")
                same = not self.careful_names or label == names_label
                yield label if same else f"{label}, names {names_label}", names, images

    def _image(self, inode: int, changes: Sequence[Change], label: str) -> Image:
        """Give a file with what arrived, and with what a failed sync gave up, as far as it may be there."""
        file = self.disk.files[inode]
        if not file.lost or label == "none":
            return file.durable.after(changes)
        lost: Sequence[Change] = file.lost if label == "all" else self._some_of(file.lost)
        return file.durable.after([*lost, *changes])

    def _some_of(self, changes: Sequence[Some]) -> Sequence[Some]:
        draw = self.chance.random()
        if draw < 0.3:  # noqa: PLR2004 - weights
            return ()
        return changes if draw < 0.7 else [change for change in changes if self.chance.random() < 0.5]  # noqa: PLR2004

    def _in_order(self, names: Sequence[Names], more: Sequence[Names]) -> list[Names]:
        chosen = {id(change) for change in chain(names, more)}
        return [change for change in self.disk.pending if id(change) in chosen]

    # --- What is never synced: HEAD, GATE, the sessions' files ------------------------------------

    def _volatile_state(self, label: str) -> tuple[Sequence[Names], dict[int, Image]]:
        files = self.disk.files
        if label == "none":
            return (), {}
        if label == "all":
            return self.volatile_names, {inode: files[inode].live for inode in self.volatile}
        names = self._some_of(self.volatile_names)
        return names, {inode: self._volatile_image(files[inode]) for inode in self.volatile}

    def _volatile_image(self, file: File) -> Image:
        chance, pending = self.chance, file.pending
        draw = chance.random()
        if draw < 0.4:  # noqa: PLR2004 - weights
            return file.live
        if draw < 0.5:  # noqa: PLR2004
            return file.durable
        if draw < 0.55:  # noqa: PLR2004 - the size went out, and no data
            return file.durable.grown_to(file.live.size)
        if draw < 0.8:  # noqa: PLR2004 - an older one: mostly the one before
            back = min(len(pending), 1 + int(chance.expovariate(0.5)))
            return file.durable.after(pending[: len(pending) - back])
        # Each page by itself, as old as it likes.
        pages: dict[int, list[Write]] = {}
        for change in pending:
            if isinstance(change, Write):
                pages.setdefault(change.at // PAGE_BYTES, []).append(change)
        chosen = [write for page in pages.values() for write in page[: chance.randint(0, len(page))]]
        grown = [change for change in pending if not isinstance(change, Write)]
        return file.durable.after([*grown, *chosen])

    def _is_volatile(self, inode: int) -> bool:
        return self._is_volatile_path(self.paths[inode])

    @staticmethod
    def _is_volatile_path(path: str) -> bool:
        return path.endswith(_VOLATILE) or "/sessions/" in path

    def _is_volatile_name(self, change: Names) -> bool:
        return all(self._is_volatile_path(f"{self.paths.get(folder, '')}/{name}") for folder, name, _ in change.becomes)


# --- Which of the changes on their way arrive ------------------------------------------------------


def _subsets(changes: Sequence[Names], chance: random.Random) -> Iterator[tuple[str, Sequence[Names]]]:
    """Give ways in which changes of names may arrive: none, all, each prefix (a journal), some subsets."""
    yield "none", ()
    if not changes:
        return
    yield "all", changes
    for count in range(1, len(changes)):
        yield "prefix", changes[:count]
    if len(changes) <= SUBSETS_OF_MAX:
        for bits in range(1, (1 << len(changes)) - 1):
            yield "subset", [change for number, change in enumerate(changes) if bits >> number & 1]
    else:
        for _ in range(SAMPLES):
            yield "subset", [change for change in changes if chance.random() < 0.5]  # noqa: PLR2004 - a coin


def _ways(file: File, chance: random.Random) -> Iterator[tuple[str, Sequence[Change]]]:
    """Give ways in which the changes of a file may arrive."""
    changes = file.pending
    yield "none", ()
    yield "all", changes
    ways = list(chain(_orders(changes, chance), _torn(changes, chance)))
    if file.live.size > file.durable.size:
        ways.append(("zeros", [change for change in changes if not isinstance(change, Write)] + [_zeros(file)]))
    if file.lost:
        ways += [("given up", ())] * SAMPLES
    chance.shuffle(ways)
    yield from ways


def _orders(changes: Sequence[Change], chance: random.Random) -> Iterator[tuple[str, Sequence[Change]]]:
    many = len(changes)
    for count in range(1, many):
        yield "prefix", changes[:count]
    if many <= SUBSETS_OF_MAX:
        for bits in range(1, (1 << many) - 1):
            yield "subset", [change for number, change in enumerate(changes) if bits >> number & 1]
        return
    for number in range(many):
        yield "all but one", [*changes[:number], *changes[number + 1 :]]
        yield "one", [changes[number]]
    for _ in range(SAMPLES):
        yield "subset", [change for change in changes if chance.random() < 0.5]  # noqa: PLR2004 - a coin


def _torn(changes: Sequence[Change], chance: random.Random) -> Iterator[tuple[str, Sequence[Change]]]:
    sectors: list[Change] = []
    for number, change in enumerate(changes):
        parts = change.sectors() if isinstance(change, Write) else [change]
        sectors += parts
        if len(parts) > 1:
            cut = chance.randrange(1, len(parts))
            yield "torn, first part", [*changes[:number], *parts[:cut]]
            yield "torn, last part", [*changes[:number], *parts[cut:]]
            yield "torn in all", [*changes[:number], *parts[:cut], *changes[number + 1 :]]
    if len(sectors) > 1:
        for _ in range(SAMPLES):
            yield "sectors", [sector for sector in sectors if chance.random() < 0.5]  # noqa: PLR2004 - a coin


def _zeros(file: File) -> Change:
    """Give the change by which a file is as long as it will be, and empty there."""
    return Size(file.live.size)
