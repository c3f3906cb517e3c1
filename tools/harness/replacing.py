"""Other values for names of the library, in a process that is a life or a judge of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from types import ModuleType


def put(place: ModuleType | type, **values: Any) -> None:  # noqa: ANN401 - whatever stands there
    """Let each name in *place* stand for another value; one that is not there any more is an error."""
    for name, value in values.items():
        assert hasattr(place, name), f"{place.__name__} has no {name} any more"
        setattr(place, name, value)
