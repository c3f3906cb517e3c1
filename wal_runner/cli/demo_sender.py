"""The program of the demo: sends items to the server, as anybody's own program would with the library.

Run by ``walrun demo`` as a process of its own, which is killed and started again:

    python -m wal_runner.cli.demo_sender LOG PORT ITEMS

Prints the report as JSON, with what the reconciler found.
"""

from __future__ import annotations

import http.client
import json
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from wal_runner.recovery.verdicts import Verdict
from wal_runner.runner.attempt import current_attempt
from wal_runner.runner.runner import Runner


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wal_runner.runner.doubts import Doubt

WORKERS: Final = 16
REPLY_WITHIN_S: Final = 30.0


class Service:
    """The server as its client sees it."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REPLY_WITHIN_S)

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def ask(self, method: str, target: str, body: Any = None, **headers: str) -> Any:  # noqa: ANN401 - JSON
        """Send a request and return its reply."""
        content = None if body is None else json.dumps(body)
        self._connection.request(method, target, content, {name.replace("_", "-"): headers[name] for name in headers})
        return json.loads(self._connection.getresponse().read())

    def send(self, item_id: str, key: str) -> int:
        """Have the effect of an item; return the receipt."""
        receipt: int = self.ask("POST", "/send", X_Item_Id=item_id, Idempotency_Key=key)["receipt"]
        return receipt

    def happened(self, keys: Sequence[str]) -> set[str]:
        """Return those of *keys* under which the server has done something."""
        return set(self.ask("POST", "/happened", list(keys)))

    def wait_for(self, lines: int) -> int:
        """Wait for so many lines in the ledger, or half a second, and return how many there are."""
        count: int = self.ask("GET", f"/wait?lines={lines}")
        return count

    def ledger(self) -> dict[str, int]:
        """Return the numbers of the ledger."""
        numbers: dict[str, int] = self.ask("GET", "/ledger")
        return numbers


def send(item_id: str, service: Service) -> int:
    """Send one item: what a user of the library writes."""
    return service.send(item_id, current_attempt().idempotency_key)


def item_ids(count: int) -> Iterator[str]:
    """Give the items of the demo."""
    return (f"item-{number:0{len(str(count))}}" for number in range(1, count + 1))


def main(log: str, port: int, count: int) -> None:
    """Send everything that is not done, and print the report."""
    verdicts: dict[str, Verdict] = {}

    def ask_the_server(doubts: Sequence[Doubt]) -> dict[str, Verdict]:
        with closing(Service(port)) as service:
            happened = service.happened([doubt.idempotency_key for doubt in doubts])
        for doubt in doubts:
            did = doubt.idempotency_key in happened
            verdicts[doubt.item_id] = Verdict.happened() if did else Verdict.did_not_happen()
        return verdicts

    with Runner(log) as runner:
        report = runner.run(
            item_ids(count), send, workers=WORKERS, per_worker=lambda: closing(Service(port)), reconcile=ask_the_server
        )
    decided = [verdict.decision.word for verdict in verdicts.values()]
    found = {"happened": decided.count("happened"), "did_not_happen": decided.count("did_not_happen")}
    sys.stdout.write(json.dumps({**report.as_dict(), "reconciled": found}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
