"""Try the oldest client versions in wide use, and write docs/reference/lost-replies-old-versions.md.

    python tools/try_old_clients.py                    # makes an environment in a temporary folder; takes ten minutes
    python tools/try_old_clients.py --environment DIR  # keeps it in DIR, and uses what is there

The versions stand in tests/clients/old_versions.txt. Needs the servers, see docs/contributing.md. A case that cannot
run with the old version (its API was another one) is listed as not tried. Exits with 1 if an effect that happened was
called failed.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final


ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.clients import matrix, page  # noqa: E402
from tools.make_lost_replies import NOT_INSTALLED  # noqa: E402


if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.clients.case import Case

VERSIONS: Final = ROOT / "tests" / "clients" / "old_versions.txt"
PAGE: Final = ROOT / "docs" / "reference" / "lost-replies-old-versions.md"
SECONDS_MAX: Final = 600
"""Maximum time for one case: a server that starts, and some twenty cells."""

JOBS: Final = 4
"""Cases that run at once: they wait more than they work."""

HEAD: Final = """# Lost replies: old versions of the clients

The tables of [lost replies](lost-replies.md) are about current versions. Here the same conditions were tried with the
oldest versions in wide use: what long-term distributions ship, or the last ones before a change of the client's API.
Written by `tools/try_old_clients.py`, measured on {date} with Python {python}. Clients that are a part of Python are
not listed.

**{summary}**

*Repeated* counts effects that happened and were called failed: the next run would repeat them. *Other than now* lists
the conditions in which the outcome differs from that of the current version: whether the effect happened, and what the
item is.

| client | versions | conditions | repeated | other than now |
|---|---|---|---|---|
"""

Found = dict[str, Any]


def main() -> int:
    """Make the environment, try every case in it, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", metavar="DIR", type=Path, help="keep the environment there, and use it again")
    parser.add_argument("--jobs", metavar="N", type=int, default=JOBS, help=f"cases to try at once ({JOBS})")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="old-clients-") as folder:
        python = environment((given.environment or Path(folder)).resolve())
        cases = [case for case in matrix.cases() if case.packages]
        with ThreadPoolExecutor(given.jobs) as pool:
            founds = list(pool.map(lambda case: try_case(python, case), cases))
        version = _said_by([str(python), "-c", "import platform; print(platform.python_version())"])
    text = page_of({case.name: found for case, found in zip(cases, founds, strict=True)}, cases, version)
    PAGE.write_text(text)
    print(f"{PAGE.relative_to(ROOT)}: {len(cases)} cases")
    return 1 if any(found["repeated"] for found in founds) else 0


def environment(folder: Path) -> Path:
    """Return the Python of an environment with the old versions; make it if *folder* has none."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "-q", "-r", str(VERSIONS)], check=True)
    return python


def try_case(python: Path, case: Case) -> Found:
    """Return what the tool of the current page says of *case* in the old environment, or why it cannot run."""
    command = [str(python), str(ROOT / "tools" / "make_lost_replies.py"), "--json", case.name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX, check=False, cwd=ROOT)
    except subprocess.TimeoutExpired:
        return _failure(f"it did not end within {SECONDS_MAX} s")
    if done.returncode == NOT_INSTALLED:
        return _failure(f"{VERSIONS.relative_to(ROOT)} names no old version of {' and '.join(case.packages)}")
    if done.returncode:
        said = done.stderr.strip().splitlines()
        return _failure(said[-1] if said else f"exit code {done.returncode}")
    found: Found = json.loads(done.stdout.splitlines()[-1])
    for complaint in found["wrong"]:
        print(complaint, file=sys.stderr, flush=True)
    return found


def page_of(founds: Mapping[str, Found], cases: list[Case], python: str) -> str:
    """Return the whole page."""
    lines = [line_of(case, founds[case.name]) for case in cases]
    reasons = [reason for case in cases for reason in _reasons(case, founds[case.name])]
    tried = [found for found in founds.values() if found["rows"]]
    repeated = sum(len(found["repeated"]) for found in tried)
    summary = (
        f"{len(tried)} of {len(cases)} cases were tried, in {sum(len(found['rows']) for found in tried)} conditions: "
        f"{repeated or 'no'} effect{'s' if repeated > 1 else ''} that happened {'were' if repeated > 1 else 'was'} "
        "called failed."
    )
    head = HEAD.format(date=f"{dt.datetime.now(tz=dt.UTC).date():%-d %B %Y}", summary=summary, python=python)
    return head + "\n".join(lines) + "\n\nNot tried:\n\n" + "\n".join(reasons) + "\n"


def line_of(case: Case, found: Found) -> str:
    """Return the row of the page."""
    if not found["rows"]:
        return f"| {case.name} | {found['versions']} | not tried | | |"
    now = {what: (happened, verdict) for what, happened, verdict, _ in page.rows_of(page.PATH.read_text(), case)}
    other = [
        f"{what} ({'happened' if happened == 'yes' else 'did not happen'}, {verdict})"
        for what, happened, verdict, _ in found["rows"]
        if now.get(what, (happened, verdict)) != (happened, verdict)
    ]
    repeated = len(found["repeated"])
    return f"| {case.name} | {found['versions']} | {len(found['rows'])} | {repeated} | {'; '.join(other)} |"


def _reasons(case: Case, found: Found) -> list[str]:
    """Return why *case*, or some conditions of it, were not tried."""
    reasons: dict[str, str] = found["not_tried"]
    if not found["rows"]:
        return [f"- {case.name}: {next(iter(reasons.values()))}."]
    return [f"- {case.name}, {what}: {why.removeprefix(f'{case.name}: ')}." for what, why in reasons.items()]


def _failure(why: str) -> Found:
    return {"versions": "", "rows": [], "wrong": [], "repeated": [], "not_tried": {"": why}}


def _said_by(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
