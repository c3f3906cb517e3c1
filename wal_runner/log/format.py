"""The constants of the disk format, in one page. `docs/reference/on-disk-format.md` explains them.

Shared by everything under `wal_runner.log`. Invariant: a number or name that was written to a
disk is never given another meaning; a change of meaning is a new format.
"""

from __future__ import annotations


FORMAT_FIRST = 1
"""The format that every new log is written in, and what IDENTITY says of every log.

Format 1: blake2b chain of 16 bytes, rows with a CRC-32.
"""

FORMAT_VERSION = 2
"""The highest format that this version reads. `Turn.require_format` raises a log to it.

Format 2: more event types, more fields of known ones, tagged and longer results. The rest is as in format 1.
"""

MAGIC = "wal_runner log"

# --- The folder -----------------------------------------------------------------

IDENTITY_NAME = "IDENTITY"
DATA_NAME = "data.mdb"
GATE_NAME = "GATE"
HEAD_NAME = "HEAD"
SESSIONS_NAME = "sessions"
ARCHIVE_NAME = "archive"
REWRITE_NAME = "data.mdb.rewrite"
"""A compaction builds its copy here; one that is found was left by a crash and is worth nothing."""

FOLDER_MODE = 0o700
FILE_MODE = 0o600

# --- Sub-databases of data.mdb ----------------------------------------------------

LOG_TABLE = b"log"
ITEMS_TABLE = b"items"
OPEN_TABLE = b"open"
META_TABLE = b"meta"
TABLES_MAX = 8

META_LOG_ID = b"log_id"
META_FORMAT = b"format"
META_BASE = b"base"
META_SNAPSHOT = b"snapshot"
META_ROWS = b"rows"
META_BASE_STATE = b"base_state"
META_SNAPSHOTTER = b"snapshotter"

# --- Records ------------------------------------------------------------------------

CHAIN_BYTES = 16
RECORD_BYTES_MAX = 2016
"""A record is cut before it grows beyond this: two fit an LMDB page of 4,096 bytes. Between 2,030
and 3,900 bytes a value wastes up to 43 % of its pages (measured). One event may be larger alone."""

EVENTS_A_RECORD_MAX = 1024
"""More never fit: the shortest event takes three bytes."""

EVENT_BYTES_MAX = 64 * 1024 * 1024
"""A larger event is refused when it is written, whatever it is made of."""

ITEM_ID_BYTES_MAX = 16 * 1024 * 1024
"""A longer id is refused before anything of it is written; ids of megabytes stay possible."""

READ_BYTES_MAX = 8 * 1024 * 1024
"""One entry of the gate copies out at most about this much log."""

READ_RECORDS_MAX = 1024

# --- What goes into an event ----------------------------------------------------------

RESULT_BYTES_MAX = 1024 * 1024
"""A larger result is omitted, unless ``result_bytes_max=`` says otherwise; the item has succeeded all the same.
Format 1 reads no larger one."""

RESULT_BYTES_FORMAT_MAX = 32 * 1024 * 1024
"""No result is larger, whatever the option. Half of `EVENT_BYTES_MAX`: a late outcome holds an id too."""

RESULT_ELEMENTS_MAX = 1024 * 1024
"""Values in one result, all levels together. A result of 1 MiB cannot hold more; one of 32 MiB could, and lists of
nothing take sixty times their bytes in memory."""

OMITTED_CHARS_MAX = 800
"""Why a result was omitted; the name of a class has no bound of its own."""

ERROR_MESSAGE_CHARS_MAX = 2_000
TRACEBACK_CHARS_MAX = 8_000
NOTE_CHARS_MAX = 4_000
ARGV_MAX = 32
ARGV_CHARS_MAX = 500

# --- Rows of the snapshot ---------------------------------------------------------------

KEY_TEXT_BYTES_MAX = 255
"""An id of at most so many UTF-8 bytes is its row's key; a longer one goes by its hash."""

KEY_HASH_MARK = b"\xff"
"""No UTF-8 text begins with this byte, so a hash is never taken for an id."""

# --- Scratch slots ---------------------------------------------------------------------------

SCRATCH_SLOTS = 4096
"""At most so many starts of one session can be without a durable outcome."""

SCRATCH_SLOT_BYTES = 128

# --- The map, and room ahead ---------------------------------------------------------------

MAP_BYTES = 1 << 40
"""One sparse map for the life of the log: a map that is never resized has no resize races. It is
halved until the system grants it (``ulimit -v``)."""

MAP_BYTES_MIN = 1 << 26

STRUCTURE_CHECK_BYTES_MAX = 64 * 1024 * 1024
"""A file that a process left in mid-commit is walked page by page (0.1 GB/s) up to this size."""

CHECK_ALWAYS_BYTES_MAX = 512 * 1024
"""So much data, some five thousand items, is checked whole at each opening: it takes 15 ms, and finds what
the disk forgot by itself, which leaves size and time as HEAD remembers them."""

ROOM_FLOOR_BYTES = 256 * 1024
"""Room kept free for the outcomes of what runs, whatever that is: LMDB copies about 20 pages a
commit before it can free any."""

ROOM_AN_ITEM_BYTES = 4 * 1024
"""Room kept free for each running item's outcome: an error with its traceback fits."""
