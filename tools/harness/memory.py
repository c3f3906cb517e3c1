"""Where harnesses lay out their folders: in memory where there is room for it, else on the disk.

Imported by the command lines. Invariant: what is chosen can be written.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final


MEMORY: Final = Path("/dev/shm")  # noqa: S108 - folders of one's own are made in it
ROOM_BYTES_MIN: Final = 512 << 20
"""A container often has 64 MB there; a harness that fills them would take it for a broken promise."""


def memory_folder() -> str | None:
    """Give a folder in memory with room for a harness, or None: then the system's temporary folder will do."""
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ROOM_BYTES_MIN:
        return str(MEMORY)
    return None
