"""Several processes at the same work, and one stream of what they have to say.

Used by the command lines of the fuzzer and the simulator. Invariant: a process that ends in any other way
than well is an error, whatever it had said before.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from tools.harness.console import be_a_worker


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def reports(processes: int, work: Callable[[int, Connection], None]) -> Iterator[Any]:
    """Call *work* with a number, from 0, and a pipe in each of so many processes; give what they send as it comes."""
    context = multiprocessing.get_context("fork")
    readers: list[Connection] = []
    children = []
    for number in range(processes):
        reader, writer = context.Pipe(duplex=False)
        child = context.Process(target=_in_child, args=(work, number, writer), daemon=True)
        child.start()
        writer.close()
        readers.append(reader)
        children.append(child)
    while readers:
        for ready in wait(readers):
            assert isinstance(ready, Connection)
            try:
                yield ready.recv()
            except EOFError:
                readers.remove(ready)
    for number, child in enumerate(children):
        child.join()
        if child.exitcode:
            raise RuntimeError(f"process {number} of {processes} ended with {child.exitcode}")


def _in_child(work: Callable[[int, Connection], None], number: int, writer: Connection) -> None:
    be_a_worker()
    work(number, writer)
