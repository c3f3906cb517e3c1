"""The results in the golden logs of format 2: the values that fn returned, and the bytes that were stored."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgpack

from wal_runner.log.named_values import StoredValue


LARGE: bytes = msgpack.packb("x" * 1_100_000)
"""Above the 1 MiB of format 1."""

VALUES: dict[str, Any] = {
    "datetime": datetime(2026, 11, 28, 3, 5, 59, 7, UTC),
    "datetime without a zone": datetime(2026, 11, 28, 3, 5, 59, 7),  # noqa: DTZ001 - that is what it is for
    "datetime with an offset": datetime(2026, 11, 28, 3, 5, 59, 7, timezone(timedelta(hours=-3, minutes=-30))),
    "datetime of a zone": datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
    "date": date(2026, 11, 28),
    "time": time(3, 5, 59, 7, UTC),
    "timedelta": timedelta(days=-1, seconds=2, microseconds=3),
    "Decimal": Decimal("-1.50E+7"),
    "UUID": UUID(int=2**100 + 1),
    "set": {1, "a", None},
    "frozenset": frozenset({frozenset({1}), (2, 3)}),
    "tuple": (1, ("a", [b"b"])),
    "Path": Path("a/é"),
    "PurePosixPath": PurePosixPath("/a"),
    "PureWindowsPath": PureWindowsPath("c:/a"),
    "large int": -(2**80),
    "complex": 1.5 - 2j,
    "named value": StoredValue("http.HTTPStatus", {"name": "OK", "value": 200}),
    "dict of tags": {"when": date(2026, 11, 28), (1, 2): [Decimal(1), {"x": {UUID(int=1)}}]},
}
"""What fn returned, by the item; the named value as it is read."""

CODES: dict[str, str] = {
    "datetime": "c7170fc7140107ea0b1c03053b00000007000000000000000000",
    "datetime without a zone": "c70f0fc70c0107ea0b1c03053b0000000700",
    "datetime with an offset": "c7170fc7140107ea0b1c03053b0000000700fffffffd10fb4200",
    "datetime of a zone": "c7240fc7210107ea0a19021e00000000000100000000d693a4004575726f70652f4265726c696e",
    "date": "c7060fd60207ea0b1c",
    "time": "c7120fd80303053b00000007000000000000000000",
    "timedelta": "c70f0fc70c04ffffffff0000000200000003",
    "Decimal": "c70a0fd7052d312e3530452b37",
    "UUID": "c7120fd80600000010000000000000000000000001",
    "set": "d70fc705079301a161c0",
    "frozenset": "c70e0fc70b0892c70309920203d5089101",
    "tuple": "c70f0fc70c099201c7070992a16191c40162",
    "Path": "d70fc7050a00612fc3a9",
    "PurePosixPath": "c7060fc7030a012f61",
    "PureWindowsPath": "d70fc7050a02633a5c61",
    "large int": "c70e0fc70b0bff00000000000000000000",
    "complex": "c7120fd80c3ff8000000000000c000000000000000",
    "named value": "c7250fc7220d92af687474702e4854545053746174757382a46e616d65a24f4ba576616c7565ccc8",
    "dict of tags": (
        "c72f0f82a47768656ed60207ea0b1cc7030992010292d4053181a178c7130791d80600000000000000000000000000000001"
    ),
}
"""The bytes that were stored."""

PACKED: dict[str, bytes] = {name: bytes.fromhex(code) for name, code in CODES.items()}
