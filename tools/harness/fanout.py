"""Several processes at the same work, and one stream of what they have to say.

Used by the command lines of the fuzzer and the simulator. Invariant: a process that ends in any other way
than well is an error, whatever it had said before.
"""

from __future__ import annotations

import multiprocessing
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from tools.harness.console import be_a_worker, end_worker


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def reports(processes: int, work: Callable[[int, Connection], None]) -> Iterator[Iterator[Any]]:
    """Call *work* with a number, from 0, and a pipe in each of so many processes; give what they send as it comes.

    Behind the block none of them is left, however it ends.
    """
    context = multiprocessing.get_context("fork")
    readers: list[Connection] = []
    children = []
    try:
        for number in range(processes):
            reader, writer = context.Pipe(duplex=False)
            child = context.Process(target=_in_child, args=(work, number, writer))
            child.start()
            writer.close()
            readers.append(reader)
            children.append(child)
        yield _received(readers)
        for number, child in enumerate(children):
            child.join()
            if child.exitcode:
                raise RuntimeError(f"process {number} of {processes} ended with {child.exitcode}")
    finally:
        for child in children:
            if child.is_alive() and child.pid is not None:
                end_worker(child.pid)
            child.join()


def _received(readers: list[Connection]) -> Iterator[Any]:
    while readers:
        for ready in wait(readers):
            assert isinstance(ready, Connection)
            try:
                yield ready.recv()
            except EOFError:
                readers.remove(ready)


def _in_child(work: Callable[[int, Connection], None], number: int, writer: Connection) -> None:
    be_a_worker()
    work(number, writer)
