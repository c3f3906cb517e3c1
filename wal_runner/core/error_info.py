"""An exception as the log stores it: text, never a pickle.

Pure; anything may import it.
"""

from __future__ import annotations

from typing import NamedTuple


class ErrorInfo(NamedTuple):
    """An exception as text, capped in size; never a pickle.

    *traceback* is the text itself, or the number of a `TextSeen` that holds it.
    """

    type: str
    message: str
    traceback: str | int = ""
