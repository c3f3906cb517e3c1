"""Imports run one way: cli -> runner -> recovery -> log -> core, and never in a circle.

Imports inside functions and under TYPE_CHECKING count too: a type that core takes from log is a
dependency on log.
"""

from __future__ import annotations

import ast
import graphlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest


if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
PACKAGE = "wal_runner"

# Each may import itself and those to its right.
LAYERS = ("cli", "runner", "recovery", "log", "core")
# These import nothing of the package, so everything may import them.
LEAVES = ("errors", "failpoints", "shielded_logger", "version")
# These may import everything, so nothing may import them.
ENTRANCES = ("", "__main__", "testing")

# core stays pure: the standard library and these.
CORE_IMPORTS = ("core", "errors")
LMDB_HOME = "log"
# They run what they load; a log must be safe to read, whoever wrote it.
NEVER_IMPORTED = ("pickle", "marshal", "shelve")


@dataclass(frozen=True, slots=True)
class Import:
    """Module *source* imports module *target*, in this line."""

    source: str
    target: str
    line: int


def test_imports_run_one_way() -> None:
    """No module of the package breaks a rule."""
    assert [] == broken_rules(modules_of(ROOT / PACKAGE))


def test_the_package_is_really_read() -> None:
    """A check of nothing would pass: known modules are found, and a known import between them."""
    modules = modules_of(ROOT / PACKAGE)
    found = {(one.source, one.target) for one in imports_of(modules)}

    assert {"wal_runner.errors", "wal_runner.core.identity"} <= set(modules)
    assert ("wal_runner.core.identity", "wal_runner.errors") in found


# A small package that keeps the rules. Each case below plants one bad module in it.
GOOD = {
    "wal_runner": '"""Names."""\nfrom wal_runner.runner.runner import Runner\n',
    "wal_runner.__main__": "from wal_runner.cli.main import main\n",
    "wal_runner.errors": "from typing import TYPE_CHECKING\n",
    "wal_runner.failpoints": "import os\n",
    "wal_runner.version": "",
    "wal_runner.cli": "",
    "wal_runner.cli.main": "import click\nfrom wal_runner.runner import runner\nfrom wal_runner import errors\n",
    "wal_runner.runner": "",
    "wal_runner.runner.runner": "from wal_runner.log import env\nimport wal_runner.core.state as state\n",
    "wal_runner.recovery.recover": "from wal_runner.failpoints import failpoint\n",
    "wal_runner.log.env": "import lmdb\nimport msgpack\nfrom . import format\n",
    "wal_runner.log.format": "from ..core.state import fold\n",
    "wal_runner.core.state": "import json\nfrom collections import abc\nfrom wal_runner.core import events\n",
    "wal_runner.core.events": "from wal_runner.errors import WalRunnerError\n",
}


def test_good_modules_break_no_rule() -> None:
    """What is allowed is not complained about."""
    assert [] == broken_rules(GOOD)


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("core.bad", "from wal_runner.log import format", "line 1: core may not import log"),
        ("core.bad", "import json\nfrom ..log.format import x", "line 2: core may not import log"),
        ("log.bad", "import wal_runner.recovery.recover", "line 1: log may not import recovery"),
        ("recovery.bad", "from wal_runner.runner.runner import Runner", "line 1: recovery may not import runner"),
        ("runner.bad", "from wal_runner.cli import main", "line 1: runner may not import cli"),
        ("log.bad", "def f():\n    from wal_runner.runner import runner", "line 2: log may not import runner"),
        (
            "core.bad",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from wal_runner.log.env import Env",
            "line 3: core may not import log",
        ),
        ("cli.bad", "from wal_runner import Runner", "line 1: cli may not import the package itself"),
        ("runner.bad", "import wal_runner.__main__", "line 1: runner may not import __main__"),
        ("runner.bad", "from wal_runner.testing import crash", "line 1: runner may not import testing"),
        ("errors", "from wal_runner.version import VERSION", "line 1: errors may not import version"),
        ("version", "from wal_runner.core import events", "line 1: version may not import core"),
        ("failpoints", "from wal_runner.errors import E", "line 1: failpoints may not import errors"),
        ("core.bad", "from wal_runner.failpoints import failpoint", "line 1: core may not import failpoints"),
        ("core.bad", "import msgpack", "line 1: core may not import msgpack"),
        ("core.bad", "from click.utils import echo", "line 1: core may not import click"),
        ("runner.bad", "import lmdb", "line 1: lmdb is imported only under log"),
        ("cli.bad", "from lmdb.tool import main", "line 1: lmdb is imported only under log"),
        ("log.bad", "import pickle", "line 1: nothing imports pickle"),
        ("core.bad", "from marshal import loads", "line 1: nothing imports marshal"),
        ("cli.bad", "__import__('shelve')", "line 1: nothing imports shelve"),
        (
            "cli.bad",
            "import importlib\nimportlib.import_module('pickle')",
            "line 2: nothing imports pickle",
        ),
        ("helpers", "", "helpers belongs to no layer"),
        ("util.strings", "", "util belongs to no layer"),
    ],
)
def test_bad_module_is_caught(module: str, source: str, complaint: str) -> None:
    """Each rule is seen to be enforced, on a module that breaks it."""
    name = f"{PACKAGE}.{module}"

    assert [f"{name}, {complaint}"] == broken_rules({**GOOD, name: source})


@pytest.mark.parametrize(
    ("planted", "circle"),
    [
        (
            {"core.a": "from wal_runner.core import b", "core.b": "from wal_runner.core.a import x"},
            {"core.a", "core.b"},
        ),
        (
            {
                "log.a": "from .b import x",
                "log.b": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .c import x",
                "log.c": "def f():\n    from . import a",
            },
            {"log.a", "log.b", "log.c"},
        ),
    ],
    ids=["two modules", "three, by late and type-only imports"],
)
def test_circle_is_caught(planted: dict[str, str], circle: set[str]) -> None:
    """Modules that import each other are named, however the imports are hidden."""
    [complaint] = broken_rules({**GOOD, **{f"{PACKAGE}.{name}": source for name, source in planted.items()}})

    assert complaint.startswith("a circle of imports: ")
    assert circle == {name.removeprefix(f"{PACKAGE}.") for name in complaint.partition(": ")[2].split(" -> ")}


# --- The rules ----------------------------------------------------------------------


def broken_rules(modules: Mapping[str, str]) -> list[str]:
    """Return what is wrong with the imports of *modules*, given as name -> source."""
    found = imports_of(modules)
    complaints = [
        f"{name}, {part_of(name)} belongs to no layer"
        for name in modules
        if part_of(name) not in {*LAYERS, *LEAVES, *ENTRANCES}
    ]
    complaints += [f"{one.source}, line {one.line}: {why}" for one in found if (why := complaint_about(one))]
    return complaints + circles(found)


def complaint_about(one: Import) -> str | None:
    """Return why the import is not allowed, or None."""
    part = part_of(one.source)
    top = one.target.partition(".")[0]
    if top in NEVER_IMPORTED:
        return f"nothing imports {top}"
    if top == PACKAGE:
        target = part_of(one.target)
        return None if is_allowed(part, target) else f"{part} may not import {target or 'the package itself'}"
    if part == "core" and top not in sys.stdlib_module_names:
        return f"core may not import {top}"
    if top == "lmdb" and part != LMDB_HOME:
        return f"lmdb is imported only under {LMDB_HOME}"
    return None


def is_allowed(part: str, target: str) -> bool:
    """Tell whether a module in *part* of the package may import one in *target*."""
    if part in LEAVES:
        return False
    if part == "core":
        return target in CORE_IMPORTS
    if part in ENTRANCES or target in LEAVES:
        return True
    return part in LAYERS and target in LAYERS and LAYERS.index(part) <= LAYERS.index(target)


def circles(found: list[Import]) -> list[str]:
    """Return the first circle of imports within the package, if there is one."""
    graph: dict[str, set[str]] = {}
    for one in found:
        if one.target.partition(".")[0] == PACKAGE:
            graph.setdefault(one.source, set()).add(one.target)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return [f"a circle of imports: {' -> '.join(reversed(error.args[1]))}"]
    return []


def part_of(module: str) -> str:
    """Return the part of the package that *module* is in: its second name, or "" for the package."""
    return [*module.split("."), ""][1]


# --- Reading --------------------------------------------------------------------------


def modules_of(folder: Path) -> dict[str, str]:
    """Return the modules under *folder*, a package, as name -> source."""
    modules = {}
    for path in sorted(folder.rglob("*.py")):
        names = path.relative_to(folder.parent).with_suffix("").parts
        modules[".".join(names[:-1] if names[-1] == "__init__" else names)] = path.read_text()
    return modules


def imports_of(modules: Mapping[str, str]) -> list[Import]:
    """Return every import in *modules*; ``from package import module`` is one of the module."""
    packages = {name.rpartition(".")[0] for name in modules}
    return [
        Import(name, target, node.lineno)
        for name, source in modules.items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.Call))
        for target in targets_of(node, name if name in packages else name.rpartition(".")[0], modules)
    ]


def targets_of(node: ast.Import | ast.ImportFrom | ast.Call, home: str, modules: Mapping[str, str]) -> Iterator[str]:
    """Yield what *node* imports into a module of the package *home*."""
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=module, names=names, level=level):
            above = home.split(".")[: len(home.split(".")) - level + 1] if level else []
            base = ".".join([*above, *([module] if module else [])])
            yield from dict.fromkeys(full if (full := f"{base}.{alias.name}") in modules else base for alias in names)
        case ast.Call(
            func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(value=str(name)), *_],
        ):
            yield name
        case _:  # any other call
            return
