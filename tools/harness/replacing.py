"""Other values for names of the library, in a process that is a life or a judge of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wal_runner.log import lmdb_log
from wal_runner.log.place import Place


if TYPE_CHECKING:
    from types import ModuleType


def put(place: ModuleType | type, **values: Any) -> None:  # noqa: ANN401 - whatever stands there
    """Let each name in *place* stand for another value; one that is not there any more is an error."""
    for name, value in values.items():
        assert hasattr(place, name), f"{place.__name__} has no {name} any more"
        setattr(place, name, value)


def be_at_home_anywhere() -> None:
    """Let every folder be at its place, in this process: what is laid out elsewhere is no copy, but another trial."""
    put(lmdb_log, place_of=lambda _folder, _gate: Place(1, 1, 1, 1))
