"""Try the oldest client versions in wide use, and write docs/reference/lost-replies-old-versions.md.

    python tools/try_old_clients.py                    # makes an environment in a temporary folder; takes ten minutes
    python tools/try_old_clients.py --environment DIR  # keeps it in DIR, and uses what is there

The versions stand in tests/clients/old_versions.txt. A case that cannot run with the old version (its API was another
one) is listed as not tried. Exits with 1 if a client called failed what had happened.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final


ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.clients import matrix, page  # noqa: E402


if TYPE_CHECKING:
    from tests.clients.case import Case

VERSIONS: Final = ROOT / "tests" / "clients" / "old_versions.txt"
PAGE: Final = ROOT / "docs" / "reference" / "lost-replies-old-versions.md"
SECONDS_MAX: Final = 240

HEAD: Final = """# Lost replies: old versions of the clients

Written by `tools/try_old_clients.py`, measured on {date}. The tables of [lost replies](lost-replies.md) are of current
versions; here the same conditions were tried with the oldest versions in wide use. *Repeated* counts effects that
happened and were called failed, which the next run would repeat. *Other than now* names the conditions in which the
verdict differs from that of the current version.

| client | versions | conditions | repeated | other than now |
|---|---|---|---|---|
"""


def main() -> int:
    """Make the environment, try every case in it, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", metavar="DIR", type=Path, help="keep the environment there, and use it again")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="old-clients-") as folder:
        python = environment(given.environment or Path(folder))
        lines, repeated = [], 0
        for case in matrix.cases():
            found = try_case(python, case)
            lines.append(line_of(case, found))
            repeated += len(found.get("repeated", ()))
            print(lines[-1], flush=True)
    PAGE.write_text(HEAD.format(date=f"{dt.datetime.now(tz=dt.UTC).date():%-d %B %Y}") + "\n".join(lines) + "\n")
    return 1 if repeated else 0


def environment(folder: Path) -> Path:
    """Return the Python of an environment with the old versions; make it if *folder* has none."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "-q", "-r", str(VERSIONS)], check=True)
    return python


def try_case(python: Path, case: Case) -> dict[str, Any]:
    """Return what the tool of the current page says of *case* in the old environment, or why it cannot run."""
    command = [str(python), str(ROOT / "tools" / "make_lost_replies.py"), "--json", case.name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX, check=False, cwd=ROOT)
    except subprocess.TimeoutExpired:
        return {"failure": f"did not end within {SECONDS_MAX} s"}
    if done.returncode:
        said = done.stderr.strip().splitlines()
        return {"failure": said[-1][:160] if said else f"exit code {done.returncode}"}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def line_of(case: Case, found: dict[str, Any]) -> str:
    """Return the row of the page."""
    if "failure" in found:
        return f"| {case.name} | | not tried: {found['failure'].replace('|', '/')} | | |"
    now = {what: (happened, verdict) for what, happened, verdict, _ in page.rows_of(page.PATH.read_text(), case)}
    other = [
        f"{what} ({verdict})"
        for what, happened, verdict, _ in found["rows"]
        if now.get(what, (happened, verdict)) != (happened, verdict)
    ]
    repeated = len(found["repeated"])
    return f"| {case.name} | {found['versions']} | {len(found['rows'])} | {repeated} | {'; '.join(other)} |"


if __name__ == "__main__":
    sys.exit(main())
